"""``python -m tests.parity.sanitize_resample``: the extension under AddressSanitizer and UndefinedBehaviorSanitizer.

Builds it into build/sanitize beside a copy of the package, then runs there the equality suites, the hostile calls, and
the program without Python, which also looks for leaks. Exit status 1 when one of them fails. Needs gcc.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.parity import resample_cases, resample_program

_ROOT = Path(__file__).parents[2]
_BUILT = _ROOT / "build" / "sanitize"
_FLAGS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-g", "-O1")
_BATCH = 100


def main(argv: list[str] | None = None) -> int:
    """Build, run the three, and return the exit status."""
    parser = argparse.ArgumentParser(prog="sanitize_resample", description=__doc__)
    parser.add_argument("--cases", type=int, default=3000)
    parser.add_argument("--calls", type=int, default=100_000)
    given = parser.parse_args(argv)
    if shutil.which("gcc") is None:
        print("not installed: gcc", file=sys.stderr)
        return 1
    try:
        _build()
        equality = [f"--cases={given.cases}", "--seed=3", "--no-photographs"]
        _run_in_python("tests.parity.equality_resample", *equality)
        _run_in_python("tests.parity.equality_jpeg", f"--cases={given.cases}", "--seed=3")
        _run_in_python("tests.parity.resample_hostile", f"--calls={given.calls}")
        _run_without_python(given.cases)
    except subprocess.CalledProcessError as error:
        print(f"FAILED with {error.returncode}: {' '.join(map(str, error.cmd))}", file=sys.stderr)
        return 1
    print("no finding")
    return 0


def _build() -> None:
    shutil.rmtree(_BUILT, ignore_errors=True)
    shutil.copytree(_ROOT / "heimdex_clip", _BUILT / "heimdex_clip", ignore=shutil.ignore_patterns("*.so", "*.pyc"))
    command = [sys.executable, "setup.py", "-q", "build_ext", "--force", f"--build-lib={_BUILT}"]
    flags = " ".join(_FLAGS)
    environment = {**os.environ, "CC": "gcc", "CFLAGS": flags, "LDFLAGS": flags}
    subprocess.run([*command, f"--build-temp={_BUILT / 'objects'}"], cwd=_ROOT, env=environment, check=True)
    # The extension is optional: a failed build is only a warning.
    if not list(_BUILT.glob("heimdex_clip/encoder/_resample*.so")):
        raise subprocess.CalledProcessError(1, command)


def _run_in_python(module: str, *arguments: str) -> None:
    """Run a module with the sanitized package in front of the working one."""
    libraries = [
        subprocess.run(["gcc", f"-print-file-name=lib{name}.so"], check=True, capture_output=True, text=True).stdout
        for name in ("asan", "ubsan")
    ]
    environment = {
        **os.environ,
        "PYTHONPATH": f"{_BUILT}:{_ROOT}",
        "PYTHONMALLOC": "malloc",
        "LD_PRELOAD": " ".join(library.strip() for library in libraries),
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1",  # the interpreter keeps what it will not free
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }
    subprocess.run([sys.executable, "-P", "-m", module, *arguments], cwd=_ROOT, env=environment, check=True)


def _run_without_python(count: int) -> None:
    program = resample_program.build(_BUILT / "program", "gcc", _FLAGS)
    for variant in resample_cases.compiled():
        wrong = 0
        for first in range(0, count, _BATCH):
            numbers = range(first, min(first + _BATCH, count))
            cases = [resample_cases.case(4, number, usual_area=100_000) for number in numbers]
            wrong += resample_program.differing([str(program), variant], cases)
        print(f"{variant} without Python: {count:,} cases, {wrong} differ, no leak", flush=True)
        if wrong:
            raise subprocess.CalledProcessError(1, [str(program), variant])


if __name__ == "__main__":
    raise SystemExit(main())
