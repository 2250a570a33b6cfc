"""A cluster under test: made-up time, a store that holds it to the contract, invariants after every event."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec

from master.cluster import Cluster
from master.events import (
    Assign,
    AttemptFinished,
    AttemptId,
    AttemptRefused,
    AttemptStarted,
    Cancel,
    CancelAttempt,
    Drain,
    Effect,
    EndAttempt,
    Event,
    Heartbeat,
    InsertAttempt,
    InsertResult,
    InsertTask,
    Place,
    PutTau,
    PutWorker,
    Recorded,
    RegisterWorker,
    RemoveWorker,
    Restore,
    Submit,
    TaskChanged,
    Tick,
    UpdateTask,
    WorkerLeft,
    WorkerStopping,
)
from master.members import covers
from master.records import (
    AttemptRecord,
    ResultRecord,
    Snapshot,
    StoredTask,
    Submission,
    TaskSpec,
    TaskState,
    TaskStatus,
    WorkerRecord,
)
from rtscore import Decision, InMemoryTauStore, RTSScheduler, Task, WorkerTable

E = TypeVar("E")


class CountingScheduler:
    """RTS, counting its decisions."""

    name = "counting"

    def __init__(self, table: WorkerTable) -> None:
        self.inner = RTSScheduler(table)
        self.calls = 0

    def select_worker(self, task: Task, now: float | None = None) -> Decision:
        self.calls += 1
        return self.inner.select_worker(task, now)

    def reset(self) -> None:
        self.inner.reset()


class ModelStore:
    """What `Store` promises, on dictionaries; a write that the contract forbids is an assertion."""

    def __init__(self) -> None:
        self.specs: dict[str, TaskSpec] = {}
        self.statuses: dict[str, TaskStatus] = {}
        self.attempts: dict[tuple[str, int], AttemptRecord] = {}
        self.results: dict[str, ResultRecord] = {}
        self.workers: dict[str, WorkerRecord] = {}
        self.tau: dict[str, float] = {}

    def write(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case InsertTask(spec, status):
                    assert spec.task_id not in self.specs, f"{spec.task_id} inserted twice"
                    self.specs[spec.task_id], self.statuses[spec.task_id] = spec, status
                case UpdateTask(task_id, status):
                    assert task_id in self.statuses, f"{task_id} updated, not inserted"
                    before = self.statuses[task_id].state
                    assert not before.terminal, f"{task_id} was {before}, becomes {status.state}"
                    self.statuses[task_id] = status
                case InsertAttempt(record):
                    key = record.task_id, record.attempt
                    assert key not in self.attempts, f"attempt {key} inserted twice"
                    assert record.task_id in self.specs, f"attempt {key} of an unknown task"
                    self.attempts[key] = record
                case EndAttempt(task_id, attempt, ended_at, end):
                    record = self.attempts[task_id, attempt]
                    assert record.end is None, f"attempt {task_id, attempt} ended twice"
                    self.attempts[task_id, attempt] = msgspec.structs.replace(
                        record, ended_at=ended_at, end=end
                    )
                case InsertResult(record):
                    assert record.task_id in self.specs, f"result of unknown task {record.task_id}"
                    assert record.task_id not in self.results, f"two results of {record.task_id}"
                    self.results[record.task_id] = record
                case PutWorker(record):
                    self.workers[record.worker_id] = record
                case RemoveWorker(worker_id):
                    self.workers.pop(worker_id, None)
                case PutTau(task_type, tau):
                    self.tau[task_type] = tau

    def open_attempts(self) -> list[AttemptRecord]:
        return [a for a in self.attempts.values() if a.end is None]

    def snapshot(self) -> Snapshot:
        opened = self.open_attempts()
        wanted = {t for t, s in self.statuses.items() if not s.state.terminal} | {a.task_id for a in opened}
        return Snapshot(
            tuple(StoredTask(self.specs[t], self.statuses[t]) for t in sorted(wanted)),
            tuple(opened),
            tuple(self.workers.values()),
            dict(self.tau),
        )


class World:
    """Drives a cluster the way the shell does: handle, write, and look at what else was asked for."""

    # Makes the scheduler of a table.
    policy: Any = CountingScheduler

    def __init__(self, now: float = 1000.0, **options: Any) -> None:
        self.now = now
        self.options = {"heartbeat_interval_s": 2.0, "grace_s": 10.0, **options}
        self.store = ModelStore()
        self.deadlines: dict[str, float] = {}
        self.boot()

    def boot(self) -> list[Effect]:
        """A master begins on the store as it is."""
        self.table = WorkerTable()
        self.scheduler = self.policy(self.table)
        self.tau = InMemoryTauStore()
        self.cluster = Cluster(self.table, self.scheduler, self.tau, **self.options)
        return self.do(Restore(self.store.snapshot()))

    def do(self, event: Event) -> list[Effect]:
        effects = self.cluster.handle(event, self.now)
        self.store.write(effects)
        self.check()
        return effects

    def check(self) -> None:
        """The core's own invariants, and that it says nothing that the store does not know."""
        self.cluster.check()
        store = self.store
        for task_id, spec in store.specs.items():
            assert self.deadlines.setdefault(task_id, spec.deadline) == spec.deadline
            task = self.cluster.task(task_id)
            assert task is None or task == StoredTask(spec, store.statuses[task_id]), task
            assert task is not None or store.statuses[task_id].state.terminal, f"{task_id} is lost"
            has_run = store.statuses[task_id].exit_code is not None
            assert has_run == (task_id in store.results), f"{task_id}: result and status differ"
        live = {w.worker_id: w.live_attempts for w in self.cluster.workers()}
        for worker_id, count in live.items():
            assert count == sum(a.worker_id == worker_id for a in store.open_attempts())
        assert sum(live.values()) == len(store.open_attempts())
        assert set(live) == set(store.workers)

    # ---- events in few words ----

    def worker(self, worker_id: str, cpu: float = 4.0, **fields: Any) -> list[Effect]:
        live = fields.pop("live", ())
        stopping = fields.pop("stopping", False)
        memory, storage = fields.pop("memory", 64.0), fields.pop("storage", 100.0)
        record = WorkerRecord(worker_id, cpu, memory, fields.pop("gpu", 0.0), storage, **fields)
        return self.do(RegisterWorker(record, live, stopping))

    def submit(self, task_id: str, **fields: Any) -> list[Effect]:
        fields = {"command": "true", "cpu": 1.0} | fields
        return self.do(Submit(Submission(task_id, **fields)))

    def place(self) -> list[Effect]:
        effects = self.do(Place())
        self.check_nothing_fits()
        return effects

    def placed(self) -> list[tuple[str, str]]:
        """One pass; (task, worker) in the order of placement."""
        return [(e.spec.task_id, e.worker_id) for e in of(Assign, self.place())]

    def running(self, task_id: str, worker_id: str, **fields: Any) -> None:
        """Submit a task that has to go to this worker at once, and start it."""
        self.submit(task_id, **fields)
        assert (task_id, worker_id) in self.placed()
        self.start(task_id)

    def start(self, task_id: str, started_at: float = 0.0) -> list[Effect]:
        status = self.status(task_id)
        attempt = AttemptId(task_id, status.attempt)
        return self.do(AttemptStarted(status.worker_id, attempt, started_at or self.now))

    def finish(self, task_id: str, success: bool = True, **fields: Any) -> list[Effect]:
        status = self.status(task_id)
        worker_id = fields.pop("worker_id", status.worker_id)
        attempt = AttemptId(task_id, fields.pop("attempt", status.attempt))
        return self.do(AttemptFinished(worker_id, attempt, success, **fields))

    def refuse(self, task_id: str, reason: str = "no") -> list[Effect]:
        status = self.status(task_id)
        return self.do(AttemptRefused(status.worker_id, AttemptId(task_id, status.attempt), reason))

    def cancel(self, task_id: str) -> list[Effect]:
        return self.do(Cancel(task_id))

    def heartbeat(self, worker_id: str, *live: tuple[str, int], usage: float = 0.0) -> list[Effect]:
        named = tuple(AttemptId(*a) for a in live) if live else None
        return self.do(Heartbeat(worker_id, usage, usage, usage, named))

    def drain(self, worker_id: str, drain: bool = True) -> list[Effect]:
        return self.do(Drain(worker_id, drain))

    def stopping(self, worker_id: str) -> list[Effect]:
        return self.do(WorkerStopping(worker_id))

    def leave(self, worker_id: str) -> list[Effect]:
        return self.do(WorkerLeft(worker_id))

    def wait(self, seconds: float, *alive: str) -> list[Effect]:
        """Let time pass in ticks of a second; the workers that are named keep sending heartbeats."""
        effects: list[Effect] = []
        while seconds > 0.0:
            step = min(1.0, seconds)
            seconds -= step
            self.now += step
            for worker_id in alive:
                effects += self.do(Heartbeat(worker_id, 0.0, 0.0, 0.0))
            effects += self.do(Tick())
        return effects

    # ---- reads ----

    def status(self, task_id: str) -> TaskStatus:
        task = self.cluster.task(task_id)
        assert task is not None, f"{task_id} is not in memory"
        return task.status

    def state(self, task_id: str) -> TaskState:
        return self.status(task_id).state

    def why(self, task_id: str) -> str:
        return self.cluster.why_waiting(task_id, self.now)

    def room(self, worker_id: str) -> float:
        """Cores that a worker has left."""
        return self.table.view(worker_id).cpu_avail

    def worker_state(self, worker_id: str) -> str:
        worker = self.cluster.worker(worker_id)
        assert worker is not None
        return worker.state

    def reserved(self) -> dict[str, str]:
        """Worker by the task that it is kept for."""
        return {j.task_id: r.member.id for j, r in self.cluster._reservations.held.items()}

    def check_nothing_fits(self) -> None:
        """After a pass no queued task has room on a worker that it could be given to."""
        members = [m for m in self.cluster._members.by_id.values() if m.schedulable]
        for group in self.cluster._queue.groups.values():
            if group.first() is not None:
                for member in members:
                    fits = covers(self.cluster._members.room(member), group.request)
                    assert not (fits and member.supports(group.executor)), f"{group.first()} fits {member}"


class RankedWorld(World):
    """A world with the real scheduler, which ranks and explains."""

    policy = RTSScheduler


def of(kind: type[E], effects: Iterable[object]) -> list[E]:
    """The effects of one kind."""
    return [e for e in effects if isinstance(e, kind)]


def kinds(effects: Iterable[object]) -> list[str]:
    """The names of the effects' kinds."""
    return [type(e).__name__ for e in effects]


__all__ = [
    "AttemptId",
    "CancelAttempt",
    "CountingScheduler",
    "ModelStore",
    "RankedWorld",
    "Recorded",
    "TaskChanged",
    "World",
    "kinds",
    "of",
]
