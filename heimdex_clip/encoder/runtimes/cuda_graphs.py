"""CUDA graphs of fixed shapes: one launch for a whole tower instead of one for each of its kernels.

A graph holds the addresses that it was captured with. So it is kept only while the buffers stay where they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from heimdex_clip.encoder import recovery
from heimdex_clip.encoder.recovery import DeviceLost
from heimdex_clip.encoder.runtimes.cuda_driver import Driver
from heimdex_clip.errors import InferenceFailed

Shapes: TypeAlias = tuple[tuple[int, ...], ...]


class CudaGraphs:
    """The graphs captured on one stream, by the shapes of a run's inputs.

    A shape whose capture fails is run without a graph ever after; `refused` says why.
    """

    def __init__(self, driver: Driver, stream: int) -> None:
        self.refused: dict[Shapes, str] = {}
        self._driver = driver
        self._stream = stream
        self._captured: dict[Shapes, int] = {}
        self._addresses: tuple[int, ...] = ()

    def launch(self, shapes: Shapes, addresses: tuple[int, ...]) -> bool:
        """Put the graph of these shapes into the stream; False where there is none.

        `addresses` are where the run's tensors lie; every graph is dropped once they have moved.
        Raises what the driver raises.
        """
        if addresses != self._addresses:
            self.drop()
            self._addresses = addresses
        executable = self._captured.get(shapes)
        if executable is None:
            return False
        self._driver.launch(executable, self._stream)
        return True

    def capture(self, shapes: Shapes, enqueue: Callable[[], bool]) -> None:
        """Capture what `enqueue` puts into the idle stream, after it ran once with these shapes and addresses.

        `enqueue` says False where it was refused. Raises DeviceLost and nothing else.
        """
        if shapes in self._captured or shapes in self.refused:
            return
        try:
            self._captured[shapes] = self._capture(enqueue)
        except DeviceLost:
            raise
        except InferenceFailed as error:
            self.refuse(shapes, error.message)

    def refuse(self, shapes: Shapes, reason: str) -> None:
        """Never capture these shapes."""
        self.refused[shapes] = reason

    def _capture(self, enqueue: Callable[[], bool]) -> int:
        self._driver.begin_capture(self._stream)
        refusal = None
        try:
            if not enqueue():
                refusal = InferenceFailed("execution refused")
        # TensorRT's bindings raise whatever pybind makes of it.
        except Exception as error:  # noqa: BLE001
            refusal = recovery.from_message(str(error), type(error).__name__)
        try:
            graph = self._driver.end_capture(self._stream)
        except DeviceLost:
            raise
        except InferenceFailed as error:
            raise refusal or error from None
        try:
            if refusal is not None:
                raise refusal
            return self._driver.instantiate(graph)
        finally:
            if graph:
                self._driver.destroy_graph(graph)

    def drop(self) -> None:
        """Give every graph back; the stream must be through with them."""
        captured, self._captured = self._captured, {}
        for executable in captured.values():
            self._driver.destroy_executable(executable)

    def describe(self) -> str:
        """How many shapes have a graph, and which have none and why."""
        return describe(len(self._captured), self.refused)


def describe(captured: int, refused: Mapping[Shapes, str]) -> str:
    """One line of both, for the start-up log."""
    reasons = [f"not {'x'.join(map(str, shapes[0]))}: {reason}" for shapes, reason in refused.items()]
    return "; ".join([f"{captured} captured", *reasons])
