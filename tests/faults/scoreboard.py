"""The count of one fault's requests: sent, answered, retried, lost."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from heimdex_clip import AsyncClipClient
from heimdex_clip.contract import Embedding
from heimdex_clip.errors import ClipError

_GIVE_UP_S = 40
_PAUSE_S = 0.3
_ids = itertools.count()


@dataclass
class Board:
    """One fault. `expected` gives the vector that a URL must have, float32 ``[D]``; another one counts as lost."""

    fault: str
    client: AsyncClipClient
    expected: Callable[[str], NDArray[np.float32]]
    submissions: Callable[[], int]
    """How often any request was given to the platform so far."""
    urls: dict[str, str] = field(default_factory=dict)
    good: defaultdict[str, list[Embedding]] = field(default_factory=lambda: defaultdict(list))
    told: defaultdict[str, list[ClipError]] = field(default_factory=lambda: defaultdict(list))
    first_submission: int = 0
    asking: list[asyncio.Task[None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.first_submission = self.submissions()

    def send(self, *urls: str, again: bool = False) -> None:
        """Ask for each URL under an id of its own; `again` asks anew, under the same id, after a retryable error."""
        ids = [f"{self.fault} {next(_ids)}" for _ in urls]
        self.urls |= dict(zip(ids, urls, strict=True))

        async def all_of_them() -> None:
            await asyncio.gather(*(self._ask(name, again) for name in ids))

        self.asking.append(asyncio.create_task(all_of_them()))

    async def finished(self) -> None:
        """Every request has come to its end."""
        await asyncio.gather(*self.asking)

    async def _ask(self, request_id: str, again: bool) -> None:
        async with asyncio.timeout(_GIVE_UP_S):
            while True:
                try:
                    answer = await self.client.embed_image(self.urls[request_id], request_id=request_id)
                except ClipError as error:
                    self.told[request_id].append(error)
                    if not (again and error.retryable):
                        return
                    await asyncio.sleep(_PAUSE_S)
                else:
                    self.good[request_id].append(answer)
                    return

    @property
    def codes(self) -> Counter[str]:
        """What the caller was told, besides vectors."""
        return Counter(error.code for errors in self.told.values() for error in errors)

    @property
    def retried(self) -> int:
        """Submissions beyond the first of each request: the client's own, and the caller's."""
        return self.submissions() - self.first_submission - len(self.urls)

    def _right(self, request_id: str) -> bool:
        (answer,) = self.good[request_id]
        same = np.allclose(answer.vector, self.expected(self.urls[request_id]), atol=1e-5)
        return answer.request_id == request_id and same

    def row(self, *, permanent: bool = False) -> str:
        """The row for the table, after holding it: nothing lost, and one good vector for each request.

        `permanent`: the fault stays, so each request ends in one error instead.
        """
        answered = self.told if permanent else self.good
        lost = [name for name in self.urls if len(answered.get(name, ())) != 1]
        if not permanent:
            lost += [name for name in self.urls if name not in lost and not self._right(name)]
        sees = ", ".join(f"{code} x {count}" for code, count in sorted(self.codes.items())) or "vectors only"
        counts = f"{len(self.urls):5} {len(self.urls) - len(lost):9} {self.retried:8} {len(lost):5}"
        row = f"{self.fault:44} {counts}   {sees}"
        print(f"\n{row}")
        assert not lost, (row, lost)
        return row


HEADING = f"{'fault':44} {'sent':>5} {'answered':>9} {'retried':>8} {'lost':>5}   what the caller sees"
