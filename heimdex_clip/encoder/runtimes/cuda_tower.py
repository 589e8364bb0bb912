"""One ONNX Runtime session as a tower, its inputs and outputs bound to the device's memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from heimdex_clip.encoder import recovery
from heimdex_clip.encoder.engines import OUTPUT
from heimdex_clip.encoder.runtimes.device_buffers import DeviceBuffers, pad_length
from heimdex_clip.errors import ClipError, InferenceFailed

if TYPE_CHECKING:
    import onnxruntime
    from numpy.typing import NDArray


class CudaTower:
    """One session with its inputs and outputs bound to device memory; the copies go through pinned memory.

    `device_type` is where the buffers' device pointers lie, by ONNX Runtime's name.
    """

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        buffers: DeviceBuffers,
        *,
        lengths: tuple[int, ...],
        dim: int,
        device_type: str = "cuda",
    ) -> None:
        self.buffers = buffers
        self._session = session
        self._inputs = [node.name for node in session.get_inputs()]
        (self._output,) = [node.name for node in session.get_outputs()]
        self._lengths = lengths
        self._dim = dim
        self._device_type = device_type

    def __call__(self, *inputs: NDArray[np.generic]) -> NDArray[np.float32]:
        try:
            self.buffers.driver.attach()
            return self._run(*pad_length(inputs, self._lengths))
        except ClipError:
            raise
        # ORT's exceptions share no base of their own below Exception.
        except Exception as error:
            failure = recovery.from_message(str(error), type(error).__name__)
            if type(failure) is InferenceFailed:
                # The words are not known; the driver knows whether the device is lost, and raises it.
                self.buffers.driver.synchronize(self.buffers.stream)
            raise failure from error

    def _run(self, *inputs: NDArray[np.generic]) -> NDArray[np.float32]:
        binding = self._session.io_binding()
        for name, array in zip(self._inputs, inputs, strict=True):
            pointer = self.buffers.send(name, array)
            binding.bind_input(name, self._device_type, 0, array.dtype.type, array.shape, pointer)
        shape = (len(inputs[0]), self._dim)
        room = self.buffers.room(OUTPUT, shape[0] * shape[1] * np.dtype(np.float32).itemsize)
        binding.bind_output(self._output, self._device_type, 0, np.float32, shape, room)
        self._session.run_with_iobinding(binding)
        return self.buffers.fetch(OUTPUT, shape)
