"""A task in memory and its live attempt: what queue, placement and life cycle note on them."""

from __future__ import annotations

import math
from enum import Enum
from typing import TYPE_CHECKING

from master.records import AttemptRecord, TaskSpec, TaskStatus
from rtscore import Task

if TYPE_CHECKING:
    from master.members import Member
    from master.queue import Group

# A task that waits longer than max(STARVING_TAUS * τ, STARVING_S) gets a worker reserved for it.
STARVING_TAUS = 4.0
STARVING_S = 30.0


class Standing(Enum):
    """Where a job is with respect to the queue."""

    OUT = "not queued"
    HOPEFUL = "can still meet its deadline"
    HOPELESS = "will miss its deadline"
    PARKED = "waits for a worker that refused it"


class Attempt:
    """A placement that holds its worker."""

    __slots__ = (
        "cancel_at",
        "claim_by",
        "expected_finish",
        "job",
        "member",
        "missed",
        "missed_since",
        "number",
        "record",
    )

    def __init__(self, job: Job, member: Member, record: AttemptRecord) -> None:
        self.job = job
        self.member = member
        self.record = record
        self.number = record.attempt
        self.expected_finish = record.assigned_at
        # When its end was asked for; None: it is wanted.
        self.cancel_at: float | None = None
        # On the clock of `Uptime`: when it counts as lost unless its worker has named it; None: no doubt.
        self.claim_by: float | None = None
        # Heartbeats in a row that named what their worker runs but not this, and, on the clock of `Uptime`,
        # the first of them.
        self.missed = 0
        self.missed_since = 0.0

    def predicted_finish(self, now: float) -> float:
        """When it will probably have ended; one that is overdue by some time is given as much again."""
        if self.cancel_at is not None:
            return now
        return self.expected_finish if now < self.expected_finish else 2.0 * now - self.expected_finish


class Job:
    """A task that is not finished, or whose worker has not let go of it."""

    __slots__ = (
        "attempt",
        "avoid",
        "deadline",
        "executor",
        "foreseen",
        "group",
        "latest_start",
        "queued_at",
        "reserved",
        "retry_at",
        "seq",
        "spec",
        "standing",
        "starving_at",
        "status",
        "submitted_at",
        "task",
        "task_id",
        "turn",
        "waiting_since",
    )

    def __init__(self, spec: TaskSpec, status: TaskStatus, task: Task, seq: int) -> None:
        self.spec = spec
        self.status = status
        self.task = task
        self.task_id = spec.submission.task_id
        # Order of acceptance; breaks ties of deadline and arrival, and is kept when the task is queued again.
        self.seq = seq
        self.executor = "container" if spec.submission.docker_image else "process"
        self.deadline = spec.deadline
        self.submitted_at = spec.submitted_at
        # τ is the one of submission, like the deadline made with it: what hope means does not drift.
        self.latest_start = spec.deadline - spec.tau
        self.attempt: Attempt | None = None
        # When it waited and its wait was predicted, and the prediction in seconds.
        self.foreseen: tuple[float, float] | None = None
        # The queue's notes. `turn` counts the times that it entered or left; heap entries of another turn are
        # void.
        self.standing = Standing.OUT
        self.group: Group | None = None
        self.turn = 0
        # The queue's `moves` when it entered last.
        self.queued_at = 0
        self.waiting_since = spec.submitted_at
        self.starving_at = math.inf
        self.reserved: Member | None = None
        # Workers that refused it, and until when they are left alone.
        self.avoid: tuple[str, ...] = ()
        self.retry_at = -math.inf

    def __repr__(self) -> str:
        return f"<Job {self.task_id} {self.status.state.value}, {self.standing.value}>"


def task_of(spec: TaskSpec) -> Task:
    """The task as the library sees it."""
    submission = spec.submission
    return Task(
        submission.task_id,
        cpu=submission.cpu,
        memory=submission.memory,
        gpu=submission.gpu,
        storage=submission.storage,
        task_type=spec.task_type,
        tau=spec.tau,
        arrival_time=spec.submitted_at,
        sla_multiplier=spec.sla_multiplier,
        deadline=spec.deadline,
        user_id=submission.user_id,
    )
