"""Workers kept free for tasks that waited too long, so that small tasks cannot overtake a large one for ever.

A reservation is for a task that has waited longer than max(4·τ, 30 s): nothing else is placed on the worker
until the task fits there, or has found room elsewhere. At most max(1, workers // 8) workers are reserved at
once, for the tasks that waited longest.

Under overload every hopeless task waits too long in the end. If each of them could reserve, they would take
every place that comes free, and the queue would be first come, first served again, with all deadlines missed.
So of the running attempts at most an eighth (and at least one) are hopeless tasks that came in through a
reservation. A task that can still meet its deadline is not limited by that.
"""

from __future__ import annotations

import math
from heapq import heapify, heappop, heapreplace
from typing import NamedTuple

from master.jobs import STARVING_S, Job, Standing
from master.members import Amounts, Member, Members, covers
from master.queue import Group, TaskQueue

SHARE = 8
# The best of this many workers is chosen: at more, the gain of looking further is below 1 % of the wait, and
# a pass would take milliseconds.
CANDIDATES = 128


class Reservation(NamedTuple):
    """A worker that is kept for a job, and when to think again whether it is the right one."""

    member: Member
    review_at: float
    hopeless: bool


class Reservations:
    """Who waits for which worker."""

    def __init__(self, members: Members, queue: TaskQueue) -> None:
        self._members = members
        self._queue = queue
        self.held: dict[Job, Reservation] = {}
        # Hopeless tasks that went first because of a reservation and run.
        self.favoured: set[str] = set()
        self._version = 0
        self._roster: list[Member] = []
        self._roster_version = -1
        self._cursor = 0

    def ready(self, grown: dict[Member, None]) -> list[Job]:
        """The jobs whose reserved worker gained room and can take them now, longest waiting first."""
        return [
            job
            for job, (member, _, _) in self.held.items()
            if member in grown and job.group and covers(self._members.room(member), job.group.request)
        ]

    def limit(self) -> int:
        """How many workers may be reserved at once."""
        return max(1, len(self._members) // SHARE)

    def make(self, now: float, live: int) -> None:
        """Reserve workers for those that starve; `live` is the number of live attempts."""
        queue = self._queue
        if self.held:
            self._review(now)
        limit = self.limit()
        while len(self.held) > limit:
            self.vacate(next(reversed(self.held.values())).member)
        if not queue.starving or len(self.held) >= limit:
            return
        waiting = []
        for group in list(queue.starving):
            job = group.longest_starving()
            if job is None:
                del queue.starving[group]
            elif group.unreservable != (self._members.version, self._version):
                waiting.append((job.waiting_since, job.seq, group))
        heapify(waiting)
        favours = max(1, live // SHARE) - len(self.favoured) - sum(r.hopeless for r in self.held.values())
        while waiting and len(self.held) < limit:
            group = waiting[0][2]
            job = group.longest_starving()
            hopeless = job is not None and job.standing is Standing.HOPELESS
            if job is None or (hopeless and favours <= 0) or not self._reserve(group, now, hopeless):
                heappop(waiting)
                continue
            favours -= hopeless
            following = group.longest_starving()
            if following is None:
                heappop(waiting)
            else:
                heapreplace(waiting, (following.waiting_since, following.seq, group))

    def lift(self, job: Job) -> Reservation:
        """End a job's reservation: its worker is everyone's again."""
        reservation = self.held.pop(job)
        job.reserved = None
        self._members.reserve_for(reservation.member, None)
        self._version += 1
        return reservation

    def ended(self, job: Job) -> None:
        """The job's attempt ended."""
        self.favoured.discard(job.task_id)

    def vacate(self, member: Member) -> None:
        """The worker cannot be waited for: its job asks for another."""
        job = member.reserved_for
        if job is not None:
            self.lift(job)
            self._queue.starve(job)

    def _reserve(self, group: Group, now: float, hopeless: bool) -> bool:
        found = self._soonest(group, now)
        if found is None:
            return False
        member, at = found
        job = self._queue.reserve(group)
        job.reserved = member
        # A prediction that failed by as much again was not worth waiting for.
        self.held[job] = Reservation(member, now + 2.0 * (at - now) + STARVING_S, hopeless)
        self._members.reserve_for(member, job)
        self._version += 1
        return True

    def _review(self, now: float) -> None:
        for reservation in list(self.held.values()):
            if reservation.review_at < now:
                self.vacate(reservation.member)

    def _soonest(self, group: Group, now: float) -> tuple[Member, float] | None:
        """The worker that will probably have room first, and when; of equal ones the first in turn."""
        if self._roster_version != self._members.version:
            self._roster = list(self._members.by_id.values())
            self._roster_version = self._members.version
        roster = self._roster
        best: tuple[Member, float] | None = None
        seen = 0
        start = self._cursor if len(roster) > CANDIDATES else 0
        for offset in range(len(roster)):
            member = roster[(start + offset) % len(roster)]
            if not member.schedulable or not member.could_run(group.request, group.executor):
                continue
            at = self._room_at(member, group.request, now)
            if best is None or at < best[1]:
                best = member, at
            seen += 1
            if seen == CANDIDATES:
                self._cursor = start + offset + 1
                return best
        if best is None:
            group.unreservable = (self._members.version, self._version)
        return best

    def _room_at(self, member: Member, request: Amounts, now: float) -> float:
        """When a worker will probably have room; infinite only if it was made smaller than what it runs."""
        lacking = [asked - free for asked, free in zip(request, self._members.room(member), strict=True)]
        if max(lacking) <= 0.0:
            return now
        ends = sorted(((a.predicted_finish(now), a.job.task) for a in member.attempts.values()), key=_first)
        for at, task in ends:
            lacking = [
                lacking[0] - task.cpu,
                lacking[1] - task.memory,
                lacking[2] - task.gpu,
                lacking[3] - task.storage,
            ]
            if max(lacking) <= 0.0:
                return at
        return math.inf


def _first(pair: tuple[float, object]) -> float:
    return pair[0]
