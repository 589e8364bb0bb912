"""What a failed device means for its process: a lost one ends it, a full one gets half a batch once.

A "sticky" CUDA error leaves the context unusable: every later call fails, and only a new process helps. Memory
that ran out may suffice for half the batch; if not, the process is recycled too, since its memory is fragmented
or somebody else's.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from heimdex_clip.errors import InferenceFailed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_OUT_OF_MEMORY = 2
# CUDA's codes, the same in driver and runtime API: no or another device, destroyed or corrupted context, uncorrectable
# memory, illegal address or instruction, time-out, assertion, launch failure, unknown.
_LOST = frozenset({4, 46, 100, 101, 201, 214, 220, 226, 700, 702, 709, 710, 714, 715, 716, 717, 718, 719, 999})
_CODE = re.compile(r"\b(?:CUDA|cuda)\w* (?:failure|error):? ?\(?(\d{1,3})\b")
_OUT_OF_MEMORY_WORDS = re.compile(
    r"out of memory|OUT_OF_MEMORY|OutOfMemory|CUBLAS_STATUS_ALLOC_FAILED|cudaErrorMemoryAllocation"
    r"|Failed to allocate memory",
    re.IGNORECASE,
)
_LOST_WORDS = re.compile(
    r"illegal memory access|illegal instruction|misaligned address|invalid program counter|unspecified launch failure"
    r"|device-side assert|uncorrectable|hardware stack error|launch timed out|GPU is lost|no CUDA-capable device"
    r"|devices? .*busy or unavailable|context is destroyed"
    r"|cudaError(IllegalAddress|LaunchFailure|LaunchTimeout|Assert|ECCUncorrectable|IllegalInstruction"
    r"|MisalignedAddress|HardwareStackError|NoDevice|DevicesUnavailable|Unknown)\b",
    re.IGNORECASE,
)


class DeviceLost(InferenceFailed):
    """Nothing more can be encoded in this process; the same request may succeed in another."""


class OutOfDeviceMemory(InferenceFailed):
    """The device had no memory for this batch; a smaller one may fit."""


def from_code(code: int, what: str) -> InferenceFailed:
    """The error that a CUDA code other than 0 stands for. `what` names the call."""
    if code == _OUT_OF_MEMORY:
        return OutOfDeviceMemory(f"The device is out of memory ({what})")
    if code in _LOST:
        return DeviceLost(f"The device is lost (CUDA error {code} in {what})")
    return InferenceFailed(f"The encoder failed (CUDA error {code} in {what})")


def from_message(message: str, kind: str) -> InferenceFailed:
    """The error that a runtime's own words stand for: by CUDA's code where it is told, else by its name.

    `kind` is all of it that a caller sees: messages may hold paths.
    """
    if _OUT_OF_MEMORY_WORDS.search(message):
        return OutOfDeviceMemory(f"The device is out of memory ({kind})")
    told = _CODE.search(message)
    if told and int(told[1]):
        return from_code(int(told[1]), kind)
    if _LOST_WORDS.search(message):
        return DeviceLost(f"The device is lost ({kind})")
    return InferenceFailed(f"The encoder failed ({kind})")


def halving(run: Callable[..., NDArray[np.float32]], *inputs: NDArray[np.generic]) -> NDArray[np.float32]:
    """Run a batch, in two halves where the device has no memory for the whole.

    Raises DeviceLost when half of it does not fit either, and whatever else `run` raises.
    """
    import numpy as np

    rows = len(inputs[0])
    try:
        return run(*inputs)
    except OutOfDeviceMemory as error:
        if rows < 2:
            raise DeviceLost("The device is out of memory for a single input") from error
    half = (rows + 1) // 2
    try:
        return np.concatenate([run(*(part[:half] for part in inputs)), run(*(part[half:] for part in inputs))])
    except OutOfDeviceMemory as error:
        raise DeviceLost(f"The device is out of memory for {half} inputs, half of a batch") from error
