"""Throughput, deadlines and waits over time: spans counted by type, and what is said of each of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from rtscore import is_valid_task_type

BUCKETS = 60
BUCKETS_MAX = 500
WINDOW_S = 3600.0
MOST = 200_000
"""Tasks that a timeline counts, the newest; 100,000 take SQLite 0.3 s of a process that only searches."""

# Of equal factor: a bin's middle is at most 4.5 % from what is in it.
BINS_PER_OCTAVE = 8
_SHORTEST_S = 0.001

Ended = tuple[int, str, int, int, int, int, float, float]
"""Tasks that completed or failed: bucket, type, bin of their waits, how many, how many of them failed and met
their deadline, and their waits and lateness in seconds together."""


class Bucket(msgspec.Struct, frozen=True):
    """One span; waits and lateness in seconds, of the tasks that completed or failed in it."""

    submitted: int = 0
    finished: int = 0
    failed: int = 0
    met: int = 0
    missed: int = 0
    wait_mean_s: float = 0.0
    wait_p95_s: float = 0.0
    lateness_mean_s: float = 0.0


class Timeline(msgspec.Struct, frozen=True):
    """Spans of `bucket_s` seconds from `since` on, by type; "" is all types together.

    Before `counted_since` nothing was counted, for the time it would take.
    """

    since: float
    until: float
    bucket_s: float
    counted_since: float
    series: Mapping[str, list[Bucket]]


def wait_bin(wait_s: float) -> int:
    """The bin of a wait: all shorter than a millisecond are in the first."""
    return math.floor(BINS_PER_OCTAVE * math.log2(wait_s / _SHORTEST_S)) if wait_s > _SHORTEST_S else 0


def fold(
    submitted: Iterable[tuple[int, str, int]], ended: Iterable[Ended], buckets: int
) -> dict[str, list[Bucket]]:
    """Each type's buckets, and under "" those of all types.

    Parameters
    ----------
    submitted : iterable of (bucket, type, tasks)
    ended : iterable of `Ended`
    buckets : int

    Tasks of no valid type count only among all.
    """
    sums: dict[str, dict[int, _Sum]] = {"": {}}
    for bucket, task_type, tasks in submitted:
        for found in _places(sums, bucket, task_type):
            found.submitted += tasks
    for bucket, task_type, bin_, tasks, failed, met, wait_s, lateness_s in ended:
        for found in _places(sums, bucket, task_type):
            found.finished += tasks
            found.failed += failed
            found.met += met
            found.wait_s += wait_s
            found.lateness_s += lateness_s
            found.waits[bin_] = found.waits.get(bin_, 0) + tasks
    empty = Bucket()
    return {
        name: [of_type[n].bucket() if n in of_type else empty for n in range(buckets)]
        for name, of_type in sums.items()
    }


class _Sum:
    __slots__ = ("failed", "finished", "lateness_s", "met", "submitted", "wait_s", "waits")

    def __init__(self) -> None:
        self.submitted = self.finished = self.failed = self.met = 0
        self.wait_s = self.lateness_s = 0.0
        self.waits: dict[int, int] = {}

    def bucket(self) -> Bucket:
        finished = self.finished
        return Bucket(
            self.submitted,
            finished,
            self.failed,
            self.met,
            finished - self.met,
            self.wait_s / finished if finished else 0.0,
            _percentile(self.waits, 0.95),
            self.lateness_s / finished if finished else 0.0,
        )


def _places(sums: dict[str, dict[int, _Sum]], bucket: int, task_type: str) -> Iterator[_Sum]:
    for name in ("", task_type) if is_valid_task_type(task_type) else ("",):
        of_type = sums.setdefault(name, {})
        found = of_type.get(bucket)
        if found is None:
            found = of_type[bucket] = _Sum()
        yield found


def _percentile(waits: Mapping[int, int], share: float) -> float:
    """The middle of the bin in which this share of the waits is reached."""
    left = share * sum(waits.values())
    for bin_, count in sorted(waits.items()):
        left -= count
        if left <= 0.0:
            return float(_SHORTEST_S * 2.0 ** ((bin_ + 0.5) / BINS_PER_OCTAVE)) if bin_ else 0.0
    return 0.0
