"""One look at the cluster, and what follows from several in a row: rates, and the deadlines met of late."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from rtscore.client import ClusterStats, TaskInfo, WorkerInfo

if TYPE_CHECKING:
    from rtscore.client import MasterClient

RATE_WINDOW_S = 10.0
SLA_WINDOW_S = 60.0


class Picture(msgspec.Struct, frozen=True):
    """The cluster at the Unix time `at`; of the tasks that wait or run the newest, which are not all."""

    at: float
    stats: ClusterStats
    workers: Sequence[WorkerInfo]
    running: Sequence[TaskInfo]
    queued: Sequence[TaskInfo]

    @property
    def tasks(self) -> list[TaskInfo]:
        """Those that run, then those that wait."""
        return [*self.running, *self.queued]

    @property
    def more_tasks(self) -> int:
        """How many run or wait beside `tasks`."""
        stats = self.stats
        return max(0, stats.queued + stats.assigned + stats.running - len(self.running) - len(self.queued))


def look(client: MasterClient, at_most: int) -> Picture:
    """Ask the master; for the newest `at_most` of the tasks that run, and of those that wait."""
    return Picture(
        at=time.time(),
        stats=client.stats(),
        workers=client.workers(),
        running=list(client.tasks(["running", "assigned"], limit=at_most)),
        queued=list(client.tasks(["queued"], limit=at_most)),
    )


class Rates(msgspec.Struct, frozen=True):
    """Tasks per second, None before there are two pictures; deadlines met of those finished of late."""

    submitted: float | None = None
    finished: float | None = None
    recent_met: int = 0
    recent_finished: int = 0


class _Sample(msgspec.Struct, frozen=True):
    at: float
    submitted: int
    finished: int
    judged: int
    met: int


class Course:
    """The last minute of the counters."""

    def __init__(self) -> None:
        self._samples: deque[_Sample] = deque()
        self._started_at = 0.0
        self._counted: dict[str, tuple[int, int]] = {}
        self._judged = self._met = 0

    def add(self, picture: Picture) -> Rates:
        """Take in a picture, and return the rates up to it."""
        stats = picture.stats
        if stats.started_at != self._started_at:
            self._samples.clear()
            self._counted.clear()
            self._started_at = stats.started_at
        self._count(picture.workers)
        finished = stats.completed + stats.failed + stats.cancelled
        submitted = finished + stats.queued + stats.assigned + stats.running
        now = _Sample(picture.at, submitted, finished, self._judged, self._met)
        self._samples.append(now)
        while now.at - self._samples[0].at > SLA_WINDOW_S:
            self._samples.popleft()
        minute = self._samples[0]
        before = next(s for s in self._samples if now.at - s.at <= RATE_WINDOW_S)
        passed_s = now.at - before.at
        if passed_s <= 0.0:
            return Rates()
        return Rates(
            submitted=(submitted - before.submitted) / passed_s,
            finished=(finished - before.finished) / passed_s,
            recent_met=now.met - minute.met,
            recent_finished=now.judged - minute.judged,
        )

    def _count(self, workers: Sequence[WorkerInfo]) -> None:
        # By worker: one that is removed takes its counts out of every sum.
        counted = {worker.worker_id: (worker.tasks_finished, worker.sla_met) for worker in workers}
        for worker_id, (judged, met) in counted.items():
            judged_before, met_before = self._counted.get(worker_id, (judged, met))
            self._judged += max(0, judged - judged_before)
            self._met += max(0, met - met_before)
        self._counted = counted
