"""A scheduler that measures the one it wraps: decisions, fallbacks, and the latency of the last 10,000."""

from __future__ import annotations

from array import array
from time import perf_counter_ns
from typing import Any

import msgspec

from master.fallback_log import FallbackLog
from rtscore import Decision, Scheduler, Source, Task

WINDOW = 10_000


class DecisionLatency(msgspec.Struct, frozen=True):
    """Decisions since the start, and percentiles in microseconds over the last `WINDOW` of them."""

    decisions: int
    fallbacks: int
    p50_us: float
    p99_us: float


class TimedScheduler:
    """Passes everything on to `inner` and times `select_worker`.

    A fallback is a decision that a scheduler other than the round-robin one left to round-robin.

    Attributes
    ----------
    fallback_log : FallbackLog
        What warns of them.
    """

    def __init__(self, inner: Scheduler) -> None:
        self._inner = inner
        self.fallback_log = FallbackLog()
        self._select = inner.select_worker
        # With round-robin chosen as the scheduler its decisions are no fallbacks.
        self._counts_fallbacks = inner.name != "round-robin"
        self._ring = array("q", bytes(8 * WINDOW))
        self._decisions = 0
        self._fallbacks = 0

    @property
    def name(self) -> str:
        """The name of the wrapped scheduler."""
        return self._inner.name

    def select_worker(self, task: Task, now: float | None = None) -> Decision:
        """Decide as the wrapped scheduler does."""
        begin = perf_counter_ns()
        decision = self._select(task, now)
        self._ring[self._decisions % WINDOW] = perf_counter_ns() - begin
        self._decisions += 1
        if decision.source is Source.ROUND_ROBIN and self._counts_fallbacks:
            self._fallbacks += 1
            self.fallback_log.add(task.id, decision.worker_id)
        return decision

    def reset(self) -> None:
        """Reset the wrapped scheduler; the measurements stay."""
        self._inner.reset()

    def __getattr__(self, name: str) -> Any:
        # explain, params and whatever else a policy offers.
        return getattr(self._inner, name)

    def latency(self) -> DecisionLatency:
        """What was measured so far; zeros before the first decision."""
        taken = sorted(self._ring[: min(self._decisions, WINDOW)])
        if not taken:
            return DecisionLatency(0, 0, 0.0, 0.0)
        last = len(taken) - 1
        p50, p99 = taken[round(0.50 * last)], taken[round(0.99 * last)]
        return DecisionLatency(self._decisions, self._fallbacks, p50 / 1e3, p99 / 1e3)
