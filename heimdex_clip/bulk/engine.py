"""The run itself: rows in, jobs out, results into their parts. One asyncio task a job under way.

Memory holds the rows under way and at most `_MAX_OPEN_PARTS` parts, whatever the input's length: no row of a
later part is read before an earlier one is on the disk.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from heimdex_clip.bulk import outcomes
from heimdex_clip.bulk.folder import Folder
from heimdex_clip.bulk.outcomes import Group, Task
from heimdex_clip.bulk.parts import Model, Part, Summary
from heimdex_clip.bulk.rows import Input, Row
from heimdex_clip.contract import Embedding
from heimdex_clip.errors import BadReply, ClipError, DigestMismatch, EndpointUnavailable, InvalidRequest, SettingsError

_MAX_OPEN_PARTS = 2
_FAILURES_ALLOWED = 10
"""Failed jobs in a row, beside three for each job under way, before the endpoint is taken for down."""
_SKIPPED_AT_ONCE = 20_000


class Client(Protocol):
    """What the run needs of `AsyncClipClient`."""

    async def embed_images(self, images: Sequence[str], /) -> list[Embedding | ClipError]:
        """Each image's embedding or its own error, in order."""


@dataclass(slots=True)
class Tally:
    """Where the run stands. `rows` counts those on the disk or finished; `done` only this process's."""

    rows: int = 0
    done: int = 0
    parts: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    model: Model | None = None


class Engine:
    """One run over `source` into `folder`; `jobs` at once, each of up to `batch_rows` images."""

    def __init__(self, client: Client, source: Input, folder: Folder, *, jobs: int, batch_rows: int) -> None:
        self._client = client
        self._source = source
        self._folder = folder
        self._jobs = jobs
        self._batch_rows = batch_rows
        self._there: dict[int, Summary] = {}
        self._open: dict[int, Part] = {}
        self._written: set[int] = set()
        """Open ones whose file is being written."""
        self._waiting: deque[Group] = deque()
        self._under_way = 0
        self._failures_in_a_row = 0
        self._ended = False
        self._changed = asyncio.Condition()
        self.tally = Tally()

    async def run(self) -> None:
        """Write every part that is missing. Cancel it at any time.

        Raises ClipError when the run cannot go on: what is on the disk stays, and the next run goes on from there.
        """
        self._there = await asyncio.to_thread(self._folder.found)
        for summary in self._there.values():
            self._count(summary)
        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(self._jobs):
                    tasks.create_task(self._work())
        except BaseExceptionGroup as group:
            raise self._reason(group.exceptions[0]) from None
        self._check_end()

    def _reason(self, error: BaseException) -> BaseException:
        if isinstance(error, OSError):
            return SettingsError(f"cannot write to {str(self._folder.path)!a}: {error.strerror or error}")
        return error

    def _count(self, summary: Summary) -> None:
        self.tally.rows += summary.rows
        self.tally.parts += 1
        self.tally.errors.update(summary.errors)
        if summary.model is not None:
            self._agree(summary.model)

    def _agree(self, model: Model) -> None:
        known = self.tally.model
        if known is None:
            self.tally.model = model
        elif known.digest != model.digest:
            raise DigestMismatch(
                f"a vector's model_digest is {model.digest[:40]!a}, but this run has {known.digest[:40]!a};"
                " vectors of two models must not meet in one output"
            )
        elif known != model:
            raise BadReply("a vector's model or dimension is not that of the others")

    # ---- what to do next

    async def _work(self) -> None:
        while (group := await self._next()) is not None:
            await self._send(group)
            async with self._changed:
                self._under_way -= 1
                self._changed.notify_all()

    async def _next(self) -> Group | None:
        """The next job, None once there can be none. It is under way from here on."""
        loop = asyncio.get_running_loop()
        async with self._changed:
            while True:
                group = self._due(loop.time())
                if group is None and not self._ended and self._has_room():
                    group = await self._read()
                    if group is None:
                        continue
                if group is not None:
                    self._under_way += 1
                    return group
                if self._ended and not self._waiting and not self._under_way:
                    self._changed.notify_all()
                    return None
                pause_s = min((group.due for group in self._waiting), default=loop.time() + 60) - loop.time()
                with suppress(TimeoutError):
                    async with asyncio.timeout(max(pause_s, 0.01)):
                        await self._changed.wait()

    def _due(self, now: float) -> Group | None:
        for index, group in enumerate(self._waiting):
            if group.due <= now:
                del self._waiting[index]
                return group
        return None

    def _has_room(self) -> bool:
        return len(self._open) < _MAX_OPEN_PARTS or not all(part.complete for part in self._open.values())

    async def _read(self) -> Group | None:
        """New rows, all of one part; None where there was nothing to send."""
        rows, self._ended = await asyncio.to_thread(self._take)
        tasks: list[Task] = []
        for row in rows:
            at = row.number // self._folder.part_rows
            part = self._open.setdefault(at, Part(at, self._folder.part_rows))
            part.add(row.id)
            if row.problem:
                self._fail(part, Task(row), InvalidRequest(row.problem))
            else:
                tasks.append(Task(row))
        for part in list(self._open.values()):
            part.complete = self._ended or len(part.ids) == self._folder.part_rows
            await self._write_if_full(part)
        return Group(tasks) if tasks else None

    def _take(self) -> tuple[list[Row], bool]:
        """The next rows that are missing, and whether the input has ended. Touches nothing but the input."""
        rows: list[Row] = []
        for _ in range(_SKIPPED_AT_ONCE):  # so that a stop is heard while a long way is skipped
            number = self._source.number
            record = self._source.next()
            if record is None:
                return rows, True
            if number // self._folder.part_rows in self._there:
                continue
            rows.append(record(number))
            if len(rows) == self._batch_rows or self._source.number % self._folder.part_rows == 0:
                break
        return rows, False

    # ---- what came of it

    async def _send(self, group: Group) -> None:
        try:
            results = await self._client.embed_images([task.row.url for task in group.tasks])
        except ClipError as error:
            await self._job_failed(group, error)
            return
        self._failures_in_a_row = 0
        part = self._open[self._part_of(group)]
        again: list[tuple[float, Task]] = []
        for task, result in zip(group.tasks, results, strict=True):
            if isinstance(result, Embedding):
                self._agree(Model(result.model, result.model_digest, result.dim))
                part.succeed(task.row.number, result)
                self._finished()
                continue
            if outcomes.is_fatal(result):
                raise result
            pause_s = outcomes.after_own_failure(task, result)
            if pause_s is None:
                self._fail(part, task, result)
            else:
                again.append((pause_s, task))
        if again:
            due = asyncio.get_running_loop().time() + max(pause_s for pause_s, _ in again)
            self._retry([task for _, task in again], due)
        await self._write_if_full(part)

    async def _job_failed(self, group: Group, error: ClipError) -> None:
        if outcomes.is_fatal(error):
            raise error
        self._failures_in_a_row += 1
        if self._failures_in_a_row > _FAILURES_ALLOWED + 3 * self._jobs:
            message = f"{self._failures_in_a_row} jobs in a row failed, the last with {error.code}: {error.message}"
            raise EndpointUnavailable(message)
        instead = outcomes.after_job_failure(group, error, asyncio.get_running_loop().time())
        self._waiting.extend(instead)
        if not instead:
            part = self._open[self._part_of(group)]
            self._fail(part, group.tasks[0], error)
            await self._write_if_full(part)

    def _retry(self, tasks: list[Task], due: float) -> None:
        """In a job with others of the same part that wait as well, if one has room."""
        for group in self._waiting:
            alike = len({task.job_failures for task in (*group.tasks, *tasks)}) == 1
            if alike and self._part_of(group) == self._part_of(Group(tasks)):
                room = self._batch_rows - len(group.tasks)
                group.tasks += tasks[:room]
                group.due = max(group.due, due) if room else group.due
                tasks = tasks[room:]
            if not tasks:
                return
        self._waiting.append(Group(tasks, due))

    def _part_of(self, group: Group) -> int:
        return group.tasks[0].row.number // self._folder.part_rows

    def _fail(self, part: Part, task: Task, error: ClipError) -> None:
        part.fail(task.row.number, error)
        self.tally.errors[error.code] += 1
        self._finished()

    def _finished(self) -> None:
        self.tally.rows += 1
        self.tally.done += 1

    async def _write_if_full(self, part: Part) -> None:
        if part.left or not part.complete or part.number in self._written:
            return
        self._written.add(part.number)
        await asyncio.to_thread(part.write, self._folder.path, self.tally.model)
        # Only now is there room for another.
        del self._open[part.number]
        self._written.remove(part.number)
        self.tally.parts += 1

    def _check_end(self) -> None:
        """The short part must end where the input does."""
        total = self._source.number
        for number, summary in self._there.items():
            if summary.rows != min(self._folder.part_rows, total - number * self._folder.part_rows):
                raise SettingsError(f"part {number} has {summary.rows} rows, which is not what the input has there")
