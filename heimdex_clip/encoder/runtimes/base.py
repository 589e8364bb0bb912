"""The one interface of all runtimes: a lane opens towers, a tower turns a batch into vectors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

from heimdex_clip.encoder.manifest import Manifest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TowerName: TypeAlias = Literal["image", "text"]


class Tower(Protocol):
    """One loaded graph. Not safe to call from several threads at once: one thread owns the device."""

    def __call__(self, *inputs: NDArray[np.generic]) -> NDArray[np.float32]:
        """Run a batch; float32 ``[B, D]``, not normalised.

        Image tower: one input, uint8 ``[B, size, size, 3]``. Text tower: ids int64 ``[B, L]`` and the
        end-of-text index int64 ``[B]``. Raises InferenceFailed.
        """


class Lane(Protocol):
    """A way to run the model: a runtime with its device and precision."""

    name: str
    """What WORKER_RUNTIME calls it."""
    precision: str
    """Of the graphs it runs: "fp32" or "fp16"."""
    batch_sizes: tuple[int, ...]
    """The sizes to pad a batch to, ascending; empty where any size is as good."""
    max_batch: int
    """The most inputs that are worth running at once; more are run one batch after another."""

    def unavailable(self, manifest: Manifest) -> str | None:
        """Why this lane cannot run this model here, None when it can. Cheap; never raises."""

    def files(self, manifest: Manifest, tower: TowerName) -> tuple[str, ...]:
        """The folder's files that `open` reads, to be hashed beside it; none where it must hash them first."""

    def open(self, folder: Path, manifest: Manifest, tower: TowerName) -> Tower:
        """Load one tower. Raises LaneUnavailable or ModelError."""

    def describe(self) -> dict[str, str]:
        """Versions and device, for the start-up log."""
