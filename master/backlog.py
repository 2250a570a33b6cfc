"""The queue as a reader sees it: pages in the order of placing, and what its largest parts wait for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from heapq import nlargest

import msgspec

from master.members import Members
from master.queue import Key, TaskQueue
from master.reasons import group_reason
from master.records import StoredTask

DEPTH = 5_000
"""Places that a page looks at; further back the order says nothing, and the master has other work to do."""

REASONS = 3


class QueuePage(msgspec.Struct, frozen=True):
    """Tasks with their places, in the order of placing, and where to go on; None: nothing more is told."""

    tasks: list[tuple[Key, StoredTask]]
    last: Key | None


def queue_page(
    queue: TaskQueue, limit: int, after: Key | None, wanted: Callable[[StoredTask], bool]
) -> QueuePage:
    """The first `limit` tasks behind a place that are wanted, among the first `DEPTH` of all."""
    tasks: list[tuple[Key, StoredTask]] = []
    for number, (place, job) in enumerate(queue.in_order(), 1):
        if after is None or place > after:
            task = StoredTask(job.spec, job.status)
            if wanted(task):
                tasks.append((place, task))
                if len(tasks) == limit and number < DEPTH:
                    return QueuePage(tasks, place)
        if number == DEPTH:
            break
    return QueuePage(tasks, None)


def queue_reasons(queue: TaskQueue, members: Members) -> list[tuple[str, int]]:
    """Why the largest groups of equal requests wait, and how many tasks that are; the most first."""
    reasons = Counter[str]()
    for group in nlargest(REASONS, queue.groups.values(), key=lambda group: group.size):
        reasons[group_reason(group, members)] += group.size
    return reasons.most_common()
