"""What can happen to the cluster, and what the cluster asks for in answer."""

from __future__ import annotations

import msgspec

from master.records import (
    AttemptEnd,
    AttemptRecord,
    ParamsVersion,
    ResultRecord,
    Snapshot,
    StoredTask,
    Submission,
    TaskSpec,
    TaskStatus,
    WorkerRecord,
)


class AttemptId(msgspec.Struct, frozen=True):
    """A task's attempt; the number is the fencing token of its result."""

    task_id: str
    attempt: int


# ---- events: in ----


class Restore(msgspec.Struct, frozen=True):
    """The first event of a master that found a store with something in it."""

    snapshot: Snapshot


class Submit(msgspec.Struct, frozen=True):
    """A client's task; `known` is what the store has under a client-given id that is no longer in memory."""

    submission: Submission
    known: StoredTask | None = None


class Cancel(msgspec.Struct, frozen=True):
    """A client wants a task to end."""

    task_id: str


class RegisterWorker(msgspec.Struct, frozen=True):
    """A worker (re)introduced itself.

    `live` names the attempts that it runs or has results of; None: it cannot say, its heartbeats will.
    `stopping` as in WorkerStopping.
    """

    worker: WorkerRecord
    live: tuple[AttemptId, ...] | None = None
    stopping: bool = False


class Heartbeat(msgspec.Struct, frozen=True):
    """Usages are fractions of the worker's totals; `live` as in RegisterWorker, with attempt 0 for "any"."""

    worker_id: str
    cpu_usage: float
    memory_usage: float
    gpu_usage: float
    live: tuple[AttemptId, ...] | None = None


class AttemptStarted(msgspec.Struct, frozen=True):
    """The command runs; `started_at` by the worker's clock."""

    worker_id: str
    attempt: AttemptId
    started_at: float


class AttemptFinished(msgspec.Struct, frozen=True):
    """The command ended; attempt 0 (an agent that knows no attempts) means the current one."""

    worker_id: str
    attempt: AttemptId
    success: bool
    exit_code: int = 0
    started_at: float = 0.0
    finished_at: float = 0.0
    runtime_s: float = 0.0
    logs: str = ""
    result_location: str = ""
    output_files: tuple[str, ...] = ()
    reason: str = ""
    # Bytes that were printed before `logs` and are not kept.
    logs_offset: int = 0


class AttemptRefused(msgspec.Struct, frozen=True):
    """The worker did not take an assignment, or it could not be delivered."""

    worker_id: str
    attempt: AttemptId
    reason: str


class WorkerSilent(msgspec.Struct, frozen=True):
    """The connection to a worker broke: nothing is placed there until it is heard from again.

    Without it the core would go on placing there for three heartbeats, and each such task would lose an
    attempt.
    """

    worker_id: str


class WorkerStopping(msgspec.Struct, frozen=True):
    """A worker ends what it runs and takes nothing new, until it registers again.

    Unlike a drain this is the worker's own doing, and not stored: one that still stops says so again.
    """

    worker_id: str


class WorkerLeft(msgspec.Struct, frozen=True):
    """A clean goodbye: what runs there is given up now, without waiting for silence."""

    worker_id: str


class Drain(msgspec.Struct, frozen=True):
    """Nothing new is placed on the worker, or (False) again."""

    worker_id: str
    drain: bool


class Tick(msgspec.Struct, frozen=True):
    """Time went by: silence, grace periods."""


class Propose(msgspec.Struct, frozen=True):
    """An outside planner wants a queued task on a worker; `version` is of the state that it decided on."""

    task_id: str
    worker_id: str
    version: int


class Place(msgspec.Struct, frozen=True):
    """One pass over the queue; the shell sends it after a burst of other events."""


Event = (
    Restore
    | Submit
    | Cancel
    | RegisterWorker
    | Heartbeat
    | AttemptStarted
    | AttemptFinished
    | AttemptRefused
    | WorkerSilent
    | WorkerStopping
    | WorkerLeft
    | Drain
    | Tick
    | Propose
    | Place
)


# ---- effects: out ----
# First those that the store carries out. Everything else waits until they are durable.


class InsertTask(msgspec.Struct, frozen=True):
    """A task was accepted."""

    spec: TaskSpec
    status: TaskStatus


class UpdateTask(msgspec.Struct, frozen=True):
    """A task is somewhere else now."""

    task_id: str
    status: TaskStatus


class InsertAttempt(msgspec.Struct, frozen=True):
    """A task was placed."""

    record: AttemptRecord


class EndAttempt(msgspec.Struct, frozen=True):
    """An attempt no longer holds its worker."""

    task_id: str
    attempt: int
    ended_at: float
    end: AttemptEnd


class InsertResult(msgspec.Struct, frozen=True):
    """A task's one outcome; a second one for the same task must fail the commit."""

    record: ResultRecord


class PutWorker(msgspec.Struct, frozen=True):
    """A worker registered or changed."""

    record: WorkerRecord


class RemoveWorker(msgspec.Struct, frozen=True):
    """A worker is no longer part of the cluster."""

    worker_id: str


class PutTau(msgspec.Struct, frozen=True):
    """τ of a type, in seconds."""

    task_type: str
    tau: float


class InsertParams(msgspec.Struct, frozen=True):
    """Parameters were put to use; not the core's: the shell asks for it."""

    record: ParamsVersion


Write = (
    InsertTask
    | UpdateTask
    | InsertAttempt
    | EndAttempt
    | InsertResult
    | PutWorker
    | RemoveWorker
    | PutTau
    | InsertParams
)


class Assign(msgspec.Struct, frozen=True):
    """Send the task to the worker."""

    worker_id: str
    spec: TaskSpec
    attempt: int


class CancelAttempt(msgspec.Struct, frozen=True):
    """Tell the worker to end an attempt."""

    worker_id: str
    attempt: AttemptId


class Recorded(msgspec.Struct, frozen=True):
    """Tell the worker that it may forget a result: it is durable, or was refused for good."""

    worker_id: str
    attempt: AttemptId


class TaskChanged(msgspec.Struct, frozen=True):
    """Tell whoever watches."""

    spec: TaskSpec
    status: TaskStatus


class WorkerHeard(msgspec.Struct, frozen=True):
    """A worker fell silent (False), or is heard again; for whoever wants to know."""

    worker_id: str
    heard: bool


Effect = Write | Assign | CancelAttempt | Recorded | TaskChanged | WorkerHeard
