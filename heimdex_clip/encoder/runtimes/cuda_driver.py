"""The CUDA driver's few calls that the GPU lanes need, over ctypes: what device is there, memory, one stream, graphs.

libcuda comes with the driver, so nothing is installed for it, and nothing is loaded before a lane asks.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

from heimdex_clip.encoder import recovery
from heimdex_clip.errors import ClipError, LaneUnavailable

_LIBRARY = "libcuda.so.1"
_ATTRIBUTE_MAJOR, _ATTRIBUTE_MINOR = 75, 76
_NON_BLOCKING = 1
# Other threads may allocate meanwhile (a tower that is being opened); in global mode that would spoil the capture.
_CAPTURE_OF_THIS_THREAD = 1
_NAME_BYTES = 128
_SUGGESTIONS = {
    100: "no GPU is visible to this process",
    803: "the driver is older than this container's CUDA libraries",
    999: "the driver cannot be initialised; is the container started with GPUs?",
}


@dataclass(frozen=True, slots=True)
class Device:
    """The GPU. `compute_capability` as in sm_NN: 86 for 8.6; `cuda` is the newest CUDA that the driver serves."""

    name: str
    compute_capability: int
    cuda: str

    def describe(self) -> dict[str, str]:
        """For the start-up log."""
        return {"device": self.name, "compute_capability": f"sm{self.compute_capability}", "driver_cuda": self.cuda}


class Driver:
    """Device 0 through its primary context, which every CUDA library of the process shares.

    `attach` first, in each thread. Methods raise recovery's errors, by the driver's code.
    """

    def __init__(self, library: Any) -> None:
        self._cuda = library
        self._device = ctypes.c_int()
        self._context = ctypes.c_void_p()
        started: int = library.cuInit(0)
        if started:
            raise LaneUnavailable(_SUGGESTIONS.get(started, f"the CUDA driver does not start (error {started})"))
        self._check("cuDeviceGet", ctypes.byref(self._device), 0)

    @classmethod
    def load(cls) -> Driver:
        """The driver of this machine. Raises LaneUnavailable where there is none, or no GPU."""
        try:
            return cls(ctypes.CDLL(_LIBRARY))
        except OSError:
            raise LaneUnavailable(f"no NVIDIA driver here ({_LIBRARY} cannot be loaded)") from None

    def device(self) -> Device:
        """What GPU this is. Needs no `attach`."""
        name = ctypes.create_string_buffer(_NAME_BYTES)
        self._check("cuDeviceGetName", name, _NAME_BYTES, self._device)
        major, minor, version = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
        self._check("cuDeviceGetAttribute", ctypes.byref(major), _ATTRIBUTE_MAJOR, self._device)
        self._check("cuDeviceGetAttribute", ctypes.byref(minor), _ATTRIBUTE_MINOR, self._device)
        self._check("cuDriverGetVersion", ctypes.byref(version))
        cuda = f"{version.value // 1000}.{version.value % 1000 // 10}"
        return Device(name.value.decode(errors="replace"), major.value * 10 + minor.value, cuda)

    def attach(self) -> None:
        """Make the device's context this thread's."""
        if not self._context:
            self._check("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), self._device)
        self._check("cuCtxSetCurrent", self._context)

    def new_stream(self) -> int:
        """A stream that waits for no other."""
        stream = ctypes.c_void_p()
        self._check("cuStreamCreate", ctypes.byref(stream), _NON_BLOCKING)
        return stream.value or 0

    def allocate(self, size: int) -> int:
        """`size` bytes of device memory."""
        pointer = ctypes.c_uint64()
        self._check("cuMemAlloc_v2", ctypes.byref(pointer), ctypes.c_size_t(size))
        return pointer.value

    def free(self, pointer: int) -> None:
        """Give device memory back."""
        self._check("cuMemFree_v2", ctypes.c_uint64(pointer))

    def allocate_pinned(self, size: int) -> int:
        """`size` bytes of host memory that the device reads and writes directly."""
        pointer = ctypes.c_void_p()
        self._check("cuMemAllocHost_v2", ctypes.byref(pointer), ctypes.c_size_t(size))
        return pointer.value or 0

    def free_pinned(self, pointer: int) -> None:
        """Give pinned memory back."""
        self._check("cuMemFreeHost", ctypes.c_void_p(pointer))

    def to_device(self, device: int, host: int, size: int, stream: int) -> None:
        """Copy `size` bytes in the stream's order; returns at once."""
        self._check(
            "cuMemcpyHtoDAsync_v2",
            ctypes.c_uint64(device),
            ctypes.c_void_p(host),
            ctypes.c_size_t(size),
            ctypes.c_void_p(stream),
        )

    def to_host(self, host: int, device: int, size: int, stream: int) -> None:
        """Copy `size` bytes back in the stream's order; returns at once."""
        self._check(
            "cuMemcpyDtoHAsync_v2",
            ctypes.c_void_p(host),
            ctypes.c_uint64(device),
            ctypes.c_size_t(size),
            ctypes.c_void_p(stream),
        )

    def synchronize(self, stream: int) -> None:
        """Wait for the stream; an error of anything before in it, or a sticky one, is raised here."""
        self._check("cuStreamSynchronize", ctypes.c_void_p(stream))

    def begin_capture(self, stream: int) -> None:
        """From now on record what this thread puts into the stream, instead of running it."""
        self._check("cuStreamBeginCapture_v2", ctypes.c_void_p(stream), _CAPTURE_OF_THIS_THREAD)

    def end_capture(self, stream: int) -> int:
        """The recorded graph; the stream runs what it is given again, also when this raises."""
        graph = ctypes.c_void_p()
        self._check("cuStreamEndCapture", ctypes.c_void_p(stream), ctypes.byref(graph))
        return graph.value or 0

    def instantiate(self, graph: int) -> int:
        """A graph made ready for `launch`; it does not need the graph any more."""
        executable = ctypes.c_void_p()
        # cuda.h's cuGraphInstantiate since CUDA 12; the library's symbol of that name takes other arguments.
        self._check(
            "cuGraphInstantiateWithFlags",
            ctypes.byref(executable),
            ctypes.c_void_p(graph),
            ctypes.c_ulonglong(0),
        )
        return executable.value or 0

    def launch(self, executable: int, stream: int) -> None:
        """Run all of a graph in the stream's order; returns at once."""
        self._check("cuGraphLaunch", ctypes.c_void_p(executable), ctypes.c_void_p(stream))

    def destroy_graph(self, graph: int) -> None:
        """Give a recorded graph back."""
        self._check("cuGraphDestroy", ctypes.c_void_p(graph))

    def destroy_executable(self, executable: int) -> None:
        """Give back what `instantiate` made, once the stream is through with it."""
        self._check("cuGraphExecDestroy", ctypes.c_void_p(executable))

    def memory_bytes(self) -> tuple[int, int]:
        """Free and total memory of the device."""
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self._check("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
        return free.value, total.value

    def _check(self, call: str, *arguments: Any) -> None:
        code: int = getattr(self._cuda, call)(*arguments)
        if code:
            raise recovery.from_code(code, call)


def probe(load: Any = Driver.load) -> Device | str:
    """The GPU of this machine, or why there is none; never raises."""
    try:
        device: Device = load().device()
    except ClipError as error:
        return error.message
    return device
