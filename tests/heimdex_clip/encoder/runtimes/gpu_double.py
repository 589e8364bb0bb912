"""A GPU that is none: the CUDA driver's calls over host memory, and TensorRT's over NumPy.

Device pointers are host pointers here, so what runs between the copies is real: ONNX Runtime bound to memory by
address, or a matrix product on what was sent.
"""

from __future__ import annotations

import ctypes
import itertools
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heimdex_clip.encoder.engines import OUTPUT
from heimdex_clip.encoder.runtimes.cuda_driver import Driver

Work = tuple[tuple[int, ...], Callable[[], None]]
_FORBIDDEN_IN_CAPTURE = ("cuMemAlloc_v2", "cuMemAllocHost_v2", "cuMemFree_v2", "cuMemFreeHost", "cuStreamSynchronize")


class HostCuda:
    """libcuda's functions, called as ctypes would call them. `fail` gives a call's name the code that it returns.

    While the stream captures, what it is given is `put` aside, and the calls that CUDA forbids then spoil the capture.
    A graph runs again what was put into it, and only on memory that is still there.
    """

    def __init__(self, *, capability: int = 86, fail: dict[str, int] | None = None) -> None:
        self.capability = capability
        self.fail = fail or {}
        self.memory: dict[int, Any] = {}
        self.calls: list[str] = []
        self.capturing: list[Work] | None = None
        self.graphs: dict[int, list[Work]] = {}
        self.executables: dict[int, list[Work]] = {}
        self.spoilt = False
        self._handles = itertools.count(1000)

    def __getattr__(self, name: str) -> Callable[..., int]:
        if not name.startswith("cu"):
            raise AttributeError(name)

        def call(*arguments: Any) -> int:
            self.calls.append(name)
            if name in self.fail:
                return self.fail[name]
            if self.capturing is not None and name in _FORBIDDEN_IN_CAPTURE:
                self.spoilt = True
                return 900
            found: int | None = getattr(self, f"_{name}", lambda *_: None)(*arguments)
            return found or 0

        return call

    def _cuDeviceGetName(self, name: Any, size: int, _device: Any) -> None:  # noqa: N802 - the driver's own names
        name.value = b"Host 9000"

    def _cuDeviceGetAttribute(self, value: Any, attribute: int, _device: Any) -> None:  # noqa: N802
        value._obj.value = self.capability // 10 if attribute == 75 else self.capability % 10

    def _cuDriverGetVersion(self, value: Any) -> None:  # noqa: N802
        value._obj.value = 13020

    def _cuDevicePrimaryCtxRetain(self, context: Any, _device: Any) -> None:  # noqa: N802
        context._obj.value = 1

    def _cuStreamCreate(self, stream: Any, _flags: int) -> None:  # noqa: N802
        stream._obj.value = 7

    def _allocate(self, pointer: Any, size: Any) -> None:
        memory = (ctypes.c_uint8 * size.value)()
        address = ctypes.addressof(memory)
        self.memory[address] = memory
        pointer._obj.value = address

    _cuMemAlloc_v2 = _cuMemAllocHost_v2 = _allocate  # noqa: N815

    def _free(self, pointer: Any) -> None:
        del self.memory[pointer.value]

    _cuMemFree_v2 = _cuMemFreeHost = _free  # noqa: N815

    def _copy(self, to: Any, source: Any, size: Any, _stream: Any) -> None:
        ctypes.memmove(to.value, source.value, size.value)

    _cuMemcpyHtoDAsync_v2 = _cuMemcpyDtoHAsync_v2 = _copy  # noqa: N815

    def _cuMemGetInfo_v2(self, free: Any, total: Any) -> None:  # noqa: N802
        free._obj.value, total._obj.value = 3, 5

    def put(self, addresses: Iterable[int], run: Callable[[], None]) -> None:
        """What the stream is to do with the memory at `addresses`: now, or whenever the graph runs."""
        if self.capturing is None:
            run()
        else:
            self.capturing.append((tuple(addresses), run))

    def _cuStreamBeginCapture_v2(self, stream: Any, mode: int) -> int:  # noqa: N802
        assert (stream.value, mode) == (7, 1)
        self.capturing, self.spoilt = [], False
        return 0

    def _cuStreamEndCapture(self, _stream: Any, graph: Any) -> int:  # noqa: N802
        captured, self.capturing = self.capturing, None
        if captured is None or self.spoilt:
            return 901
        graph._obj.value = next(self._handles)
        self.graphs[graph._obj.value] = captured
        return 0

    def _cuGraphInstantiateWithFlags(self, executable: Any, graph: Any, flags: Any) -> int:  # noqa: N802
        assert flags.value == 0
        executable._obj.value = next(self._handles)
        self.executables[executable._obj.value] = self.graphs[graph.value]
        return 0

    def _cuGraphLaunch(self, executable: Any, stream: Any) -> int:  # noqa: N802
        assert stream.value == 7
        for addresses, run in self.executables[executable.value]:
            if not set(addresses) <= set(self.memory):
                return 700
            run()
        return 0

    def _cuGraphDestroy(self, graph: Any) -> None:  # noqa: N802
        del self.graphs[graph.value]

    def _cuGraphExecDestroy(self, executable: Any) -> None:  # noqa: N802
        del self.executables[executable.value]

    def driver(self) -> Driver:
        """A driver on this library."""
        return Driver(self)


TYPES = {"pixels": np.uint8, "ids": np.int64, "eot": np.int64}


class FakeTensorRt:
    """TensorRT's module. A plan is JSON: `inputs` {name: [[min, opt, max] of each profile]}, `types`, `dim`.

    `library` is the GPU that its contexts put their work on.
    """

    __name__ = "tensorrt_double"
    __version__ = "10.16.1"
    CudaGraphStrategy = SimpleNamespace(WHOLE_GRAPH_CAPTURE="whole graph")

    class ILogger:
        Severity = SimpleNamespace(INTERNAL_ERROR=0, ERROR=1, WARNING=2)

    def __init__(
        self, towers: dict[str, Callable[..., NDArray[np.float32]]] | None = None, library: HostCuda | None = None
    ) -> None:
        self.towers = towers or {}
        self.library = library or HostCuda()
        self.loaded: list[bytes] = []
        self.runtime_error = ""
        self.contexts: list[FakeContext] = []
        self.most_contexts = 100

    def Runtime(self, log: Any) -> Any:  # noqa: N802 - TensorRT's own name
        if self.runtime_error:
            log.log(self.ILogger.Severity.ERROR, self.runtime_error)
        return SimpleNamespace(
            engine_host_code_allowed=False, deserialize_cuda_engine=lambda plan: self._load(plan, log)
        )

    def _load(self, plan: bytes, log: Any) -> Any:
        self.loaded.append(plan)
        content = json.loads(plan)
        if content.get("raises"):
            raise RuntimeError(content["raises"])
        if content.get("error"):
            log.log(self.ILogger.Severity.WARNING, "only a warning")
            log.log(self.ILogger.Severity.ERROR, content["error"])
            return None
        return FakeEngine(self, content)


class FakeEngine:
    def __init__(self, trt: FakeTensorRt, content: dict[str, Any]) -> None:
        self.trt = trt
        self.inputs: dict[str, list[Any]] = content["inputs"]
        self.types: dict[str, str] = content["types"]
        self.dim: int = content["dim"]
        self.names = list(self.types)
        self.num_io_tensors = len(self.names)
        self.num_optimization_profiles = len(next(iter(self.inputs.values())))
        self.runtime_caches: list[FakeCache] = []
        self.configurations: list[Any] = []

    def get_tensor_name(self, index: int) -> str:
        name: str = self.names[index]
        return name

    def get_tensor_dtype(self, name: str) -> Any:
        return SimpleNamespace(name=self.types[name])

    def get_tensor_profile_shape(self, name: str, index: int) -> list[Any]:
        shapes: list[Any] = self.inputs[name][index]
        return shapes

    def create_runtime_config(self) -> Any:
        return SimpleNamespace(create_runtime_cache=FakeCache, set_runtime_cache=self.runtime_caches.append)

    def create_execution_context(self, config: Any = None) -> FakeContext | None:
        if len(self.trt.contexts) >= self.trt.most_contexts:
            return None
        context = FakeContext(self)
        self.configurations.append(config)
        self.trt.contexts.append(context)
        return context


class FakeCache:
    def __init__(self) -> None:
        self.content = b""

    def deserialize(self, blob: bytes) -> bool:
        self.content = bytes(blob)
        return True

    def serialize(self) -> bytes:
        return self.content + b"+"


class FakeContext:
    def __init__(self, engine: FakeEngine) -> None:
        self.engine = engine
        self.profile = -1
        self.runs: list[tuple[int, ...]] = []
        self.enqueued = 0
        self.refuses = False
        self.addresses: dict[str, int] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}

    def set_optimization_profile_async(self, index: int, stream: int) -> bool:
        self.profile = index
        return stream == 7

    def set_tensor_address(self, name: str, pointer: int) -> None:
        self.addresses[name] = pointer

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> None:
        self.shapes[name] = shape

    def execute_async_v3(self, stream: int) -> bool:
        if self.refuses:
            return False
        self.enqueued += 1
        addresses, shapes = dict(self.addresses), dict(self.shapes)

        def run() -> None:
            inputs = [_array(addresses[name], shapes[name], TYPES[name]) for name in self.engine.inputs]
            self.runs.append(inputs[0].shape)
            tower = self.engine.trt.towers["image" if "pixels" in self.engine.inputs else "text"]
            out = _array(addresses[OUTPUT], (len(inputs[0]), self.engine.dim), np.float32)
            out[:] = tower(*inputs)

        self.engine.trt.library.put(addresses.values(), run)
        return True


def _array(pointer: int, shape: tuple[int, ...], kind: Any) -> NDArray[Any]:
    size = int(np.prod(shape)) * np.dtype(kind).itemsize
    memory: NDArray[Any] = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(pointer))
    found: NDArray[Any] = memory.view(kind).reshape(shape)
    return found


def write_plan(path: Path, inputs: dict[str, Any], dim: int, changes: dict[str, object]) -> None:
    """A plan of the double's; `changes` to its content."""
    kinds = {"pixels": "UINT8", "ids": "INT64", "eot": "INT64"}
    types = {**{name: kinds[name] for name in inputs}, OUTPUT: "FLOAT"}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"inputs": inputs, "types": types, "dim": dim, **changes}))
