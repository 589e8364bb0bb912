"""One deserialised engine as a tower: a context for each profile, buffers on both sides, one stream.

With CUDA graphs each fixed shape has a context of its own, since a graph is bound to what its context holds.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heimdex_clip.encoder import recovery
from heimdex_clip.encoder.engines import FIXED_SIZES, OUTPUT, Sizes
from heimdex_clip.encoder.runtimes.cuda_graphs import CudaGraphs, Shapes
from heimdex_clip.encoder.runtimes.device_buffers import DeviceBuffers, pad_length
from heimdex_clip.errors import ClipError


class RuntimeCache:
    """What RTX compiled for this device, kept in a file from one process to the next.

    A file that cannot be read or does not fit is as good as none, and one that cannot be written is done
    without: it saves time and decides nothing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._cache: Any = None

    def configure(self, engine: Any) -> Any:
        """The configuration to create execution contexts with."""
        config = engine.create_runtime_config()
        if self._cache is None:
            self._cache = config.create_runtime_cache()
            with contextlib.suppress(OSError):  # the first start
                self._cache.deserialize(self._path.read_bytes())
        config.set_runtime_cache(self._cache)
        return config

    def save(self) -> None:
        """Write what there is by now, so that no reader ever sees half of it."""
        unfinished = None
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            handle, unfinished = tempfile.mkstemp(dir=self._path.parent, prefix=f".{self._path.name}-")
            with os.fdopen(handle, "wb") as file:
                file.write(self._cache.serialize())
            Path(unfinished).replace(self._path)
        except OSError:
            if unfinished:
                Path(unfinished).unlink(missing_ok=True)


class TensorRtTower:
    """Runs batches of any size: each in the narrowest profile that holds it, more than the largest in parts.

    `keep` is what must live as long as the engine. `lengths` are those that texts are padded to. `graphs` captures
    the fixed sizes, None to launch kernel by kernel; `strategy` is RTX's own way of capturing, None for its default.
    """

    def __init__(
        self,
        engine: Any,
        buffers: DeviceBuffers,
        *,
        profiles: tuple[Sizes, ...],
        inputs: tuple[str, ...],
        lengths: tuple[int, ...],
        dim: int,
        cache: RuntimeCache | None,
        keep: object,
        graphs: CudaGraphs | None = None,
        strategy: Any = None,
    ) -> None:
        self.buffers = buffers
        self._engine = engine
        self._profiles = profiles
        self._inputs = inputs
        self._lengths = lengths
        self._dim = dim
        self._cache = cache
        self._keep = keep
        self._graphs = graphs
        self._strategy = strategy
        self._contexts: dict[tuple[int, Shapes], Any] = {}
        self._shapes_seen: set[Shapes] = set()

    def __call__(self, *inputs: NDArray[np.generic]) -> NDArray[np.float32]:
        try:
            self.buffers.driver.attach()
            inputs = pad_length(inputs, self._lengths)
            return np.concatenate([self._run(*part) for part in self._parts(inputs)])
        except ClipError:
            raise
        # TensorRT's bindings raise whatever pybind makes of it.
        except Exception as error:
            raise recovery.from_message(str(error), type(error).__name__) from error

    def _parts(self, inputs: tuple[NDArray[np.generic], ...]) -> Iterator[tuple[NDArray[np.generic], ...]]:
        largest = max(high for _, _, high in self._profiles)
        for start in range(0, len(inputs[0]), largest):
            yield tuple(part[start : start + largest] for part in inputs)

    def _run(self, *inputs: NDArray[np.generic]) -> NDArray[np.float32]:
        rows = len(inputs[0])
        shapes = tuple(array.shape for array in inputs)
        graphs = self._graphs if rows in FIXED_SIZES else None
        if graphs is not None and shapes in graphs.refused:
            graphs = None
        context = self._context(rows, shapes if graphs else ())
        sent = tuple(self.buffers.send(name, array) for name, array in zip(self._inputs, inputs, strict=True))
        addresses = (*sent, self.buffers.room(OUTPUT, rows * self._dim * 4))
        if graphs is None or not graphs.launch(shapes, addresses):
            self._execute(context, shapes, addresses)
        vectors = self.buffers.fetch(OUTPUT, (rows, self._dim))
        if graphs is not None:
            graphs.capture(shapes, lambda: bool(context.execute_async_v3(self.buffers.stream)))
            if shapes in graphs.refused:  # and needs no context of its own
                self._contexts = {key: one for key, one in self._contexts.items() if key[1] != shapes}
        self._keep_compiled(shapes)
        return vectors

    def _execute(self, context: Any, shapes: Shapes, addresses: tuple[int, ...]) -> None:
        for name, pointer in zip((*self._inputs, OUTPUT), addresses, strict=True):
            context.set_tensor_address(name, pointer)
        for name, shape in zip(self._inputs, shapes, strict=True):
            context.set_input_shape(name, shape)
        if not context.execute_async_v3(self.buffers.stream):
            # It says no more than "failed"; the stream knows whether the device is lost.
            self.buffers.driver.synchronize(self.buffers.stream)
            raise RuntimeError("execution refused")

    def _context(self, rows: int, shapes: Shapes) -> Any:
        """The context of the narrowest profile that holds `rows`; one of their own for `shapes` that have a graph."""
        fitting = [index for index, (low, _, high) in enumerate(self._profiles) if low <= rows <= high]
        index = min(fitting, key=lambda fit: self._profiles[fit][2] - self._profiles[fit][0])
        if (index, shapes) not in self._contexts:
            context = self._engine.create_execution_context(*self._configuration())
            if context is None and shapes and self._graphs is not None:
                # The profile's serves it too, only without a graph.
                self._graphs.refuse(shapes, "no memory for a context of its own")
                return self._context(rows, ())
            if context is None:
                raise recovery.OutOfDeviceMemory("The device is out of memory (execution context)")
            if not context.set_optimization_profile_async(index, self.buffers.stream):
                raise RuntimeError("profile refused")
            self._contexts[index, shapes] = context
        return self._contexts[index, shapes]

    def _configuration(self) -> tuple[Any, ...]:
        """RTX's runtime configuration, where anything in it differs from the default."""
        if self._cache is None and self._strategy is None:
            return ()
        config = self._engine.create_runtime_config() if self._cache is None else self._cache.configure(self._engine)
        if self._strategy is not None:
            config.cuda_graph_strategy = self._strategy
        return (config,)

    def _keep_compiled(self, shapes: Shapes) -> None:
        """A shape's first run may have compiled something."""
        if self._cache is not None and shapes not in self._shapes_seen:
            self._shapes_seen.add(shapes)
            self._cache.save()
