"""Coverage-guided fuzzing of everything that reads what strangers wrote. `python -m tests.fuzz TARGET` runs one."""

TARGETS = ("authentication", "contract", "handler", "http", "image", "manifest", "tokenizer", "url")
"""Each is a module of this package, `fuzz_<target>`."""
