"""A scheduler that measures the one it wraps: decisions by source, and how long they took."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from time import perf_counter_ns
from typing import Any

import msgspec

from master.fallback_log import FallbackLog
from master.metrics.counters import Histogram
from rtscore import Decision, Scheduler, Source, Task

WINDOW = 10_000
# Upper bounds of the latencies that are counted, in microseconds.
BOUNDS_US = (1, 2, 3, 5, 7.5, 10, 20, 50, 100, 200, 500, 1_000, 10_000, 100_000)
# In the unit of the clock, whose readings are integers: comparing floats would cost more.
_BOUNDS_NS = tuple(round(1e3 * bound) for bound in BOUNDS_US)
# An attribute of the enumeration costs 40 ns each time.
_RTS, _ROUND_ROBIN = Source.RTS, Source.ROUND_ROBIN


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
        self._round_robin = 0
        self._unplaced = 0
        # As `Histogram`, in nanoseconds; its call alone would cost half of what a decision does.
        self._counts = [0] * (len(_BOUNDS_NS) + 1)
        self._total_ns = 0

    @property
    def name(self) -> str:
        """The name of the wrapped scheduler."""
        return self._inner.name

    def select_worker(self, task: Task, now: float | None = None) -> Decision:
        """Decide as the wrapped scheduler does."""
        begin = perf_counter_ns()
        decision = self._select(task, now)
        taken = perf_counter_ns() - begin
        self._ring[self._decisions % WINDOW] = taken
        self._decisions += 1
        self._counts[bisect_left(_BOUNDS_NS, taken)] += 1
        self._total_ns += taken
        source = decision.source
        if source is not _RTS:
            if source is not _ROUND_ROBIN:
                self._unplaced += 1
            else:
                self._round_robin += 1
                if self._counts_fallbacks:
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
        return DecisionLatency(self._decisions, self.fallbacks, p50 / 1e3, p99 / 1e3)

    @property
    def fallbacks(self) -> int:
        """How many decisions the scheduler left to round-robin."""
        return self._round_robin if self._counts_fallbacks else 0

    def by_source(self) -> dict[str, int]:
        """How many decisions each source made; "none" are those that found no worker."""
        others = {_ROUND_ROBIN.value: self._round_robin, Source.NONE.value: self._unplaced}
        return {_RTS.value: self._decisions - self._round_robin - self._unplaced, **others}

    def histogram(self) -> Histogram:
        """How long the decisions took, in seconds."""
        seconds = Histogram([bound / 1e6 for bound in BOUNDS_US])
        seconds.counts, seconds.total = list(self._counts), self._total_ns / 1e9
        return seconds
