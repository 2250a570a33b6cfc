"""The cluster in a few numbers: one look at all workers and groups of the queue, none at single tasks."""

from __future__ import annotations

import msgspec

from master.members import NAMES, NOTHING, Amounts, Members, covers, most
from master.placement import EXECUTORS
from master.queue import TaskQueue
from master.reservations import Reservations
from master.roster import state_of

STATES = ("active", "draining", "stopping", "inactive")


class Overview(msgspec.Struct, frozen=True):
    """The cluster at one moment.

    Attributes
    ----------
    waiting : tasks by reason
        "impossible": no registered worker is that large; "reserved": a worker is kept for it; "refused": only
        workers that refused it have room; "room": all the others.
    hopeless : int
        Tasks among them that can no longer meet their deadline.
    workers : registered workers by state
    capacity, allocated : amounts by resource
    """

    waiting: dict[str, int]
    hopeless: int
    live_attempts: int
    workers: dict[str, int]
    capacity: dict[str, float]
    allocated: dict[str, float]


class Census:
    """Looks at the cluster.

    What follows from the workers alone is kept until one of them changes, so that a reading in quiet times
    costs a look at each group of the queue.
    """

    def __init__(self, members: Members, queue: TaskQueue, reservations: Reservations) -> None:
        self._members = members
        self._queue = queue
        self._reservations = reservations
        self._version = -1
        self._states: dict[str, int] = {}
        self._largest: dict[str, Amounts] = {}

    def overview(self) -> Overview:
        """The cluster as it is."""
        if self._version != self._members.version:
            self._look_at_workers()
        queue, impossible = self._queue, self._impossible()
        columns = self._members.table.columns()
        # A task that was refused may be impossible by now, and is counted once: as that.
        possible = len(queue) - impossible
        reserved = min(len(self._reservations.held), possible)
        refused = min(len(queue.parked), possible - reserved)
        return Overview(
            {
                "room": possible - reserved - refused,
                "reserved": reserved,
                "refused": refused,
                "impossible": impossible,
            },
            queue.hopeless,
            self._members.live,
            self._states,
            {name: float(columns[f"{name}_total"].sum()) for name in NAMES},
            {name: float(columns[f"{name}_allocated"].sum()) for name in NAMES},
        )

    def _look_at_workers(self) -> None:
        self._version = self._members.version
        self._states = states = dict.fromkeys(STATES, 0)
        self._largest = largest = dict.fromkeys(EXECUTORS, NOTHING)
        for member in self._members.by_id.values():
            states[state_of(member)] += 1
            for executor, amounts in largest.items():
                if not covers(amounts, member.totals) and member.supports(executor):
                    largest[executor] = most(amounts, member.totals)

    def _impossible(self) -> int:
        # Not by `covers`: its calls would make three times as much of it, and there may be 100,000 groups.
        count, largest = 0, self._largest
        for (cpu, memory, gpu, storage, executor), group in self._queue.groups.items():
            has = largest[executor]
            if cpu > has[0] or memory > has[1] or gpu > has[2] or storage > has[3]:
                count += group.size
        return count
