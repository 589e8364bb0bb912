"""CUDA graphs that ONNX Runtime captures itself: which of its ids, and which binding, a run of fixed shapes has.

It captures in the first run of an id (after two to fill its arena) and replays in every later one, in the thread that
captured it, with the addresses of that run whatever is bound. Meanwhile no other thread may allocate device memory:
it captures in CUDA's global mode.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from heimdex_clip.encoder.runtimes.cuda_graphs import Shapes, describe

if TYPE_CHECKING:
    import onnxruntime

ID = "gpu_graph_id"
NONE = -1
"""The id of a run that neither captures nor replays."""


class OrtGraphs:
    """The ids of one session, by the shapes of a run's inputs, for as long as the buffers stay where they are.

    `refused` says which shapes run without a graph ever after, and why.
    """

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self.refused: dict[Shapes, str] = {}
        self._session = session
        self._taken: dict[Shapes, tuple[int, onnxruntime.IOBinding]] = {}
        self._last_id = 0
        self._addresses: tuple[int, ...] = ()

    def take(
        self, shapes: Shapes, addresses: tuple[int, ...], binding: onnxruntime.IOBinding
    ) -> tuple[int, onnxruntime.IOBinding]:
        """The id and the binding to run with: those of the first such run, `binding` where there was none.

        Every graph is released once the tensors' `addresses` have moved.
        """
        if addresses != self._addresses:
            for taken, _ in self._taken.values():
                self._session.release_captured_graph(taken)
            self._taken = {}
            self._addresses = addresses
        if shapes in self.refused:
            return NONE, binding
        if shapes not in self._taken:
            # Never one twice: a graph that was not released after all must not run.
            self._last_id += 1
            self._taken[shapes] = self._last_id, binding
        return self._taken[shapes]

    def refuse(self, shapes: Shapes, reason: str) -> None:
        """Run these shapes without a graph from now on."""
        self.refused[shapes] = reason
        taken, _ = self._taken.pop(shapes)
        self._session.release_captured_graph(taken)

    def describe(self) -> str:
        """How many shapes have a graph, and which have none and why."""
        return describe(len(self._taken), self.refused)
