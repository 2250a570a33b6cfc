"""The master without its wire: events through the core and the journal to workers and watchers."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

import structlog
from msgspec.structs import replace

from master.backlog import QueuePage
from master.cluster import Cluster
from master.errors import (
    MasterError,
    NotAllowedError,
    StoppingError,
    StoreUnavailableError,
    UnknownTaskError,
)
from master.events import (
    Assign,
    AttemptId,
    AttemptRefused,
    Cancel,
    CancelAttempt,
    Drain,
    Effect,
    EndAttempt,
    Event,
    Place,
    Recorded,
    RemoveWorker,
    Restore,
    Submit,
    TaskChanged,
    Tick,
    WorkerHeard,
    Write,
)
from master.journal import Journal
from master.metrics.counters import LAGS_S, Histogram
from master.queue import Key
from master.records import Snapshot, StoredTask, Submission, TaskSpec, TaskState, TaskStatus
from master.store.base import Position, Store, StoreOpenError, TaskQuery
from master.stored import StoredTasks
from master.timed import TimedScheduler
from master.watch import Watchers
from rtscore import is_valid_task_type

log = structlog.get_logger(__name__)

# A batch of this many submissions takes about 20 ms; between two of them the loop serves others.
SLICE = 1_000
# Between two looks whether the store takes writes again.
RECORD_PAUSE_S = 0.5


# A search of so many tasks takes SQLite about 0.1 s.
SEARCHED = 50_000


class WorkerLink(Protocol):
    """How effects reach one worker; nothing here blocks or raises for a worker that is gone."""

    def assign(self, effect: Assign) -> None:
        """Send a task."""
        ...

    def cancel(self, attempt: AttemptId) -> None:
        """Ask for the end of an attempt."""
        ...

    def recorded(self, attempt: AttemptId) -> None:
        """Say that a result is durable."""
        ...

    def lost(self) -> None:
        """The core has given the worker up; nothing more will be sent."""
        ...


class Master:
    """Events in, through the core, the store, and out.

    Parameters
    ----------
    cluster : Cluster
        New; what the store holds is restored by `start`.
    scheduler : TimedScheduler
        The one that `cluster` decides with.
    store : Store
        Open.
    tick_s : float
        Seconds between two looks at what became of silent workers.
    clock : callable
        Unix seconds; the only clock of the master.
    """

    def __init__(
        self,
        cluster: Cluster,
        scheduler: TimedScheduler,
        store: Store,
        *,
        tick_s: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.cluster = cluster
        self.scheduler = scheduler
        self.store = store
        self.clock = clock
        self.started_at = clock()
        self.links: dict[str, WorkerLink] = {}
        self.watchers = Watchers()
        # Told of every task that has an outcome, once that is durable.
        self.on_outcome: Callable[[TaskSpec, TaskStatus], None] = lambda spec, status: None
        # New tasks that were not accepted, by why, and how late the loop comes to what it should do.
        self.refusals: Counter[type[MasterError]] = Counter()
        self.lags = Histogram(LAGS_S)
        self._finished_before: dict[TaskState, int] = {}
        self._tick_s = tick_s
        self._stored = StoredTasks(store)
        self.journal = Journal(store, self._deliver, self._place)
        self._place_wanted = False
        self._placing = True
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> Snapshot:
        """Take over what the store holds, return it, and begin to commit, to place and to watch the time.

        Raises
        ------
        StoreOpenError
            When an unfinished task has a type of an earlier time.
        """
        stored = await self.store.count_tasks()
        self._finished_before = {state: n for state, n in stored.items() if state.terminal}
        snapshot = await self.store.load()
        for task in snapshot.tasks:
            if not is_valid_task_type(task.spec.task_type):
                raise StoreOpenError(
                    f"task {task.spec.task_id} in it has the type {task.spec.task_type!r}, which is none of "
                    "the six; rts migrate-task-types gives it one"
                )
        self.post(Restore(snapshot))
        for task in snapshot.tasks:
            self._stored.add(task.spec.task_id)
        self._tasks = [
            asyncio.create_task(self.journal.run(), name="journal"),
            asyncio.create_task(self._ticks(), name="ticks"),
            asyncio.create_task(self._stored.learn(), name="known ids"),
        ]
        await self.durable()
        return snapshot

    async def failed(self) -> None:
        """Return only by raising what made the master unable to go on."""
        await asyncio.wait(self._tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in self._tasks:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                raise error

    def stop_placing(self) -> None:
        """Place nothing from now on; everything else goes on."""
        self._placing = False

    async def stop(self, grace_s: float) -> None:
        """Commit and deliver what has gathered, for at most `grace_s`; calling it again does nothing."""
        self.stop_placing()
        tasks, self._tasks = self._tasks, []
        if not tasks:
            return
        journal, *others = tasks
        for task in others:
            task.cancel()
        self.journal.close()
        _, late = await asyncio.wait([journal], timeout=grace_s)
        if late:
            log.error("stopped before everything was durable; none of it was acknowledged")
            journal.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # ---- events ----

    def post(self, event: Event) -> list[Effect]:
        """Handle an event; its effects follow by themselves once they are durable.

        Raises
        ------
        MasterError
            When the core refuses it; nothing has changed.
        """
        effects = self.cluster.handle(event, self.clock())
        self._place_wanted = True
        self.journal.append(effects)
        return effects

    async def apply(self, event: Event) -> list[Effect]:
        """Handle an event and return when its effects are durable and delivered.

        Raises
        ------
        MasterError
            When the core refuses it; nothing has changed.
        StoreUnavailableError
            When the store does not take writes; the core has seen the event, see `Journal`.
        """
        effects = self.post(event)
        await self.durable()
        return effects

    async def durable(self) -> None:
        """Return when the effects of every event so far are durable and delivered.

        Raises
        ------
        StoreUnavailableError
            When the store does not take writes.
        """
        await self.journal.durable()

    async def record(self, write: Write) -> None:
        """Return when a write that is not the core's is durable, however long the store takes.

        Raises
        ------
        StoppingError
            When the master stops first; whether it will be durable is not known.
        """
        self.journal.append([write])
        while True:
            try:
                await self.durable()
            except StoreUnavailableError:
                await asyncio.sleep(RECORD_PAUSE_S)
            else:
                return

    async def submit(self, submissions: Sequence[Submission]) -> list[StoredTask | MasterError]:
        """Accept tasks; each gets the task or why it was refused, and what is accepted is durable.

        Of tasks that the limits of the queue admit only in part, none is accepted that is new.

        Raises
        ------
        StoreUnavailableError
            When the store does not take writes; nothing was acknowledged.
        """
        self._require_store()
        known = await self._stored.find(
            [
                s.task_id
                for s in submissions
                if s.id_given and self._stored.may_have(s.task_id) and self.cluster.task(s.task_id) is None
            ]
        )
        refused = self._beyond_limits(submissions, known)
        outcomes: list[StoredTask | MasterError] = []
        if len(submissions) <= SLICE:
            self._accept(submissions, known, refused, outcomes)
        else:
            await self._accept_in_slices(submissions, known, refused, outcomes)
        await self.durable()
        return outcomes

    async def _accept_in_slices(
        self,
        submissions: Sequence[Submission],
        known: Mapping[str, StoredTask],
        refused: Mapping[str, MasterError],
        outcomes: list[StoredTask | MasterError],
    ) -> None:
        # The room of those to come is kept for them, also from callers that get in between. Where something
        # is refused for a limit nothing new comes.
        later = [] if refused else [submission.user_id for submission in submissions]
        self.cluster.admission.promise(later)
        try:
            for begin in range(0, len(submissions), SLICE):
                if begin:
                    await asyncio.sleep(0)
                self.cluster.admission.keep(later[:SLICE])
                del later[:SLICE]
                self._accept(submissions[begin : begin + SLICE], known, refused, outcomes)
        finally:
            self.cluster.admission.keep(later)

    def _beyond_limits(
        self, submissions: Sequence[Submission], known: Mapping[str, StoredTask]
    ) -> dict[str, MasterError]:
        """By id what may not be accepted because of a limit; all that is new, or nothing."""
        admission = self.cluster.admission
        # Who counts everything finds a reason to look closer; what is known or wrong adds nothing.
        if not admission.limited or admission.check(s.user_id for s in submissions) is None:
            return {}
        new = self.cluster.newcomers(submissions, known, self.clock())
        error = admission.check(submission.user_id for submission in new.values())
        return {} if error is None else dict.fromkeys(new, error)

    def _accept(
        self,
        submissions: Sequence[Submission],
        known: Mapping[str, StoredTask],
        refused: Mapping[str, MasterError],
        outcomes: list[StoredTask | MasterError],
    ) -> None:
        # What `post` does, for many: at 15 µs a submission its steps would be felt.
        handle, now = self.cluster.handle, self.clock()
        effects: list[Effect] = []
        try:
            for submission in submissions:
                task_id = submission.task_id
                if refused and task_id in refused:
                    outcomes.append(refused[task_id])
                    self.refusals[type(refused[task_id])] += 1
                    continue
                try:
                    effects += handle(Submit(submission, known.get(task_id)), now)
                except MasterError as error:
                    outcomes.append(error)
                    self.refusals[type(error)] += 1
                else:
                    self._stored.add(task_id)
                    outcomes.append(self.cluster.task(task_id) or known[task_id])
        finally:
            # Whatever happens to a later one, the core has accepted those before it.
            self._place_wanted = True
            self.journal.append(effects)

    async def cancel(self, task_id: str) -> StoredTask:
        """End a task, and return it as it is then."""
        self._require_store()
        if self.cluster.task(task_id) is not None:
            await self.apply(Cancel(task_id))
            return await self.task(task_id)
        # Only finished tasks are not in memory.
        known = await self.task(task_id)
        if known.status.state is not TaskState.CANCELLED:
            raise NotAllowedError(f"task {task_id} is {known.status.state.value} already")
        return known

    def require_placing(self) -> None:
        """Raise unless a placement would be carried out now.

        Raises
        ------
        StoreUnavailableError
            When the store does not take writes.
        StoppingError
            When the master is stopping.
        """
        self._require_store()
        if not self._placing:
            raise StoppingError("the master is stopping; try again when it is back")

    async def drain(self, worker_id: str, drain: bool) -> None:
        """Place nothing new on a worker, or take that back."""
        self._require_store()
        await self.apply(Drain(worker_id, drain))
        if drain:
            log.info("worker drained", worker_id=worker_id)
        else:
            log.info("worker takes tasks again", worker_id=worker_id)

    # ---- reads ----

    async def task(self, task_id: str) -> StoredTask:
        """A task as it is, once that is durable: what was read here is never taken back by a crash.

        Raises
        ------
        UnknownTaskError
            When there is no such task.
        """
        (task,) = await self.tasks([task_id])
        return task

    def counts(self) -> dict[TaskState, int]:
        """How many tasks are in each state, those of earlier runs included."""
        counts, before = self.cluster.counts(), self._finished_before
        return {state: counts.get(state, 0) + before.get(state, 0) for state in TaskState}

    async def waiting(self, limit: int, after: Key | None, wanted: Callable[[StoredTask], bool]) -> QueuePage:
        """A page of the queue in its order, see `backlog.queue_page`; what is in it is durable."""
        page = self.cluster.queue_page(limit, after, wanted)
        await self.durable()
        return page

    async def search(self, query: TaskQuery) -> tuple[list[StoredTask], Position | None]:
        """A page of a listing, and where the next begins; None when this one ends where the listing does.

        A query that searches looks at `SEARCHED` tasks at most, and may come back with less than a page.
        """
        if not query.searches:
            tasks = await self.store.list_tasks(query)
            return tasks, _position(tasks[-1]) if len(tasks) == query.limit else None
        until = await self.store.list_position(query, SEARCHED)
        tasks = await self.store.list_tasks(replace(query, until=until))
        return tasks, _position(tasks[-1]) if len(tasks) == query.limit else until

    async def tasks(self, task_ids: Collection[str]) -> list[StoredTask]:
        """The tasks of these ids, as `task`.

        Raises
        ------
        UnknownTaskError
            When one of them does not exist.
        """
        in_memory = {task_id: self.cluster.task(task_id) for task_id in task_ids}
        stored = await self._stored.find([task_id for task_id, task in in_memory.items() if task is None])
        await self.durable()
        found = [task or stored.get(task_id) for task_id, task in in_memory.items()]
        for task_id, task in zip(in_memory, found, strict=True):
            if task is None:
                raise UnknownTaskError(f"no task has the id {task_id!r}")
        return [task for task in found if task is not None]

    def _require_store(self) -> None:
        if self.journal.stalled is not None:
            raise StoreUnavailableError(*self.journal.stalled.args)

    # ---- effects ----

    def _place(self) -> None:
        if self._place_wanted and self._placing:
            self._place_wanted = False
            self.journal.append(self.cluster.handle(Place(), self.clock()))

    def _deliver(self, effect: Effect) -> None:
        # Not a match statement: its class patterns cost 1 µs more for each effect.
        if isinstance(effect, TaskChanged):
            self.watchers.publish(effect.spec, effect.status)
            if effect.status.sla_success is not None:
                self.on_outcome(effect.spec, effect.status)
        elif isinstance(effect, Assign):
            self._assign(effect)
        elif isinstance(effect, Recorded):
            if (link := self.links.get(effect.worker_id)) is not None:
                link.recorded(effect.attempt)
        elif isinstance(effect, CancelAttempt):
            if (link := self.links.get(effect.worker_id)) is not None:
                link.cancel(effect.attempt)
        elif isinstance(effect, WorkerHeard):
            if effect.heard:
                log.info("worker heard again", worker_id=effect.worker_id)
            else:
                log.warning("worker silent", worker_id=effect.worker_id)

    def _assign(self, effect: Assign) -> None:
        task = self.cluster.task(effect.spec.task_id)
        if task is None or task.status.attempt != effect.attempt or task.status.state is TaskState.QUEUED:
            # Its worker was lost or registered anew while the placement became durable.
            return
        link = self.links.get(effect.worker_id)
        if link is None:
            attempt = AttemptId(effect.spec.task_id, effect.attempt)
            self.post(AttemptRefused(effect.worker_id, attempt, "the worker is not connected"))
        else:
            link.assign(effect)

    async def _ticks(self) -> None:
        while True:
            begin = time.perf_counter()
            await asyncio.sleep(self._tick_s)
            self.lags.add(max(0.0, time.perf_counter() - begin - self._tick_s))
            attempts = 0
            for effect in self.post(Tick()):
                if isinstance(effect, EndAttempt):
                    attempts += 1
                elif isinstance(effect, RemoveWorker):
                    log.warning("worker lost", worker_id=effect.worker_id, attempts=attempts)
                    attempts = 0
                    if (link := self.links.pop(effect.worker_id, None)) is not None:
                        link.lost()
            self.scheduler.fallback_log.flush()


def _position(task: StoredTask) -> Position:
    return task.spec.submitted_at, task.spec.task_id
