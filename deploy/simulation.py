"""One endpoint under one demand: a queue, workers that come and go, and what it costs (simpy).

The model of the platform, each part an assumption that docs/deployment.md repeats: a request that finds no worker
up or starting starts one at once; QUEUE_DELAY starts one more whenever the oldest request has waited that long and
the workers that are starting will not take all that waits; REQUEST_COUNT starts as many as the requests in hand call
for; a worker above the minimum stops after the idle timeout; every worker is paid from the start of its start to
its end.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

import simpy

from deploy.demand import HOUR_S, Demand
from deploy.figures import Figures

MONTH_H = 730.0
Steps = Generator[simpy.Event, Any, None]


@dataclass(frozen=True, slots=True)
class Setting:
    """How the endpoint scales. `scaler_value` is seconds (QUEUE_DELAY) or requests a worker (REQUEST_COUNT)."""

    workers_min: int
    workers_max: int
    idle_timeout_s: float
    scaler: str = "QUEUE_DELAY"
    scaler_value: float = 4.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it. `waits_s` is sorted, from arrival to the start of service; `cold` found no worker ready."""

    setting: Setting
    waits_s: Sequence[float]
    cold: int
    unserved: int
    worker_h: float
    horizon_h: float
    usd_per_hour: float

    @property
    def usd_per_month(self) -> float:
        """For a month of 730 hours like the one simulated."""
        return self.worker_h / self.horizon_h * MONTH_H * self.usd_per_hour

    @property
    def usd_per_1000(self) -> float:
        """For 1,000 requests."""
        return self.worker_h * self.usd_per_hour / max(1, len(self.waits_s)) * 1000

    @property
    def cold_share(self) -> float:
        """Share of the requests that waited for a worker's start, 0 to 1."""
        return self.cold / max(1, len(self.waits_s))

    @property
    def waiting_h_per_month(self) -> float:
        """Hours that all requests of a month wait together."""
        return sum(self.waits_s) / HOUR_S / self.horizon_h * MONTH_H

    def wait_s(self, percent: float) -> float:
        """The nearest-rank percentile of the wait; 0 without requests."""
        return self.waits_s[max(0, math.ceil(percent / 100 * len(self.waits_s)) - 1)] if self.waits_s else 0.0


def simulate(
    demand: Demand,
    setting: Setting,
    figures: Figures,
    *,
    usd_per_hour: float,
    service_s: Callable[[int], float] | None = None,
    max_batch: int | None = None,
) -> Outcome:
    """Play the demand through. `service_s` and `max_batch` replace the figures' own."""
    pool = _Pool(setting, figures.cold_start_s, service_s or figures.service_time_s, max_batch or figures.max_batch)
    return pool.play(demand, usd_per_hour)


@dataclass(slots=True)
class _Pool:
    setting: Setting
    cold_start_s: float
    service_s: Callable[[int], float]
    max_batch: int
    env: simpy.Environment = field(default_factory=simpy.Environment)
    queue: deque[float] = field(default_factory=deque)
    idle: list[simpy.Event] = field(default_factory=list)
    waits_s: list[float] = field(default_factory=list)
    alive: dict[int, float] = field(default_factory=dict)
    ready: int = 0
    in_service: int = 0
    started: int = 0
    cold: int = 0
    worker_s: float = 0.0
    arrived: simpy.Event = field(init=False)

    def play(self, demand: Demand, usd_per_hour: float) -> Outcome:
        self.arrived = self.env.event()
        for _ in range(self.setting.workers_min):
            self._start(always_on=True)
        self.env.process(self._arrivals(demand.arrivals_s))
        if self.setting.scaler == "QUEUE_DELAY":
            self.env.process(self._watch_the_delay())
        self.env.run(until=demand.horizon_s)
        worker_s = self.worker_s + sum(demand.horizon_s - since for since in self.alive.values())
        return Outcome(
            self.setting,
            sorted(self.waits_s),
            self.cold,
            len(self.queue),
            worker_s / HOUR_S,
            demand.horizon_s / HOUR_S,
            usd_per_hour,
        )

    def _arrivals(self, arrivals_s: Sequence[float]) -> Steps:
        for at in arrivals_s:
            yield self.env.timeout(max(0.0, at - self.env.now))
            self.cold += self.ready == 0
            self.queue.append(self.env.now)
            if self.idle:
                # The one that became idle last, so that the others may run out.
                self.idle.pop().succeed()
            else:
                self._scale_up()
            if not self.arrived.triggered:
                self.arrived.succeed()

    def _scale_up(self) -> None:
        wanted = 1
        if self.setting.scaler == "REQUEST_COUNT":
            wanted = math.ceil((len(self.queue) + self.in_service) / self.setting.scaler_value)
        while len(self.alive) < min(wanted, self.setting.workers_max):
            self._start(always_on=False)

    def _watch_the_delay(self) -> Steps:
        delay_s = self.setting.scaler_value
        while True:
            if not self.queue:
                self.arrived = self.env.event()
                yield self.arrived
            due_s = self.queue[0] + delay_s - self.env.now if self.queue else 0.0
            if due_s > 1e-9:
                yield self.env.timeout(due_s)
            elif self.queue:
                expected = (len(self.alive) - self.ready) * self.max_batch
                if len(self.queue) > expected and len(self.alive) < self.setting.workers_max:
                    self._start(always_on=False)
                yield self.env.timeout(delay_s)

    def _start(self, *, always_on: bool) -> None:
        self.started += 1
        self.alive[self.started] = self.env.now
        self.env.process(self._worker(self.started, always_on=always_on))

    def _worker(self, number: int, *, always_on: bool) -> Steps:
        if not always_on:
            yield self.env.timeout(self.cold_start_s)
        self.ready += 1
        while True:
            if self.queue:
                yield from self._serve()
                continue
            woken = self.env.event()
            self.idle.append(woken)
            if always_on:
                yield woken
                continue
            yield woken | self.env.timeout(self.setting.idle_timeout_s)
            if not woken.triggered:
                self.idle.remove(woken)
                break
        self.ready -= 1
        self.worker_s += self.env.now - self.alive.pop(number)

    def _serve(self) -> Steps:
        batch = [self.queue.popleft() for _ in range(min(self.max_batch, len(self.queue)))]
        self.waits_s.extend(self.env.now - arrived for arrived in batch)
        self.in_service += len(batch)
        yield self.env.timeout(self.service_s(len(batch)))
        self.in_service -= len(batch)
