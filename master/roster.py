"""The workers as a reader sees them: filtered, sorted, in pages."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from heapq import nsmallest

import msgspec
import numpy as np
from numpy.typing import NDArray

from master.members import NAMES, Member, Members

PAGE_KEY = tuple[float, str]


class WorkerOrder(Enum):
    """By what workers are sorted; used is the largest used share of a resource."""

    ID = 0
    LOAD = 1
    RUNNING = 2
    FINISHED = 3
    MISSED = 4
    USED = 5


class WorkerQuery(msgspec.Struct, frozen=True):
    """Which workers; `after` is the key of the page before, `text` a part of the id in any letters."""

    limit: int | None = None
    after: PAGE_KEY | None = None
    states: frozenset[str] = frozenset()
    text: str = ""
    order: WorkerOrder = WorkerOrder.ID
    descending: bool = False


def worker_page(members: Members, query: WorkerQuery) -> tuple[list[Member], PAGE_KEY | None, int]:
    """A page, the key to go on from if there is more, and how many workers there are in all pages.

    Who changes their place while somebody turns pages may come twice, or not at all.
    """
    found = [member for member in members.by_id.values() if _matches(member, query)]
    if query.order is WorkerOrder.ID and query.descending:
        found.sort(key=lambda member: member.id, reverse=True)
        keyed = [((0.0, member.id), member) for member in found]
        if query.after is not None:
            keyed = [pair for pair in keyed if pair[0] < query.after]
        page = keyed if query.limit is None else keyed[: query.limit]
    else:
        value = _value(members, query.order, -1.0 if query.descending else 1.0)
        keyed = [((value(member), member.id), member) for member in found]
        if query.after is not None:
            keyed = [pair for pair in keyed if pair[0] > query.after]
        limit = len(keyed) if query.limit is None else query.limit
        page = nsmallest(limit, keyed, key=lambda pair: pair[0])
    more = page[-1][0] if page and len(page) < len(keyed) else None
    return [member for _, member in page], more, len(found)


def _matches(member: Member, query: WorkerQuery) -> bool:
    if query.states and member.state not in query.states:
        return False
    return not query.text or query.text.lower() in member.id.lower()


def _value(members: Members, order: WorkerOrder, sign: float) -> Callable[[Member], float]:
    """By what a worker is sorted, the smallest first."""
    table = members.table
    if order in (WorkerOrder.LOAD, WorkerOrder.USED):
        columns = table.columns()
        slots = (sign * (columns["load"] if order is WorkerOrder.LOAD else _used(columns))).tolist()
        return lambda member: slots[table.slot(member.id)]
    if order is WorkerOrder.RUNNING:
        return lambda member: sign * len(member.attempts)
    if order is WorkerOrder.FINISHED:
        return lambda member: sign * member.tasks_finished
    if order is WorkerOrder.MISSED:
        return lambda member: sign * (member.tasks_finished - member.sla_met)
    return lambda member: 0.0


def _used(columns: dict[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """Per slot the largest used share of a resource."""
    used = np.zeros_like(columns["load"])
    for name in NAMES:
        total, allocated = columns[f"{name}_total"], columns[f"{name}_allocated"]
        used = np.maximum(used, np.divide(allocated, total, out=np.zeros_like(total), where=total > 0.0))
    return used
