"""The cluster in a few numbers, the same ones for scrapes and for GetClusterStats."""

from __future__ import annotations

from collections import Counter

import msgspec
import numpy as np

from master.members import NAMES, NO_ROOM, Amounts, Members, covers, most
from master.placement import EXECUTORS
from master.queue import TaskQueue
from master.reservations import Reservations


class Overview(msgspec.Struct, frozen=True):
    """The cluster at one moment.

    Attributes
    ----------
    workers : dict of int
        Registered workers by state; one that no worker is in is missing.
    total, free : Amounts
        What the workers that are not silent have, and what of it is free.
    waiting : dict of int
        Tasks by the reason that each is told: "reserved", a worker is kept for it; "refused", it pauses
        because workers refused it; "impossible", no registered worker is that large; "room", all the others.
    hopeless : int
        Tasks among them that can no longer meet their deadline.
    """

    workers: dict[str, int]
    total: Amounts
    free: Amounts
    waiting: dict[str, int]
    hopeless: int


class Census:
    """Looks at the cluster.

    What follows from the workers is kept until one of them changes, and the queue counts by itself, so that a
    reading in quiet times looks at nothing but the tasks that pause, or that a worker is kept for.
    """

    def __init__(self, members: Members, queue: TaskQueue, reservations: Reservations) -> None:
        self._members = members
        self._queue = queue
        self._reservations = reservations
        self._version = -1
        self._states: Counter[str] = Counter()
        # Slots of silent workers.
        self._silent = np.empty(0, np.int64)

    def overview(self, now: float) -> Overview:
        """The cluster as it is."""
        if self._version != self._members.version:
            self._look_at_workers()
        queue, reserved, parked = self._queue, self._reservations.held, self._queue.parked
        impossible = queue.impossible
        for job in (*reserved, *parked):
            impossible -= job.group is not None and job.group.impossible
        waiting = {"reserved": len(reserved), "refused": len(parked), "impossible": impossible}
        return Overview(
            dict(self._states),
            self._sums("total"),
            self._sums("avail"),
            {"room": len(queue) - sum(waiting.values()), **waiting},
            queue.hopeless + sum(now > job.latest_start for job in parked),
        )

    def _look_at_workers(self) -> None:
        self._version = self._members.version
        everyone = self._members.by_id.values()
        self._states = Counter(member.state for member in everyone)
        silent = [self._members.table.slot(member.id) for member in everyone if not member.active]
        self._silent = np.array(silent, np.int64)
        largest = dict.fromkeys(EXECUTORS, NO_ROOM)
        for member in everyone:
            for executor, amounts in largest.items():
                if not covers(amounts, member.totals) and member.supports(executor):
                    largest[executor] = most(amounts, member.totals)
        self._queue.judge(largest)

    def _sums(self, column: str) -> Amounts:
        columns = self._members.table.columns()
        each = (columns[f"{name}_{column}"] for name in NAMES)
        cpu, memory, gpu, storage = (float(of.sum() - of[self._silent].sum()) for of in each)
        return cpu, memory, gpu, storage
