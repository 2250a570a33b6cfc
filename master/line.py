"""What is asked ahead of each queued task, as of one moment; about a microsecond for each of them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import chain

import numpy as np

from master.jobs import Job, Standing
from master.members import Amounts, as_amounts, plus
from master.queue import TaskQueue, order


class Line:
    """The queue in its order."""

    def __init__(self, queue: TaskQueue) -> None:
        self._moves = queue.moves
        self._hopeful = _Part(queue, Standing.HOPEFUL)
        self._hopeless = _Part(queue, Standing.HOPELESS)

    def stale(self, queue: TaskQueue) -> bool:
        """Whether so much of it has changed that it should be looked at anew."""
        return queue.moves - self._moves > (len(self._hopeful) + len(self._hopeless)) // 4

    def ahead(self, job: Job) -> Amounts:
        """What the tasks before a job ask for."""
        hopeless, at, seq = order(job)
        if hopeless:
            return plus(self._hopeful.total, self._hopeless.ahead(at, seq))
        return self._hopeful.ahead(at, seq)


class _Part:
    """The tasks of one standing."""

    def __init__(self, queue: TaskQueue, standing: Standing) -> None:
        groups = list(queue.groups.values())
        of_groups = [group.up_to(standing) for group in groups]
        entries = list(chain.from_iterable(of_groups))
        at = np.array([entry[0] for entry in entries], np.float64)
        seq = np.array([entry[1] for entry in entries], np.int64)
        by = np.lexsort((seq, at))
        requests = np.array([group.request for group in groups], np.float64).reshape(-1, 4)
        asked = np.repeat(requests, [len(own) for own in of_groups], axis=0)[by]
        # Lists, because a search in them is several times as fast as one in an array.
        self._at: list[float] = at[by].tolist()
        self._seq: list[int] = seq[by].tolist()
        self._before = np.concatenate([np.zeros((1, 4)), np.cumsum(asked, axis=0)])
        self.total = self._sum(-1)

    def __len__(self) -> int:
        return len(self._at)

    def ahead(self, at: float, seq: int) -> Amounts:
        """What the tasks before a place ask for."""
        first = bisect_left(self._at, at)
        last = bisect_right(self._at, at, first)
        return self._sum(bisect_left(self._seq, seq, first, last))

    def _sum(self, count: int) -> Amounts:
        return as_amounts(self._before[count])
