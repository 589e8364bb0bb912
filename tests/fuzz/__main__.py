"""`python -m tests.fuzz TARGET [--seconds N | --runs N]`: feed one target until the end, or until a promise breaks.

The input that broke it is written to the crashes' folder, and running the target with `--input FILE` repeats it.
"""

from __future__ import annotations

import argparse
import importlib
import resource
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import atheris

from tests.fuzz import TARGETS

_MEMORY_MB = 2048
_ONE_INPUT_S = 20


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz one target")
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=int, default=0, help="stop after this time")
    parser.add_argument("--runs", type=int, default=-1, help="stop after this many inputs")
    parser.add_argument("--seed", type=int, default=1, help="of the fuzzer's own choices")
    parser.add_argument("--corpus", type=Path, help="folder that keeps the inputs which reached something new")
    parser.add_argument("--crashes", type=Path, default=Path("reports/fuzz"), help="default: %(default)s")
    parser.add_argument("--input", type=Path, help="feed this file alone")
    arguments = parser.parse_args()

    with atheris.instrument_imports(include=["heimdex_clip", "worker"]):
        target = importlib.import_module(f"tests.fuzz.fuzz_{arguments.target}").TARGET
        tiny_model = importlib.import_module("tests.tiny_model")
        mutator = importlib.import_module("tests.fuzz.mutator")

    # Not closed: the fuzzer ends the process itself.
    stack = ExitStack()
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fuzz-")))
    model, work = tiny_model.build(folder / "tiny"), folder / "work"
    work.mkdir()
    check = stack.enter_context(target.open(model, work))
    if arguments.input is not None:
        check(arguments.input.read_bytes())
        print("no promise broken")
        return

    corpus = arguments.corpus or folder / "corpus"
    seeds = folder / "seeds"
    for place in (corpus, seeds, arguments.crashes):
        place.mkdir(parents=True, exist_ok=True)
    for index, seed in enumerate(target.seeds()):
        (seeds / f"{index:03}").write_bytes(seed)
    options = [
        f"-runs={arguments.runs}",
        f"-seed={arguments.seed}",
        f"-max_total_time={arguments.seconds}",
        f"-max_len={target.max_bytes}",
        f"-artifact_prefix={arguments.crashes}/{arguments.target}-",
        f"-rss_limit_mb={_peak_mb() + _MEMORY_MB}",
        f"-timeout={_ONE_INPUT_S}",
        "-print_final_stats=1",
    ]
    more = {"custom_mutator": mutator.json_mutator(_plain)} if target.json else {}
    atheris.Setup([sys.argv[0], *options, str(corpus), str(seeds)], check, **more)
    atheris.Fuzz()


def _peak_mb() -> int:
    """What libFuzzer counts from: a process's peak is handed on over exec, here by whatever started this one."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def _plain(data: bytes, max_size: int) -> bytes:
    # atheris.Mutate of 3.0.0 always says that Fuzz() was not called; this is what it stands for.
    changed: bytes = importlib.import_module("atheris.core_with_libfuzzer").Mutate(data, max_size)
    return changed


if __name__ == "__main__":
    main()
