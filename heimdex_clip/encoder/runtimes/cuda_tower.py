"""One ONNX Runtime session as a tower, its inputs and outputs bound to the device's memory."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import numpy as np

from heimdex_clip.encoder import recovery
from heimdex_clip.encoder.engines import FIXED_SIZES, OUTPUT
from heimdex_clip.encoder.recovery import DeviceLost
from heimdex_clip.encoder.runtimes import ort_graphs
from heimdex_clip.encoder.runtimes.cuda_graphs import Shapes
from heimdex_clip.encoder.runtimes.device_buffers import DeviceBuffers, pad_length
from heimdex_clip.encoder.runtimes.ort_graphs import OrtGraphs
from heimdex_clip.errors import ClipError, InferenceFailed

if TYPE_CHECKING:
    import onnxruntime
    from numpy.typing import NDArray


class CudaTower:
    """One session with its inputs and outputs bound to device memory; the copies go through pinned memory.

    `device_type` is where the buffers' device pointers lie, by ONNX Runtime's name. `graphs` captures the fixed
    sizes, None to launch kernel by kernel; `alone` is held while the device works, for a capture bears no company.
    """

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        buffers: DeviceBuffers,
        *,
        lengths: tuple[int, ...],
        dim: int,
        device_type: str = "cuda",
        graphs: OrtGraphs | None = None,
        alone: AbstractContextManager[object] | None = None,
    ) -> None:
        self.buffers = buffers
        self._session = session
        self._inputs = [node.name for node in session.get_inputs()]
        (self._output,) = [node.name for node in session.get_outputs()]
        self._lengths = lengths
        self._dim = dim
        self._device_type = device_type
        self._graphs = graphs
        self._alone = alone or nullcontext()

    def __call__(self, *inputs: NDArray[np.generic]) -> NDArray[np.float32]:
        try:
            self.buffers.driver.attach()
            with self._alone:
                return self._run(*pad_length(inputs, self._lengths))
        except ClipError:
            raise
        # ORT's exceptions share no base of their own below Exception.
        except Exception as error:
            raise self._failure(error) from error

    def _failure(self, error: Exception) -> InferenceFailed:
        """What one of ONNX Runtime's exceptions stands for. Raises DeviceLost where only the driver knows it."""
        failure = recovery.from_message(str(error), type(error).__name__)
        if type(failure) is InferenceFailed:
            self.buffers.driver.synchronize(self.buffers.stream)
        return failure

    def _run(self, *inputs: NDArray[np.generic]) -> NDArray[np.float32]:
        sent = tuple(self.buffers.send(name, array) for name, array in zip(self._inputs, inputs, strict=True))
        shape = (len(inputs[0]), self._dim)
        room = self.buffers.room(OUTPUT, shape[0] * shape[1] * np.dtype(np.float32).itemsize)
        binding = self._session.io_binding()
        for name, array, pointer in zip(self._inputs, inputs, sent, strict=True):
            binding.bind_input(name, self._device_type, 0, array.dtype.type, array.shape, pointer)
        binding.bind_output(self._output, self._device_type, 0, np.float32, shape, room)
        if self._graphs is None:
            self._session.run_with_iobinding(binding)
        else:
            self._run_captured(self._graphs, tuple(array.shape for array in inputs), (*sent, room), binding)
        return self.buffers.fetch(OUTPUT, shape)

    def _run_captured(
        self, graphs: OrtGraphs, shapes: Shapes, addresses: tuple[int, ...], binding: onnxruntime.IOBinding
    ) -> None:
        fixed = shapes[0][0] in FIXED_SIZES
        graph, bound = graphs.take(shapes, addresses, binding) if fixed else (ort_graphs.NONE, binding)
        try:
            self._session.run_with_iobinding(bound, _options(graph))
        except Exception as error:
            failure = self._failure(error)
            if graph == ort_graphs.NONE or isinstance(failure, DeviceLost):
                raise
            graphs.refuse(shapes, failure.message)
            self._session.run_with_iobinding(binding, _options(ort_graphs.NONE))


def _options(graph: int) -> onnxruntime.RunOptions:
    import onnxruntime

    options = onnxruntime.RunOptions()
    options.add_run_config_entry(ort_graphs.ID, str(graph))
    return options
