"""The master's core: events in, effects out; no I/O, no clock, no randomness.

What is decided where: `validate` what is accepted; `queue` the order, `placement` the pass, `reservations`
the exception to both; `lifecycle` what becomes of a placed task; `forecast` what probably will; `liveness`
who belongs to the cluster; `restore` how it begins again. All state is in `Book`, `Members` and `TaskQueue`,
and this class wires them together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, cast

import msgspec

from master.admission import Admission
from master.audit import audit
from master.backlog import QueuePage, queue_page, queue_reasons
from master.book import Book
from master.decisions import Decisions
from master.errors import InvalidRequestError, NotAllowedError, TaskExistsError, UnknownTaskError
from master.events import (
    AttemptFinished,
    AttemptRefused,
    AttemptStarted,
    Cancel,
    Drain,
    Effect,
    Event,
    Heartbeat,
    InsertTask,
    Place,
    Propose,
    RegisterWorker,
    Restore,
    Submit,
    TaskChanged,
    Tick,
    WorkerLeft,
    WorkerSilent,
    WorkerStopping,
)
from master.forecast import Forecast, Prediction
from master.jobs import Job, task_of
from master.lifecycle import Lifecycle
from master.liveness import Liveness
from master.members import Member, Members
from master.metrics.counters import Tally
from master.overview import Census, Overview
from master.placement import Placement
from master.plans import Plan, Plans, tasks
from master.proposals import PlannerState, PlannerWorker, Proposals
from master.queue import Key, TaskQueue
from master.reasons import why_waiting
from master.records import StoredTask, Submission, TaskState, TaskStatus
from master.reservations import Reservations
from master.restore import restore
from master.roster import PAGE_KEY, WorkerQuery, worker_page
from master.status import TaskExplanation, WorkerStatus
from master.validate import same_content, spec_of
from master.waiting import Waiting, waiting
from rtscore import Scheduler, Task, TauStore, WorkerTable
from rtscore.runtime_model import RuntimeModel

if TYPE_CHECKING:
    from rtscore import Explanation

QUEUED = TaskStatus()
# A clock that is only corrected goes back by less.
SET_BACK_S = 1.0


class Explains(Protocol):
    """A policy that can rank all workers for a task."""

    def explain(self, task: Task, now: float | None = None) -> Explanation:
        """Return a row per worker."""
        ...


class Cluster:
    """The state of the cluster and the rules that change it.

    Parameters
    ----------
    table : WorkerTable
        Empty; the cluster adds and removes its workers.
    scheduler : Scheduler
        Decides over `table`.
    tau : TauStore
        Read at submission, taught by successful tasks.
    sla_multiplier : float
        k of a submission that gives none.
    max_attempts : int
        Placements of a task before it fails.
    heartbeat_interval_s : float
        What workers were told; three of them without a word make one inactive. `Tick` must come more often
        than that: of a longer gap only this much counts as silence, since the master itself did not listen.
    grace_s : float
        From inactive to lost, and for claiming attempts after a restart.
    keep_finished : int
        Finished tasks kept in memory.
    max_queued, max_queued_per_user : int
        0: no limit. `admission` tells whether new tasks keep to them; `Submit` itself refuses none for that.
    """

    def __init__(
        self,
        table: WorkerTable,
        scheduler: Scheduler,
        tau: TauStore,
        *,
        sla_multiplier: float = 2.0,
        max_attempts: int = 3,
        heartbeat_interval_s: float = 2.0,
        grace_s: float = 30.0,
        keep_finished: int = 10_000,
        max_queued: int = 0,
        max_queued_per_user: int = 0,
    ) -> None:
        self._tau = tau
        self._sla_multiplier = sla_multiplier
        self._scheduler = scheduler
        self._seq = 0
        self._pause_s = heartbeat_interval_s
        self._latest = -math.inf
        self._begun = False
        self.tally = Tally()
        self._book = Book(keep_finished)
        self.admission = Admission(self._book, max_queued, max_queued_per_user)
        self._members = Members(table)
        self._queue = TaskQueue()
        self._reservations = Reservations(self._members, self._queue)
        self._decisions = Decisions(table, scheduler)
        self._placement = Placement(
            self._queue, self._members, self._reservations, scheduler, self._decisions
        )
        self._forecast = Forecast(self._members, self._queue)
        self._census = Census(self._members, self._queue, self._reservations)
        self._lifecycle = Lifecycle(
            self._book,
            self._members,
            self._queue,
            self._reservations,
            tau,
            self._forecast,
            self.tally,
            max_attempts=max_attempts,
            pause_s=self._pause_s,
        )
        self._plans = Plans(self._members, self._queue, self._placement, self._lifecycle, self._forecast)
        self._proposals = Proposals(
            self._book, self._members, self._queue, self._reservations, self._lifecycle
        )
        self._liveness = Liveness(
            self._members,
            self._book,
            self._lifecycle,
            self._reservations,
            self.tally,
            heartbeat_interval_s=heartbeat_interval_s,
            grace_s=grace_s,
        )
        self._handlers: dict[type, Callable[[Any, float, list[Effect]], None]] = {
            Restore: self._restore,
            Submit: self._submit,
            Cancel: self._cancel,
            RegisterWorker: self._liveness.register,
            Heartbeat: self._liveness.heartbeat,
            AttemptStarted: self._lifecycle.started,
            AttemptFinished: self._lifecycle.finished,
            AttemptRefused: self._lifecycle.refused,
            WorkerSilent: self._liveness.silent,
            WorkerStopping: self._liveness.stopping,
            WorkerLeft: self._liveness.left,
            Drain: self._liveness.drain,
            Tick: self._liveness.tick,
            Propose: self._proposals.take,
            Place: self._place,
        }

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Apply an event and return what it asks for, in order.

        Parameters
        ----------
        event : Event
        now : float
            Unix seconds. May go back or jump; what depends on silence does not follow a jump.

        Raises
        ------
        MasterError
            When the request cannot be carried out; nothing has changed.
        """
        effects: list[Effect] = []
        self._liveness.uptime.advance(now)
        if now < self._latest - SET_BACK_S:
            self._queue.set_back(now, self._pause_s)
        self._latest = now
        self._handlers[type(event)](event, now, effects)
        self._begun = True
        return effects

    @property
    def model(self) -> RuntimeModel | None:
        """What is known of runtimes, as it was learned last; None before that.

        It corrects what τ learns, and predicts. Assigning replaces it.
        """
        return self._forecast.model

    @model.setter
    def model(self, model: RuntimeModel | None) -> None:
        self._forecast.model = model

    @property
    def params_version(self) -> int:
        """Of the scheduler's parameters, for the record; 0 when they have none."""
        return self._decisions.params_version

    @params_version.setter
    def params_version(self, version: int) -> None:
        self._decisions.params_version = version

    # ---- reads ----

    def task(self, task_id: str) -> StoredTask | None:
        """A task as it is now; None when it is unknown or finished long ago."""
        return self._book.stored(task_id)

    def counts(self) -> dict[TaskState, int]:
        """How many tasks are in each state; of finished ones, those since this master began."""
        return dict(self._book.counts)

    @property
    def queue_depth(self) -> int:
        """How many tasks wait."""
        return len(self._queue)

    @property
    def members(self) -> Members:
        """The registered workers, for who only reads them."""
        return self._members

    def overview(self, now: float) -> Overview:
        """The cluster in a few numbers."""
        return self._census.overview(now)

    def workers(self) -> list[WorkerStatus]:
        """Every registered worker, in order of id."""
        return [self._status(self._members.by_id[worker_id]) for worker_id in sorted(self._members.by_id)]

    def worker(self, worker_id: str) -> WorkerStatus | None:
        """A registered worker; None when there is none of this id."""
        member = self._members.by_id.get(worker_id)
        return None if member is None else self._status(member)

    def worker_page(self, query: WorkerQuery) -> tuple[list[WorkerStatus], PAGE_KEY | None, int]:
        """A page of the registered workers, as `roster.worker_page`."""
        page, more, total = worker_page(self._members, query)
        return [self._status(member) for member in page], more, total

    def queue_page(self, limit: int, after: Key | None, wanted: Callable[[StoredTask], bool]) -> QueuePage:
        """A page of the queue in its order, as `backlog.queue_page`."""
        return queue_page(self._queue, limit, after, wanted)

    def queue_reasons(self) -> list[tuple[str, int]]:
        """Why most of the queue waits, as `backlog.queue_reasons`."""
        return queue_reasons(self._queue, self._members)

    def queued_of(self, user_id: str) -> int:
        """How many tasks of a user wait."""
        return self._book.queued_by_user.get(user_id, 0)

    def newcomers(
        self, submissions: Iterable[Submission], known: Container[str], now: float
    ) -> dict[str, Submission]:
        """Which submissions, by id, would become new tasks; `known` are ids that the store has."""
        new = {}
        for submission in submissions:
            if submission.task_id not in known and submission.task_id not in self._book:
                with suppress(InvalidRequestError):
                    spec_of(submission, self._tau, self._sla_multiplier, now)
                    new[submission.task_id] = submission
        return new

    def planner_state(self, limit: int, now: float) -> PlannerState:
        """What an outside planner decides on, with at most `limit` of the tasks that wait."""
        workers = []
        for status in self.workers():
            member = self._members.by_id[status.worker_id]
            kept_for = "" if member.reserved_for is None else member.reserved_for.task_id
            workers.append(PlannerWorker(status, member.record.executors, kept_for))
        proposals = self._proposals
        return PlannerState(
            proposals.version, tuple(workers), proposals.waiting(limit, now), self.queue_depth
        )

    def why_waiting(self, task_id: str, now: float) -> str:
        """Why a task is still queued, in a sentence; empty when it is not."""
        job = self._book.jobs.get(task_id)
        return "" if job is None or job.group is None else why_waiting(job, self._members, now)

    def predict(self, task_id: str, now: float) -> Prediction | None:
        """When a task will probably start and finish; None when it has finished or is not in memory."""
        job = self._book.jobs.get(task_id)
        return None if job is None or job.status.state.terminal else self._forecast.of(job, now)

    def explain(self, task: StoredTask, now: float) -> TaskExplanation:
        """Why a task is where it is, and how the workers would rank for it now.

        Looks at every worker and every queued task: for a person who asks, not for a listing.

        Parameters
        ----------
        task : StoredTask
            As `task` returned it, or the store for one that is no longer in memory.
        now : float
            Unix seconds.
        """
        task_id = task.spec.task_id
        task = self._book.stored(task_id) or task
        job = self._book.jobs.get(task_id)
        ranking = None
        if hasattr(self._scheduler, "explain"):
            ranking = cast(Explains, self._scheduler).explain(task_of(task.spec), now)
        waits = None
        if job is not None and job.group is not None:
            waits = waiting(job, self._queue, self._members, now)
        return TaskExplanation(task, self._summary(task, job, waits), ranking, waits)

    def plan(self, submission: Submission, now: float) -> Plan:
        """Where a task would go if it were submitted now, and whether it would make it; nothing changes.

        What `Submit` would infer is inferred; a command is not needed, and the id may be known.

        Raises
        ------
        MasterError
            When the submission would be refused.
        """
        runs = submission.command or submission.docker_image
        asked = submission if runs else msgspec.structs.replace(submission, command=":")
        spec = spec_of(asked, self._tau, self._sla_multiplier, now)
        if (refused := self.admission.check([submission.user_id])) is not None:
            raise refused
        spec = msgspec.structs.replace(spec, submission=submission)
        return self._plans.of(Job(spec, QUEUED, task_of(spec), self._seq), now)

    def check(self) -> None:
        """Raise AssertionError, saying which, when an invariant is broken; costs a look at everything."""
        audit(self._book, self._members, self._queue, self._reservations)

    # ---- events ----

    def _restore(self, event: Restore, now: float, effects: list[Effect]) -> None:
        if self._begun:
            raise NotAllowedError("restore came after other events; it is allowed as the first one")
        restore(
            event.snapshot,
            now,
            effects,
            book=self._book,
            members=self._members,
            queue=self._queue,
            lifecycle=self._lifecycle,
            liveness=self._liveness,
            tau=self._tau,
        )
        self._seq = len(event.snapshot.tasks)
        self._proposals.begin(now)

    def _submit(self, event: Submit, now: float, effects: list[Effect]) -> None:
        submission = event.submission
        spec = spec_of(submission, self._tau, self._sla_multiplier, now)
        task_id = submission.task_id
        known = self._book.stored(task_id) or event.known
        if known is not None:
            if not same_content(known.spec.submission, submission):
                raise TaskExistsError(f"task_id {task_id!r} is taken by a task of other content")
            self.tally.repeated += 1
            return
        job = Job(spec, QUEUED, task_of(spec), self._seq)
        self._seq += 1
        self._book.accept(job)
        self._queue.push(job, now, now)
        self.tally.accepted += 1
        effects.append(InsertTask(spec, QUEUED))
        effects.append(TaskChanged(spec, QUEUED))

    def _cancel(self, event: Cancel, now: float, effects: list[Effect]) -> None:
        stored = self._book.stored(event.task_id)
        if stored is None:
            raise UnknownTaskError(f"no task {event.task_id!r} is in memory")
        state = stored.status.state
        if state is TaskState.CANCELLED:
            return
        if state.terminal:
            raise NotAllowedError(
                f"task {event.task_id} is {state.value}; only one that is not finished is cancelled"
            )
        self._lifecycle.cancel(self._book.jobs[event.task_id], now, effects)

    def _place(self, event: Place, now: float, effects: list[Effect]) -> None:
        place = partial(self._lifecycle.place, now=now, effects=effects)
        self._placement.run(now, self._members.live, place)

    # ---- helpers ----

    def _status(self, member: Member) -> WorkerStatus:
        view = self._members.table.view(member.id)
        cpu, memory, gpu, storage = member.totals
        return WorkerStatus(
            member.id,
            member.state,
            cpu,
            memory,
            gpu,
            storage,
            view.cpu_avail,
            view.memory_avail,
            view.gpu_avail,
            view.storage_avail,
            view.load,
            len(member.attempts),
            member.last_heartbeat_at,
            member.tasks_finished,
            member.sla_met,
            member.record.executors,
            member.record.registered_at,
        )

    def _summary(self, stored: StoredTask, job: Job | None, waits: Waiting | None) -> str:
        status = stored.status
        if waits is not None:
            late = "; its deadline can no longer be met" if waits.hopeless else ""
            return f"queued behind {tasks(waits.ahead)}: {waits.why}{late}"
        if status.state is TaskState.CANCELLED:
            held = "" if job is None else f"; worker {status.worker_id} has not ended it yet"
            return f"{status.reason}{held}"
        where = f"{status.state.value} on worker {status.worker_id}, attempt {status.attempt}"
        if status.state is TaskState.COMPLETED:
            where += f"; deadline {'met' if status.sla_success else 'missed'}"
        return f"{where}: {status.reason}" if status.reason else where
