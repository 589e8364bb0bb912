"""Pictures drawn to exhaust memory or to crash a decoder, in processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.hostile import decode_memory, mutations

MUTANTS = 10_000
LARGEST = 2
_GIB_IN_MIB = 1024


def test_the_largest_pictures_are_decoded_one_after_the_other(tmp_path: Path) -> None:
    """WebP takes the most: 1.2 GB for 50 million pixels, from a file of some hundred bytes."""
    decode_memory.write(tmp_path, "alpha.webp")
    command = [sys.executable, "-m", decode_memory.__name__, str(tmp_path), str(LARGEST)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["ended"] == {"OK": LARGEST}
    # Two at once would take more.
    assert found["peak_mib"] < 1.4 * _GIB_IN_MIB


def test_damaged_files_are_refused_and_crash_no_decoder() -> None:
    counts, crashes = mutations.run(MUTANTS)
    assert not crashes, f"files {crashes} of seed 0 end the process"
    typed = {code: counts[code] for code in ("OK", "IMAGE_INVALID", "IMAGE_TOO_LARGE")}
    assert sum(typed.values()) == MUTANTS, counts
    assert min(typed.values()) > 0  # the damage reaches beyond the header, and into it
