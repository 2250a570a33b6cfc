"""The queue: order of 7.2 within groups of equal requests, and the timers that move tasks between its parts.

Design

a. Tasks of equal request and executor form a group. What fits depends on the group alone, what goes first on
   the task; so a pass looks at each group once and at each placed task, not at each queued one.
b. A group orders the tasks that can still meet their deadline (now <= deadline - τ) by deadline, and the
   hopeless ones behind them by arrival. Ties: the order of acceptance.
c. A task becomes hopeless, starving, or free of its pause by time alone. One heap holds for each task the
   next instant at which that happens; it is read when a pass begins.
d. Leaving is lazy: an entry counts only while its `turn` is the job's. A heap that is mostly void is rebuilt,
   so it stays proportional to what is queued.
e. A group that did not fit is blocked until capacity grows on a worker where it would fit, however many tasks
   join it meanwhile.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from heapq import heapify, heappop, heappush

from master.jobs import STARVING_S, STARVING_TAUS, Job, Standing
from master.members import NO_ROOM, Amounts, covers

Key = tuple[int, float, int]
Entry = tuple[float, int, int, Job]

# Below this many entries a rebuild is not worth its check.
SLACK = 64


class Group:
    """The queued tasks of one request (cores, GiB, devices, GiB) and executor."""

    __slots__ = (
        "blocked",
        "diagnosis",
        "executor",
        "hopeful",
        "hopeless",
        "impossible",
        "request",
        "size",
        "starving",
        "unreservable",
    )

    def __init__(self, request: tuple[float, float, float, float], executor: str) -> None:
        self.request = request
        self.executor = executor
        self.size = 0
        self.blocked = False
        self.impossible = False
        self.hopeful: list[Entry] = []
        self.hopeless: list[Entry] = []
        self.starving: list[Entry] = []
        # Why no worker can run it, and for which version of the members that was found.
        self.diagnosis: tuple[int, str] = (-1, "")
        # For which version of members and reservations no worker was left to reserve.
        self.unreservable: tuple[int, int] = (-1, -1)

    def first(self) -> Job | None:
        """The job to place next; None when there is none."""
        return _top(self.hopeful, Standing.HOPEFUL) or _top(self.hopeless, Standing.HOPELESS)

    def longest_starving(self) -> Job | None:
        """The job that waits for a reservation longest; None when there is none."""
        heap = self.starving
        while heap:
            _, _, turn, job = heap[0]
            if job.turn == turn:
                return job
            heappop(heap)
        return None

    def up_to(self, standing: Standing, key: tuple[float, ...] = (math.inf,)) -> list[Entry]:
        """The entries of its jobs of one standing (hopeful, hopeless) before a place, in no order."""
        heap = self.hopeful if standing is Standing.HOPEFUL else self.hopeless
        return [e for e in heap if e < key and e[3].turn == e[2] and e[3].standing is standing]

    def jobs(self) -> Iterator[Job]:
        """Every job in it, in no order."""
        for standing in (Standing.HOPEFUL, Standing.HOPELESS):
            yield from (job for *_, job in self.up_to(standing))


def order(job: Job) -> Key:
    """The place of a queued job among all: hopeful by deadline, then hopeless by arrival."""
    if job.standing is Standing.HOPEFUL:
        return 0, job.deadline, job.seq
    return 1, job.submitted_at, job.seq


class TaskQueue:
    """All tasks that wait."""

    def __init__(self) -> None:
        self.groups: dict[tuple[float, float, float, float, str], Group] = {}
        # Groups with tasks that no pass has seen; ordered, as everything that decides must be.
        self.fresh: dict[Group, None] = {}
        self.starving: dict[Group, None] = {}
        self._timers: list[Entry] = []
        self._size = 0
        # How often a job entered or left.
        self.moves = 0
        self.parked: dict[Job, None] = {}
        # Jobs that can no longer meet their deadline, without those that are parked.
        self.hopeless = 0
        # Jobs that no worker was large enough for, of those that were judged last.
        self.impossible = 0
        self._largest: dict[str, Amounts] = {}

    def __len__(self) -> int:
        return self._size

    def push(self, job: Job, now: float, since: float) -> None:
        """Queue a job that is out and waits since some instant."""
        task = job.task
        key = (task.cpu, task.memory, task.gpu, task.storage, job.executor)
        group = self.groups.get(key)
        if group is None:
            group = self.groups[key] = Group(key[:4], job.executor)
            group.impossible = self._asks_too_much(group)
        job.group = group
        job.waiting_since = since
        job.starving_at = _patience_ends(job)
        job.turn += 1
        group.size += 1
        self._size += 1
        self.impossible += group.impossible
        self.moves += 1
        job.queued_at = self.moves
        if len(self._timers) > 2 * self._size + 16 * SLACK:
            self._timers = _rebuilt(self._timers)
        self._join(job, group, now)

    def remove(self, job: Job) -> None:
        """Take a job out, wherever in the queue it is."""
        group = job.group
        assert group is not None
        job.turn += 1
        self._forget(job)
        job.standing = Standing.OUT
        job.group = None
        self._size -= 1
        self.impossible -= group.impossible
        self.moves += 1
        group.size -= 1
        if group.size == 0:
            del self.groups[*group.request, group.executor]
            self.fresh.pop(group, None)
            self.starving.pop(group, None)
        elif len(group.hopeful) + len(group.hopeless) + len(group.starving) > 3 * group.size + SLACK:
            group.hopeful = _rebuilt(group.hopeful, Standing.HOPEFUL)
            group.hopeless = _rebuilt(group.hopeless, Standing.HOPELESS)
            group.starving = _rebuilt(group.starving)

    def park(self, job: Job) -> None:
        """Leave a job that only workers it avoids have room for alone until its `retry_at`."""
        self._forget(job)
        job.standing = Standing.PARKED
        self.parked[job] = None
        job.turn += 1
        job.starving_at = _patience_ends(job)
        heappush(self._timers, (job.retry_at, job.seq, job.turn, job))

    def advance(self, now: float) -> None:
        """Let time pass: tasks lose hope, begin to starve, end their pause."""
        timers = self._timers
        while timers and timers[0][0] < now:
            _, _, turn, job = heappop(timers)
            if job.turn != turn:
                continue
            group = job.group
            assert group is not None
            if job.standing is Standing.PARKED:
                if job.retry_at < now:
                    job.avoid = ()
                    self._join(job, group, now)
                else:
                    heappush(timers, (job.retry_at, job.seq, turn, job))
                continue
            if job.standing is Standing.HOPEFUL and job.latest_start < now:
                job.standing = Standing.HOPELESS
                self.hopeless += 1
                heappush(group.hopeless, (job.submitted_at, job.seq, turn, job))
            if job.starving_at < now:
                self.starve(job)
            self._watch(job)

    def set_back(self, now: float, pause_s: float) -> None:
        """The clock went back: no pause or patience lasts longer than if it had not.

        What was waited for before that is forgotten; a task whose worker is reserved goes on waiting for it.
        """
        paused = {job for _, _, turn, job in self._timers if job.turn == turn and job.group is not None}
        for job in sorted(paused | set(self.jobs()), key=lambda job: job.seq):
            if job.reserved is None:
                job.retry_at = min(job.retry_at, now + pause_s)
                self.remove(job)
                self.push(job, now, min(job.waiting_since, now))

    def starve(self, job: Job) -> None:
        """Let a queued job that waited too long, and has none, ask for a reservation."""
        assert job.group is not None
        job.starving_at = math.inf
        heappush(job.group.starving, (job.waiting_since, job.seq, job.turn, job))
        self.starving[job.group] = None

    def reserve(self, group: Group) -> Job:
        """Take the job that starves longest off the list of those that ask."""
        job = group.longest_starving()
        assert job is not None
        heappop(group.starving)
        return job

    def judge(self, largest: dict[str, Amounts]) -> None:
        """Note the largest amounts, by executor, that any worker has: what asks more of one is impossible."""
        if largest != self._largest:
            self._largest = largest
            for group in self.groups.values():
                group.impossible = self._asks_too_much(group)
            self.impossible = sum(group.size for group in self.groups.values() if group.impossible)

    def jobs(self) -> Iterator[Job]:
        """Every job in a group, without those that are parked; in no order."""
        for group in self.groups.values():
            yield from group.jobs()

    def before(self, job: Job) -> tuple[list[Entry], list[Entry]]:
        """The entries of the hopeful and of the hopeless jobs that go before one, in no order.

        The job itself need not be in the queue.
        """
        hopeless, *key = order(job)
        bounds = ((math.inf,), tuple(key)) if hopeless else (tuple(key), (-math.inf,))
        groups = self.groups.values()
        return (
            [entry for group in groups for entry in group.up_to(Standing.HOPEFUL, bounds[0])],
            [entry for group in groups for entry in group.up_to(Standing.HOPELESS, bounds[1])],
        )

    def in_order(self) -> Iterator[tuple[Key, Job]]:
        """Every job with its place, the one to place next first; those that are parked come last.

        Costs a look at every group, and then at what is read. Nothing may change meanwhile.
        """
        for place, standing in enumerate((Standing.HOPEFUL, Standing.HOPELESS)):
            heaps = [g.hopeless if place else g.hopeful for g in self.groups.values()]
            for at, seq, turn, job in _ascending([heap for heap in heaps if _top(heap, standing)]):
                if job.turn == turn and job.standing is standing:
                    yield (place, at, seq), job
        yield from sorted(((2, job.submitted_at, job.seq), job) for job in self.parked)

    def _asks_too_much(self, group: Group) -> bool:
        return not covers(self._largest.get(group.executor, NO_ROOM), group.request)

    def _forget(self, job: Job) -> None:
        if job.standing is Standing.HOPELESS:
            self.hopeless -= 1
        elif job.standing is Standing.PARKED:
            del self.parked[job]

    def _join(self, job: Job, group: Group, now: float) -> None:
        self._forget(job)
        if now <= job.latest_start:
            job.standing = Standing.HOPEFUL
            heappush(group.hopeful, (job.deadline, job.seq, job.turn, job))
        else:
            job.standing = Standing.HOPELESS
            self.hopeless += 1
            heappush(group.hopeless, (job.submitted_at, job.seq, job.turn, job))
        self._watch(job)
        if not group.blocked:
            self.fresh[group] = None

    def _watch(self, job: Job) -> None:
        at = job.starving_at
        if job.standing is Standing.HOPEFUL and job.latest_start < at:
            at = job.latest_start
        if at < math.inf:
            heappush(self._timers, (at, job.seq, job.turn, job))


def _patience_ends(job: Job) -> float:
    return job.waiting_since + max(STARVING_TAUS * job.spec.tau, STARVING_S)


def _ascending(heaps: list[list[Entry]]) -> Iterator[Entry]:
    """The entries of several heaps in one order; what is not read is not sorted."""
    # No two entries are equal in what comes before the job, so nothing behind them is compared.
    front = [(heap[0], 0, heap) for heap in heaps]
    heapify(front)
    while front:
        entry, at, heap = heappop(front)
        yield entry
        for child in range(2 * at + 1, min(2 * at + 3, len(heap))):
            heappush(front, (heap[child], child, heap))


def _top(heap: list[Entry], standing: Standing) -> Job | None:
    while heap:
        _, _, turn, job = heap[0]
        if job.turn == turn and job.standing is standing:
            return job
        heappop(heap)
    return None


def _rebuilt(heap: list[Entry], standing: Standing | None = None) -> list[Entry]:
    kept = [e for e in heap if e[3].turn == e[2] and (standing is None or e[3].standing is standing)]
    heapify(kept)
    return kept
