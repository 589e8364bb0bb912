"""What a door may listen to in the service: each item answered, each batch encoded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

In = TypeVar("In")
Out = TypeVar("Out")


class Observer(Protocol):
    """Hears of the service's work. Its methods are quick and never raise."""

    def item(self, code: str, stages_ms: Mapping[str, float]) -> None:
        """An item was answered with `code` ("OK" or an error's) after these stages; called in the loop."""

    def batch(self, tower: str, size: int) -> None:
        """A batch goes to the device; called in the device's thread."""


class Unobserved:
    """Hears nothing."""

    def item(self, code: str, stages_ms: Mapping[str, float]) -> None:
        """Nothing."""

    def batch(self, tower: str, size: int) -> None:
        """Nothing."""


def counting(run: Callable[[Sequence[In]], Out], tower: str, observer: Observer) -> Callable[[Sequence[In]], Out]:
    """A batcher's `run` that tells the observer each batch's size first."""

    def observed(batch: Sequence[In]) -> Out:
        observer.batch(tower, len(batch))
        return run(batch)

    return observed
