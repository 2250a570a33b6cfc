"""One look at the cluster, bounded whatever its size, and what follows from several in a row."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from rtscore.client import ClusterStats, TaskInfo, WorkerInfo

if TYPE_CHECKING:
    from rtscore.client import MasterClient

# Rows of a kind at first, and when one sorts, filters or scrolls: the most that a page of the master has.
FEW, MANY = 100, 1_000

RATE_WINDOW_S = 10.0
SLA_WINDOW_S = 60.0

_RUNNING = ("running", "assigned")
_QUEUED = ("queued",)


class Wanted(msgspec.Struct, frozen=True):
    """What a look should bring: rows of each kind, and beside them those that the master finds by a text."""

    tasks: int = FEW
    workers: int = FEW
    task_text: str = ""
    worker_text: str = ""
    worker_order: str = "id"
    descending: bool = False


class Picture(msgspec.Struct, frozen=True):
    """The cluster at the Unix time `at` of this machine; running tasks newest first, queued ones in order."""

    at: float
    stats: ClusterStats
    workers: Sequence[WorkerInfo]
    running: Sequence[TaskInfo]
    queued: Sequence[TaskInfo]

    @property
    def now(self) -> float:
        """By the master's clock, as deadlines and submissions are; by ours if it does not tell."""
        return self.stats.now or self.at

    @property
    def tasks(self) -> list[TaskInfo]:
        """Those that run, then those that wait."""
        return [*self.running, *self.queued]

    @property
    def more_tasks(self) -> int:
        """How many run or wait beside `tasks`."""
        stats = self.stats
        return max(0, stats.queued + stats.assigned + stats.running - len(self.running) - len(self.queued))

    @property
    def more_workers(self) -> int:
        """How many there are beside `workers`."""
        return max(0, sum(self.stats.workers.values()) - len(self.workers))


def look(client: MasterClient, wanted: Wanted) -> Picture:
    """Ask the master."""
    at = time.time()
    stats = client.stats()
    order, descending = wanted.worker_order, wanted.descending
    workers = {
        worker.worker_id: worker
        for text in dict.fromkeys(("", wanted.worker_text))
        for worker in client.worker_page(
            text=text, order=order, descending=descending, page_size=wanted.workers
        ).workers
    }
    return Picture(
        at=at,
        stats=stats,
        workers=list(workers.values()),
        running=_tasks(client, _RUNNING, "newest", wanted),
        queued=_tasks(client, _QUEUED, "queue", wanted),
    )


def _tasks(client: MasterClient, states: Sequence[str], order: str, wanted: Wanted) -> list[TaskInfo]:
    found = client.task_page(states, order=order, page_size=wanted.tasks).tasks
    if wanted.task_text:
        known = {task.task_id for task in found}
        further = client.task_page(states, text=wanted.task_text, order=order, page_size=wanted.tasks).tasks
        found += tuple(task for task in further if task.task_id not in known)
    return list(found)


class Rates(msgspec.Struct, frozen=True):
    """Tasks per second, None before there are two pictures; deadlines judged in `judged_s` seconds."""

    submitted: float | None = None
    finished: float | None = None
    met: int = 0
    missed: int = 0
    judged_s: float = SLA_WINDOW_S


class Course:
    """The last minute of the master's counters; more of it where looks are further apart."""

    def __init__(self) -> None:
        self._stats: deque[ClusterStats] = deque()

    def add(self, now: ClusterStats) -> Rates:
        """Take in the newest, and return the rates up to it."""
        past = self._stats
        if past and past[-1].started_at != now.started_at:
            # Another master, or the same one anew: it counts from the beginning.
            past.clear()
        past.append(now)
        while len(past) > 2 and now.now - past[0].now > SLA_WINDOW_S:
            past.popleft()
        minute = past[0]
        earlier = list(past)[:-1] or [now]
        before = next((stats for stats in earlier if now.now - stats.now <= RATE_WINDOW_S), earlier[-1])
        passed_s = now.now - before.now
        if passed_s <= 0.0:
            return Rates()
        return Rates(
            submitted=(now.submitted_since_start - before.submitted_since_start) / passed_s,
            finished=(now.finished_since_start - before.finished_since_start) / passed_s,
            met=now.sla_met_since_start - minute.sla_met_since_start,
            missed=now.sla_missed_since_start - minute.sla_missed_since_start,
            judged_s=max(SLA_WINDOW_S, now.now - minute.now),
        )
