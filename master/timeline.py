"""Throughput, deadlines and waits over time: spans counted by type, and what is said of each of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import msgspec

from master.records import TaskState
from master.store.base import Store, TimelineCell
from rtscore import is_valid_task_type

BUCKETS = 60
BUCKETS_MAX = 500
WINDOW_S = 3600.0
MOST = 200_000
"""Tasks that a timeline counts, the newest: 0.6 s of a process that reads for nobody else's sake."""

# Of equal factor: a bin's middle is at most 4.5 % from what is in it.
BINS_PER_OCTAVE = 8
_SHORTEST_S = 0.001


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


class Tally:
    """Counts tasks one by one into the cells of a timeline."""

    def __init__(self, since: float, until: float, buckets: int) -> None:
        self._since = since
        self._width_s = (until - since) / buckets
        self._last = buckets - 1
        self._cells: dict[tuple[int, str], TimelineCell] = {}

    def submitted(self, at: float, task_type: str) -> None:
        """A task came."""
        self._cell(at, task_type).submitted += 1

    def ended(
        self,
        at: float,
        task_type: str,
        status: str,
        sla_success: bool | None,
        submitted_at: float,
        started_at: float,
        deadline: float,
    ) -> None:
        """A task completed or failed; one that never started waited until then."""
        cell = self._cell(at, task_type)
        wait_s = max(0.0, (started_at or at) - submitted_at)
        cell.finished += 1
        cell.failed += status == TaskState.FAILED
        cell.met += bool(sla_success)
        cell.missed += not sla_success
        cell.wait_s += wait_s
        cell.lateness_s += max(0.0, at - deadline)
        waits, bin_ = cell.waits, wait_bin(wait_s)
        waits[bin_] = waits.get(bin_, 0) + 1

    def cells(self) -> list[TimelineCell]:
        """What was counted."""
        return list(self._cells.values())

    def _cell(self, at: float, task_type: str) -> TimelineCell:
        key = min(int((at - self._since) / self._width_s), self._last), task_type
        cell = self._cells.get(key)
        if cell is None:
            cell = self._cells[key] = TimelineCell(*key, waits={})
        return cell


def series_of(cells: Iterable[TimelineCell], buckets: int, *, by_type: bool) -> dict[str, list[Bucket]]:
    """Each type's buckets, those of all types first; tasks of no valid type count only among all."""
    sums: dict[str, dict[int, TimelineCell]] = {"": {}}
    for cell in cells:
        names = ["", cell.task_type] if by_type and is_valid_task_type(cell.task_type) else [""]
        for name in names:
            of_type = sums.setdefault(name, {})
            known = of_type.get(cell.bucket)
            if known is None:
                known = of_type[cell.bucket] = TimelineCell(cell.bucket, name, waits={})
            _add(known, cell)
    empty = Bucket()
    return {
        name: [_bucket(of_type[n]) if n in of_type else empty for n in range(buckets)]
        for name, of_type in sorted(sums.items())
    }


async def timeline(store: Store, since: float, until: float, buckets: int, *, by_type: bool) -> Timeline:
    """What a store's tasks came to in each of `buckets` equal spans of [since, until), in Unix seconds."""
    counted_since, cells = await store.timeline(since, until, buckets, MOST)
    series = series_of(cells, buckets, by_type=by_type)
    return Timeline(since, until, (until - since) / buckets, counted_since, series)


def _add(known: TimelineCell, cell: TimelineCell) -> None:
    known.submitted += cell.submitted
    known.finished += cell.finished
    known.failed += cell.failed
    known.met += cell.met
    known.missed += cell.missed
    known.wait_s += cell.wait_s
    known.lateness_s += cell.lateness_s
    for bin_, count in cell.waits.items():
        known.waits[bin_] = known.waits.get(bin_, 0) + count


def _bucket(cell: TimelineCell) -> Bucket:
    finished = cell.finished
    return Bucket(
        cell.submitted,
        finished,
        cell.failed,
        cell.met,
        cell.missed,
        cell.wait_s / finished if finished else 0.0,
        _percentile(cell.waits, 0.95),
        cell.lateness_s / finished if finished else 0.0,
    )


def _percentile(waits: Mapping[int, int], share: float) -> float:
    """The middle of the bin in which this share of the waits is reached."""
    left = share * sum(waits.values())
    for bin_, count in sorted(waits.items()):
        left -= count
        if left <= 0.0:
            return float(_SHORTEST_S * 2.0 ** ((bin_ + 0.5) / BINS_PER_OCTAVE)) if bin_ else 0.0
    return 0.0
