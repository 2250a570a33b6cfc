"""One pass over the queue: in order, as many as fit, each decided by the scheduler and reserved at once.

Between two passes every group of the queue is known not to fit, so a pass needs to look only at groups with
new tasks and at those that would fit on a worker that gained room. Within a pass room only shrinks, so a
request that is not smaller than one that failed is not tried.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heapreplace

from master.decisions import Decisions, peek
from master.jobs import Job
from master.members import NO_ROOM, Amounts, Member, Members, covers, most
from master.queue import Group, TaskQueue, order
from master.reservations import Reservations
from rtscore import Decision, Scheduler

EXECUTORS = ("process", "container")
# Failed requests to compare with; more of them cost more than the decisions that they save.
FAILURES = 16

Place = Callable[[Job, Member, str, float | None, bytes | None], None]


class Placement:
    """Decides which queued tasks go where."""

    def __init__(
        self,
        queue: TaskQueue,
        members: Members,
        reservations: Reservations,
        scheduler: Scheduler,
        decisions: Decisions,
    ) -> None:
        self._queue = queue
        self._members = members
        self._reservations = reservations
        self._scheduler = scheduler
        self._decisions = decisions

    def run(self, now: float, live: int, place: Place) -> None:
        """Place what fits; `place` reserves each choice and is called in order.

        `live` is the number of live attempts. With nothing new since the last pass this costs a microsecond.
        """
        queue, members = self._queue, self._members
        queue.advance(now)
        while queue.fresh or members.grown:
            grown, members.grown = members.grown, {}
            for job in self._reservations.ready(grown):
                reservation = self._reservations.lift(job)
                if not self._try(job, now, place):
                    queue.starve(job)
                elif reservation.hopeless and job.attempt is not None:
                    self._reservations.favoured.add(job.task_id)
            self._fill(self._contenders(grown), now, place)
        self._reservations.make(now, live)

    def foresee(self, job: Job, now: float) -> tuple[Member, Decision, bytes | None] | None:
        """Where a job that is not queued would go, decided how, chosen from what; None: it would wait."""
        table, hidden = self._members.table, []
        try:
            while (decision := peek(self._scheduler, job.task, now)).worker_id is not None:
                member = self._members.by_id[decision.worker_id]
                if member.supports(job.executor):
                    return member, decision, self._decisions.keep(job.task, decision, now)
                hidden.append(member)
                table.set_schedulable(member.id, False)
        finally:
            for member in hidden:
                table.set_schedulable(member.id, True)
        return None

    def _contenders(self, grown: dict[Member, None]) -> list[Group]:
        queue = self._queue
        groups = list(queue.fresh)
        queue.fresh = {}
        rooms = dict.fromkeys(EXECUTORS, NO_ROOM)
        for member in grown:
            if member.schedulable:
                room = self._members.room(member)
                for executor in EXECUTORS:
                    if member.supports(executor):
                        rooms[executor] = most(rooms[executor], room)
        for group in queue.groups.values():
            if group.blocked and covers(rooms[group.executor], group.request):
                group.blocked = False
                groups.append(group)
        return groups

    def _fill(self, groups: list[Group], now: float, place: Place) -> None:
        heads = [(*order(job), group, job) for group in groups if (job := group.first()) is not None]
        heapify(heads)
        failed: list[tuple[str, Amounts]] = []
        while heads:
            group, job = heads[0][3:]
            if failed and _will_fail(failed, group):
                group.blocked = True
                heappop(heads)
            elif self._try(job, now, place):
                following = group.first()
                if following is None:
                    heappop(heads)
                else:
                    heapreplace(heads, (*order(following), group, following))
            else:
                group.blocked = True
                heappop(heads)
                if len(failed) < FAILURES:
                    failed.append((group.executor, group.request))

    def _try(self, job: Job, now: float, place: Place) -> bool:
        """Place or park a job; False when no worker has room for it."""
        decision = self._scheduler.select_worker(job.task, now)
        if decision.worker_id is None:
            return False
        member = self._members.by_id[decision.worker_id]
        if job.avoid or not member.supports(job.executor):
            return self._try_others(job, decision, now, place)
        self._take(job, member, decision, now, place)
        return True

    def _try_others(self, job: Job, decision: Decision, now: float, place: Place) -> bool:
        """Decide again without the workers that cannot or should not have the job."""
        if now >= job.retry_at:
            job.avoid = ()
        hidden: list[Member] = []
        parked = False
        try:
            while decision.worker_id is not None:
                member = self._members.by_id[decision.worker_id]
                supported = member.supports(job.executor)
                if supported and member.id not in job.avoid:
                    self._take(job, member, decision, now, place)
                    return True
                parked |= supported
                hidden.append(member)
                self._members.table.set_schedulable(member.id, False)
                decision = self._scheduler.select_worker(job.task, now)
        finally:
            for member in hidden:
                self._members.table.set_schedulable(member.id, True)
        if parked:
            if job.reserved is not None:
                self._reservations.lift(job)
            self._queue.park(job)
        return parked

    def _take(self, job: Job, member: Member, decision: Decision, now: float, place: Place) -> None:
        # Here, while the workers that the job must not have are still hidden.
        kept = self._decisions.keep(job.task, decision, now)
        if job.reserved is not None:
            self._reservations.lift(job)
        self._queue.remove(job)
        place(job, member, decision.source.value, decision.risk, kept)


def _will_fail(failed: list[tuple[str, Amounts]], group: Group) -> bool:
    return any(executor == group.executor and covers(group.request, least) for executor, least in failed)
