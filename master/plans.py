"""Where a task would go if it were submitted now, and whether it would make it; nothing changes."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from master.forecast import Forecast, Prediction
from master.jobs import Attempt, Job, Standing
from master.lifecycle import Lifecycle
from master.members import Members, amounts_of
from master.placement import Placement
from master.queue import Group, TaskQueue
from master.records import AttemptRecord, StoredTask
from master.waiting import Waiting, waiting


class Verdict(StrEnum):
    """Whether a task is predicted to finish by its deadline."""

    MEETS = "meets"
    MISSES = "misses"
    NEVER = "never"
    """No registered worker could run it, even if it were empty."""
    UNKNOWN = "unknown"
    """It would wait, and for how long cannot be said."""


class Plan(msgspec.Struct, frozen=True):
    """What would become of a task.

    Attributes
    ----------
    task : StoredTask
        As it would be accepted.
    attempt : AttemptRecord or None
        Its placement, with what that would be chosen from; None when it would wait.
    waiting : Waiting or None
        What it would wait for; None when it would be placed.
    """

    task: StoredTask
    prediction: Prediction
    verdict: Verdict
    attempt: AttemptRecord | None
    waiting: Waiting | None

    @property
    def summary(self) -> str:
        """One sentence."""
        if self.attempt is not None:
            return f"would be placed on worker {self.attempt.worker_id} now"
        assert self.waiting is not None
        return f"would be queued behind {tasks(self.waiting.ahead)}: {self.waiting.why}"


class Plans:
    """Plans for the cluster as it is."""

    def __init__(
        self,
        members: Members,
        queue: TaskQueue,
        placement: Placement,
        lifecycle: Lifecycle,
        forecast: Forecast,
    ) -> None:
        self._members = members
        self._queue = queue
        self._placement = placement
        self._lifecycle = lifecycle
        self._forecast = forecast

    def of(self, job: Job, now: float) -> Plan:
        """What would become of a job that is in no queue and no book."""
        stored, request = StoredTask(job.spec, job.status), amounts_of(job.task)
        members = self._members.by_id.values()
        # Without one the search would try all that have room, one by one.
        taken = any(m.takes and m.could_run(request, job.executor) for m in members)
        found = self._placement.foresee(job, now) if taken else None
        if found is not None:
            member, decision, kept = found
            record = self._lifecycle.attempt_of(job, member, decision.source.value, decision.risk, kept, now)
            prediction = self._forecast.if_placed(Attempt(job, member, record), now)
            return Plan(stored, prediction, _verdict(job, prediction), record, None)
        # Of the job alone: the queue does not know it.
        job.standing = Standing.HOPEFUL if now <= job.latest_start else Standing.HOPELESS
        job.group = self._queue.groups.get((*request, job.executor)) or Group(request, job.executor)
        waits = waiting(job, self._queue, self._members, now)
        if taken:
            prediction = self._forecast.of(job, now)
            return Plan(stored, prediction, _verdict(job, prediction), None, waits)
        # One that takes nothing now may take it later.
        later = not members or any(m.could_run(request, job.executor) for m in members)
        return Plan(stored, Prediction(), Verdict.UNKNOWN if later else Verdict.NEVER, None, waits)


def _verdict(job: Job, prediction: Prediction) -> Verdict:
    if not prediction.finish_at:
        return Verdict.UNKNOWN
    return Verdict.MEETS if prediction.finish_at <= job.deadline else Verdict.MISSES


def tasks(count: int) -> str:
    """A number of tasks in words."""
    return "1 task" if count == 1 else f"{count} tasks"
