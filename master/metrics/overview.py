"""The cluster in a few numbers: one look at all workers and groups of the queue, none at single tasks."""

from __future__ import annotations

import msgspec

from master.members import NAMES, NOTHING, Amounts, Members, covers, most
from master.placement import EXECUTORS
from master.queue import TaskQueue
from master.reservations import Reservations

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


def overview(members: Members, queue: TaskQueue, reservations: Reservations) -> Overview:
    """The cluster as it is; a look at each worker and at each group of the queue."""
    states = dict.fromkeys(STATES, 0)
    largest: dict[str, Amounts] = dict.fromkeys(EXECUTORS, NOTHING)
    for member in members.by_id.values():
        if not member.active:
            states["inactive"] += 1
        elif member.stopping:
            states["stopping"] += 1
        else:
            states["draining" if member.record.draining else "active"] += 1
        for executor, amounts in largest.items():
            if not covers(amounts, member.totals) and member.supports(executor):
                largest[executor] = most(amounts, member.totals)
    impossible = sum(
        group.size for group in queue.groups.values() if not covers(largest[group.executor], group.request)
    )
    columns = members.table.columns()
    # A task that was refused may be impossible by now, and is counted once: as that.
    possible = len(queue) - impossible
    reserved = min(len(reservations.held), possible)
    refused = min(queue.parked, possible - reserved)
    return Overview(
        {
            "room": possible - reserved - refused,
            "reserved": reserved,
            "refused": refused,
            "impossible": impossible,
        },
        queue.hopeless,
        members.live,
        states,
        {name: float(columns[f"{name}_total"].sum()) for name in NAMES},
        {name: float(columns[f"{name}_allocated"].sum()) for name in NAMES},
    )
