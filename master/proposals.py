"""Placements that an outside planner proposes, held to the rules of our own.

A planner decides on a state that is over when its proposal comes. What has changed meanwhile shows in the
version of the state: it counts how often a task entered or left the queue, and begins at the time of the
master's start, so no version of an earlier run passes for one of this run. A proposal holds when its task has
waited since that version without a break. Whether it fits is judged on the cluster as it is now.
"""

from __future__ import annotations

from heapq import nsmallest
from typing import TYPE_CHECKING

import msgspec

from master.book import Book
from master.errors import NotAllowedError, UnknownTaskError, UnknownWorkerIdError
from master.events import Effect, Propose
from master.jobs import Job
from master.lifecycle import Lifecycle
from master.members import NAMES, Member, Members, amounts_of
from master.queue import TaskQueue, order
from master.records import StoredTask
from master.reservations import Reservations

if TYPE_CHECKING:
    from master.status import WorkerStatus

SOURCE = "planner"


class WaitingTask(msgspec.Struct, frozen=True):
    """A queued task, and the workers that refused it a moment ago."""

    task: StoredTask
    avoid: tuple[str, ...]


class PlannerWorker(msgspec.Struct, frozen=True):
    """A worker; `reserved_for` is the task that it is kept for, or empty."""

    status: WorkerStatus
    executors: tuple[str, ...]
    reserved_for: str


class PlannerState(msgspec.Struct, frozen=True):
    """What a planner decides on: `waiting` are the first of `queued` tasks, in the order of placement."""

    version: int
    workers: tuple[PlannerWorker, ...]
    waiting: tuple[WaitingTask, ...]
    queued: int


class Proposals:
    """Validates proposals and carries out those that hold."""

    def __init__(
        self,
        book: Book,
        members: Members,
        queue: TaskQueue,
        reservations: Reservations,
        lifecycle: Lifecycle,
    ) -> None:
        self._book = book
        self._members = members
        self._queue = queue
        self._reservations = reservations
        self._lifecycle = lifecycle
        self._base = 0

    def begin(self, now: float) -> None:
        """The master took over at this instant; nothing moves a queue a million times in a second."""
        self._base = int(now * 1e6)

    @property
    def version(self) -> int:
        """The version of the state as it is."""
        return self._base + self._queue.moves

    def waiting(self, limit: int, now: float) -> tuple[WaitingTask, ...]:
        """The first tasks of the queue; costs a look at every unfinished task."""
        queued = (job for job in self._book.jobs.values() if job.group is not None)
        return tuple(
            WaitingTask(StoredTask(job.spec, job.status), job.avoid if now < job.retry_at else ())
            for job in nsmallest(limit, queued, key=order)
        )

    def take(self, event: Propose, now: float, effects: list[Effect]) -> None:
        """Place a task as proposed.

        Raises
        ------
        UnknownTaskError, UnknownWorkerIdError
            When there is none of this id.
        NotAllowedError
            When the proposal does not hold; the sentence says why.
        """
        job = self._job(event)
        member = self._members.by_id.get(event.worker_id)
        if member is None:
            raise UnknownWorkerIdError(f"no worker {event.worker_id!r} is registered")
        why = self._against(job, member, now)
        if why:
            raise NotAllowedError(f"worker {member.id} {why}")
        if job.reserved is not None:
            self._reservations.lift(job)
        self._queue.remove(job)
        self._lifecycle.place(job, member, SOURCE, None, None, now, effects)

    def _job(self, event: Propose) -> Job:
        stored = self._book.stored(event.task_id)
        if stored is None:
            raise UnknownTaskError(f"no task {event.task_id!r} waits")
        job = self._book.jobs.get(event.task_id)
        if job is None or job.group is None:
            status = stored.status
            where = f" on worker {status.worker_id}" if status.worker_id else ""
            raise NotAllowedError(
                f"task {event.task_id} is {status.state.value}{where}; only a queued one is placed"
            )
        if not self._base + job.queued_at <= event.version <= self.version:
            raise NotAllowedError(
                f"state_version {event.version} came; task {event.task_id} has waited since"
                f" {self._base + job.queued_at} and the state is {self.version} now: fetch it again"
            )
        return job

    def _against(self, job: Job, member: Member, now: float) -> str:
        """What speaks against the worker; empty when nothing does."""
        if not member.takes:
            return f"is {member.state}"
        kept_for = member.reserved_for
        if kept_for is not None and kept_for is not job:
            return f"is kept for task {kept_for.task_id}, which has waited too long"
        if not member.supports(job.executor):
            return f"has no {job.executor} executor"
        if member.id in job.avoid and now < job.retry_at:
            return f"refused task {job.task_id} {self._lifecycle.pause_s:g} s ago or less"
        lacks = [
            f"{name} {asked:g} asked, {free:g} available"
            for name, asked, free in zip(NAMES, amounts_of(job.task), self._members.room(member), strict=True)
            if free < asked
        ]
        return f"lacks room: {'; '.join(lacks)}" if lacks else ""
