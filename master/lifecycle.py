"""What becomes of a placed task: started, finished, refused, lost, cancelled; who may still report it."""

from __future__ import annotations

import math

from master.book import Book
from master.events import (
    Assign,
    AttemptFinished,
    AttemptId,
    AttemptRefused,
    AttemptStarted,
    CancelAttempt,
    Effect,
    EndAttempt,
    InsertAttempt,
    InsertResult,
    PutTau,
    Recorded,
)
from master.forecast import Forecast
from master.jobs import Attempt, Job
from master.members import Member, Members
from master.metrics.counters import Tally
from master.queue import TaskQueue
from master.records import AttemptEnd, AttemptRecord, ResultRecord, TaskState, TaskStatus
from master.reservations import Reservations
from rtscore import TauStore

# By how much a runtime of the worker's own clock may exceed the time since assignment by ours, which may have
# been set back. Beyond that it is nonsense, and τ and every later deadline would be nonsense with it.
CLOCK_SLACK_S = 60.0


class Lifecycle:
    """Opens and ends attempts; the only place where their effects are made.

    Parameters
    ----------
    max_attempts : int
        Placements of a task before it fails.
    pause_s : float
        How long a worker that refused a task is left alone with it.
    """

    def __init__(
        self,
        book: Book,
        members: Members,
        queue: TaskQueue,
        reservations: Reservations,
        tau: TauStore,
        forecast: Forecast,
        tally: Tally,
        *,
        max_attempts: int,
        pause_s: float,
    ) -> None:
        self._book = book
        self._members = members
        self._queue = queue
        self._reservations = reservations
        self._tau = tau
        self._forecast = forecast
        self._tally = tally
        self._max_attempts = max_attempts
        self.pause_s = pause_s

    def place(
        self,
        job: Job,
        member: Member,
        source: str,
        risk: float | None,
        decision: bytes | None,
        now: float,
        effects: list[Effect],
    ) -> None:
        """Assign a job that has just left the queue.

        `source` is who decided, `risk` what that saw in it, `decision` what it was chosen from.
        """
        worker_id = member.record.worker_id
        number = job.status.attempt + 1
        record = self.attempt_of(job, member, source, risk, decision, now)
        self.open(Attempt(job, member, record))
        self._forecast.placed(job, now)
        member.placed += 1
        self._tally.placed[source] += 1
        effects.append(InsertAttempt(record))
        self._book.change(job, TaskStatus(TaskState.ASSIGNED, number, worker_id, now), effects)
        effects.append(Assign(worker_id, job.spec, number))

    def attempt_of(
        self, job: Job, member: Member, source: str, risk: float | None, decision: bytes | None, now: float
    ) -> AttemptRecord:
        """The next attempt of a job, on a worker as it is now."""
        worker_id = member.record.worker_id
        view = self._members.table.view(worker_id)
        return AttemptRecord(
            job.task_id,
            job.status.attempt + 1,
            worker_id,
            now,
            view.load,
            view.cpu_avail,
            view.memory_avail,
            view.gpu_avail,
            source,
            risk,
            decision=decision,
        )

    def open(self, attempt: Attempt) -> None:
        """Let an attempt hold its worker."""
        self._members.hold(attempt)
        attempt.job.attempt = attempt
        attempt.expected_finish = attempt.record.assigned_at + self._forecast.typical_s(attempt)

    def started(self, event: AttemptStarted, now: float, effects: list[Effect]) -> None:
        """The command runs; a worker that runs what it should not is told to end it."""
        attempt = self._current(event.worker_id, event.attempt)
        if attempt is None:
            effects.append(CancelAttempt(event.worker_id, event.attempt))
            return
        attempt.claim_by = None
        if attempt.cancel_at is not None:
            effects.append(CancelAttempt(event.worker_id, AttemptId(event.attempt.task_id, attempt.number)))
            return
        job, status = attempt.job, attempt.job.status
        if status.state is TaskState.ASSIGNED:
            started_at = _clipped(event.started_at, status.assigned_at, now, default=now)
            attempt.expected_finish = started_at + self._forecast.typical_s(attempt)
            self._note_start(job, started_at)
            running = TaskStatus(
                TaskState.RUNNING, attempt.number, event.worker_id, status.assigned_at, started_at
            )
            self._book.change(job, running, effects)

    def finished(self, event: AttemptFinished, now: float, effects: list[Effect]) -> None:
        """Record the outcome, once; whatever the worker reports, it may forget it then."""
        attempt = self._current(event.worker_id, event.attempt)
        if attempt is None:
            pass
        elif attempt.cancel_at is not None:
            self._end(attempt, AttemptEnd.CANCELLED, now, effects)
            self._book.archive(attempt.job)
        else:
            self._complete(attempt, event, now, effects)
        effects.append(Recorded(event.worker_id, event.attempt))

    def refused(self, event: AttemptRefused, now: float, effects: list[Effect]) -> None:
        """Queue the task again; until a pause is over it goes to another worker."""
        attempt = self._current(event.worker_id, event.attempt)
        if attempt is None or attempt.job.status.state is TaskState.RUNNING:
            # It is known to run: the refusal is late, or of a delivery that reached the worker after all.
            return
        job = attempt.job
        why = f"worker {event.worker_id} refused it: {event.reason or 'no reason given'}"
        self.give_up(attempt, AttemptEnd.REFUSED, why, now, effects)
        if job.status.state is TaskState.QUEUED:
            self.avoid(job, event.worker_id, now)

    def avoid(self, job: Job, worker_id: str, now: float) -> None:
        """Leave a worker alone with a queued job for a while."""
        if worker_id not in job.avoid:
            job.avoid = (*job.avoid, worker_id)
        job.retry_at = now + self.pause_s

    def cancel(self, job: Job, now: float, effects: list[Effect]) -> None:
        """End a task that is not finished; a worker that has it keeps its room until it let go."""
        status = job.status
        cancelled = TaskStatus(
            TaskState.CANCELLED,
            status.attempt,
            status.worker_id,
            status.assigned_at,
            status.started_at,
            now,
            reason="cancelled on request",
        )
        self._book.change(job, cancelled, effects)
        attempt = job.attempt
        if attempt is None:
            if job.reserved is not None:
                self._reservations.lift(job)
            self._queue.remove(job)
            self._book.archive(job)
        else:
            attempt.cancel_at = now
            effects.append(CancelAttempt(attempt.member.id, AttemptId(job.task_id, attempt.number)))

    def give_up(self, attempt: Attempt, end: AttemptEnd, why: str, now: float, effects: list[Effect]) -> None:
        """End an attempt without an outcome: its task is queued again, or was placed too often and fails."""
        job = attempt.job
        self._end(attempt, end, now, effects)
        if job.status.state.terminal:
            self._book.archive(job)
        elif attempt.number < self._max_attempts:
            self.requeue(job, why, now, effects)
        else:
            reason = f"attempt {attempt.number} of {self._max_attempts}: {why}"
            failed = TaskStatus(
                TaskState.FAILED,
                attempt.number,
                attempt.member.id,
                job.status.assigned_at,
                job.status.started_at,
                now,
                sla_success=False,
                reason=reason,
            )
            self._book.change(job, failed, effects)
            self._tally.judge(job.spec.task_type, now - job.deadline)
            self._book.archive(job)

    def requeue(self, job: Job, why: str, now: float, effects: list[Effect]) -> None:
        """Queue a task again that has no attempt; the next placement counts one up."""
        self._book.change(job, TaskStatus(TaskState.QUEUED, job.status.attempt, reason=why), effects)
        self._queue.push(job, now, now)

    def _complete(self, attempt: Attempt, event: AttemptFinished, now: float, effects: list[Effect]) -> None:
        job, status, member = attempt.job, attempt.job.status, attempt.member
        assigned_at = attempt.record.assigned_at
        # The worker's wall clock may be wrong in either direction: ours bounds what it can claim, and its own
        # monotonic clock says how far apart start and finish are at least. Ours may have been set back, too.
        now = max(now, assigned_at)
        elapsed_s = now - assigned_at
        told = 0.0 < event.runtime_s <= elapsed_s + CLOCK_SLACK_S
        ran_s = min(event.runtime_s, elapsed_s) if told else 0.0
        default = status.started_at or assigned_at
        started_at = _clipped(event.started_at, assigned_at, now - ran_s, default=default)
        finished_at = _clipped(event.finished_at, min(started_at + ran_s, now), now, default=now)
        runtime_s = event.runtime_s if told else finished_at - started_at
        # A command that failed early has not done in time what was asked of it.
        sla_success = event.success and finished_at <= job.deadline
        reason = "" if event.success else event.reason or _failure(event.exit_code)
        effects.append(
            InsertResult(
                ResultRecord(
                    job.task_id,
                    attempt.number,
                    member.record.worker_id,
                    event.success,
                    event.exit_code,
                    started_at,
                    finished_at,
                    runtime_s,
                    sla_success,
                    event.logs,
                    event.result_location,
                    event.output_files,
                    reason,
                    event.logs_offset,
                )
            )
        )
        end = AttemptEnd.COMPLETED if event.success else AttemptEnd.FAILED
        self._end(attempt, end, now, effects)
        outcome = TaskStatus(
            TaskState.COMPLETED if event.success else TaskState.FAILED,
            attempt.number,
            member.record.worker_id,
            assigned_at,
            started_at,
            finished_at,
            runtime_s,
            event.exit_code,
            sla_success,
            reason,
        )
        self._book.change(job, outcome, effects)
        self._book.archive(job)
        member.tasks_finished += 1
        member.sla_met += sla_success
        self._count(attempt, outcome, was_running=status.state is TaskState.RUNNING)
        if event.success and runtime_s > 0.0:
            task_type = job.spec.task_type
            # τ is the runtime on an average idle worker. With the worker's state in it τ would hold the
            # average stretch, and the prediction τ·(1 + θ·x) would count that twice.
            self._tau.update_tau(task_type, runtime_s / (self._forecast.factor(attempt) or 1.0))
            effects.append(PutTau(task_type, self._tau.get_tau(task_type)))

    def _end(self, attempt: Attempt, end: AttemptEnd, now: float, effects: list[Effect]) -> None:
        job = attempt.job
        self._members.let_go(attempt)
        job.attempt = None
        self._reservations.ended(job)
        ended_at = max(now, attempt.record.assigned_at)
        effects.append(EndAttempt(job.task_id, attempt.number, ended_at, end))
        self._tally.ended[end] += 1

    def _note_start(self, job: Job, started_at: float) -> None:
        self._tally.waits[job.spec.task_type].add(max(0.0, started_at - job.submitted_at))

    def _count(self, attempt: Attempt, outcome: TaskStatus, *, was_running: bool) -> None:
        """Count what a worker reported; a short command may end before its start was told."""
        job, tally, met = attempt.job, self._tally, outcome.sla_success is True
        if not was_running:
            self._note_start(job, outcome.started_at)
        tally.results += 1
        tally.results_met += met
        tally.runtimes[job.spec.task_type].add(outcome.runtime_s)
        tally.judge(job.spec.task_type, None if met else outcome.finished_at - job.deadline)

    def _current(self, worker_id: str, reported: AttemptId) -> Attempt | None:
        """The live attempt that a worker may speak for; attempt 0 is whichever it has of that task."""
        job = self._book.jobs.get(reported.task_id)
        if job is None or (attempt := job.attempt) is None:
            return None
        if attempt.member.record.worker_id != worker_id or reported.attempt not in (0, attempt.number):
            return None
        return attempt


def _failure(exit_code: int) -> str:
    # An agent that reports no exit codes reports 0.
    return f"exit code {exit_code}" if exit_code else "the worker reported a failure"


def _clipped(instant: float, low: float, high: float, *, default: float) -> float:
    """An instant (or, when it was not told, the default) within [low, high]; `low` if that is empty."""
    if not (instant > 0.0 and math.isfinite(instant)):
        instant = default
    return max(low, min(instant, high))
