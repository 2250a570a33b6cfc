"""What the master knows of tasks, attempts, results and workers, as immutable records."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class TaskState(StrEnum):
    """A task is in exactly one of these."""

    QUEUED = "queued"
    ASSIGNED = "assigned"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        """Whether nothing follows."""
        return self in _TERMINAL


_TERMINAL = frozenset({TaskState.COMPLETED, TaskState.FAILED, TaskState.CANCELLED})


class Submission(msgspec.Struct, frozen=True):
    """A task as a client gave it; a field is empty or 0 where the choice was left to us.

    Units: cpu in cores, memory and storage in GiB, gpu in devices, deadline in Unix seconds.

    `task_id` is never empty here: the shell makes one when the client gave none, and says so in `id_given`.
    """

    task_id: str
    user_id: str = ""
    command: str = ""
    docker_image: str = ""
    cpu: float = 0.0
    memory: float = 0.0
    gpu: float = 0.0
    storage: float = 0.0
    task_type: str = ""
    sla_multiplier: float = 0.0
    deadline: float = 0.0
    time_limit_s: float = 0.0
    id_given: bool = True


class TaskSpec(msgspec.Struct, frozen=True):
    """What never changes after a task was accepted."""

    submission: Submission
    task_type: str
    tau: float
    sla_multiplier: float
    submitted_at: float
    deadline: float

    @property
    def task_id(self) -> str:
        """The task's id."""
        return self.submission.task_id


class TaskStatus(msgspec.Struct, frozen=True):
    """Where a task stands; replaced whole at every transition."""

    state: TaskState = TaskState.QUEUED
    attempt: int = 0
    worker_id: str = ""
    assigned_at: float = 0.0
    started_at: float = 0.0
    finished_at: float = 0.0
    runtime_s: float = 0.0
    exit_code: int | None = None
    sla_success: bool | None = None
    reason: str = ""


class StoredTask(msgspec.Struct, frozen=True):
    """A task as it is read back."""

    spec: TaskSpec
    status: TaskStatus


class AttemptEnd(StrEnum):
    """How an attempt stopped holding its worker."""

    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    REFUSED = "refused"
    LOST = "lost"


class AttemptRecord(msgspec.Struct, frozen=True):
    """One placement: the decision, and the worker's load and available amounts just before it."""

    task_id: str
    attempt: int
    worker_id: str
    assigned_at: float
    load_at_start: float
    cpu_avail: float
    memory_avail: float
    gpu_avail: float
    source: str
    risk: float | None = None
    ended_at: float | None = None
    end: AttemptEnd | None = None
    decision: bytes | None = None
    """What it was chosen from, as `master.decisions` keeps it; None when nothing was ranked or kept."""


class ResultRecord(msgspec.Struct, frozen=True):
    """The one recorded outcome of a task that ran.

    The instants lie between assignment and report by the master's clock; `runtime_s` is the worker's own.
    `logs` is the end of the output, after `logs_offset` bytes that are not kept.
    """

    task_id: str
    attempt: int
    worker_id: str
    success: bool
    exit_code: int
    started_at: float
    finished_at: float
    runtime_s: float
    sla_success: bool
    logs: str = ""
    result_location: str = ""
    output_files: tuple[str, ...] = ()
    reason: str = ""
    logs_offset: int = 0


class WorkerRecord(msgspec.Struct, frozen=True):
    """A registered worker; `address` is empty for one that keeps a session open and serves no AssignTask."""

    worker_id: str
    cpu: float
    memory: float
    gpu: float
    storage: float
    address: str = ""
    executors: tuple[str, ...] = ()
    draining: bool = False
    registered_at: float = 0.0


class ParamsReason(StrEnum):
    """How a parameter version came to be used."""

    INITIAL = "initial"
    ACCEPTED = "accepted"
    ROLLBACK = "rollback"
    AUTO_ROLLBACK = "auto-rollback"
    MANUAL = "manual"


class ParamsVersion(msgspec.Struct, frozen=True):
    """A parameter set that was put to use.

    Attributes
    ----------
    version : int
        Counted from 1; the highest is the one in use.
    created_at : float
        Unix seconds.
    replaced : int
        The version that was in use before; 0 for the first.
    params : str
        JSON in the layout of the parameter file.
    evidence : str
        JSON of what spoke for it: an object, which may be empty.
    """

    version: int
    created_at: float
    replaced: int
    reason: ParamsReason
    params: str
    evidence: str = "{}"


class Snapshot(msgspec.Struct, frozen=True):
    """What a master needs to go on after a restart.

    `tasks` holds every task that is not finished and every task of an open attempt; `attempts` holds the
    open attempts, those that have not ended.
    """

    tasks: tuple[StoredTask, ...] = ()
    attempts: tuple[AttemptRecord, ...] = ()
    workers: tuple[WorkerRecord, ...] = ()
    tau: dict[str, float] = {}
