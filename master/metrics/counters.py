"""What is counted where things happen: plain numbers, a fraction of a microsecond each."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence

from rtscore import TASK_TYPES

# Seconds, from what a short command takes to a day.
WAITS_S = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0, 86400.0)
COMMITS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
GROUPS = (1, 3, 10, 30, 100, 300, 1000, 3000, 10000)
CALLS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0)
LAGS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
EPOCHS_S = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


class Histogram:
    """How many values fell between which bounds.

    Parameters
    ----------
    bounds : sequence of float
        Ascending; a value that equals a bound is below it. There is one count more than bounds, for what is
        above all of them.
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def copy(self) -> Histogram:
        """The same numbers, which change no more."""
        twin = Histogram(self.bounds)
        twin.counts, twin.total = list(self.counts), self.total
        return twin


def per_type() -> dict[str, Histogram]:
    """A histogram of waits or runtimes for each task type."""
    return {str(name): Histogram(WAITS_S) for name in TASK_TYPES}


class Tally:
    """What happened in the core since the master began.

    Attributes
    ----------
    placed : by the source of the decision
    ended : attempts, by their end
    met, missed : tasks that were judged by their deadline, by type
    waits, runtimes, lateness : seconds by type; lateness of those tasks alone that missed their deadline
    accepted, repeated : submissions that made a task, and those of a task that was known
    results, results_met : results that workers reported, and how many of them met their deadline
    removed : workers, by why
    """

    def __init__(self) -> None:
        self.placed: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        self.met: Counter[str] = Counter()
        self.missed: Counter[str] = Counter()
        self.waits = per_type()
        self.runtimes = per_type()
        self.lateness = per_type()
        self.accepted = 0
        self.repeated = 0
        self.results = 0
        self.results_met = 0
        self.removed: Counter[str] = Counter()

    def judge(self, task_type: str, late_s: float | None) -> None:
        """Count a task that has an outcome; `late_s` is by how much it missed its deadline, or None."""
        if late_s is None:
            self.met[task_type] += 1
        else:
            self.missed[task_type] += 1
            self.lateness[task_type].add(max(0.0, late_s))


class Calls:
    """gRPC calls by method and code, and how long those took that are answered once."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        self.durations: dict[str, Histogram] = {}

    def ended(self, method: str, code: str) -> None:
        """Count a call."""
        self.counts[method, code] += 1

    def took(self, method: str, seconds: float) -> None:
        """Note how long a call took."""
        histogram = self.durations.get(method)
        if histogram is None:
            histogram = self.durations[method] = Histogram(CALLS_S)
        histogram.add(seconds)
