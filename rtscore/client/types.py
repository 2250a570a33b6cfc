"""What a client sends and gets: plain immutable records, never messages of the wire.

Amounts in cores, GiB and devices; instants in Unix seconds, 0 when they have not come; durations in seconds.
"""

from __future__ import annotations

from typing import Any

import msgspec


class TaskSpec(msgspec.Struct, frozen=True):
    """A task to submit; empty or 0 leaves the choice to the client or the master.

    `command` is run by /bin/sh. Without `task_id` the client makes one, so that a submission can be repeated
    without becoming a second task. Without `task_type` it is inferred from the amounts; without `deadline`
    it is submission + `sla_multiplier` (0: the master's) times the type's expected runtime.
    """

    command: str = ""
    task_id: str = ""
    user_id: str = ""
    docker_image: str = ""
    cpu: float = 0.0
    memory: float = 0.0
    gpu: float = 0.0
    storage: float = 0.0
    task_type: str = ""
    sla_multiplier: float = 0.0
    deadline: float = 0.0
    time_limit_s: float = 0.0


class TaskInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A task as it stood when the master answered.

    `state` is queued, assigned, running, completed, failed or cancelled. `sla_success` is None until the
    task has completed or failed, `exit_code` until there is one. The predictions are of the moment of the
    answer, 0 where there is none; `deadline_chance` is None while the runtimes of the type are not known, and
    when the task has finished.
    """

    task_id: str
    user_id: str
    command: str
    docker_image: str
    cpu: float
    memory: float
    gpu: float
    storage: float
    task_type: str
    sla_multiplier: float
    deadline: float
    time_limit_s: float
    state: str
    attempt: int
    worker_id: str
    tau: float
    submitted_at: float
    assigned_at: float
    started_at: float
    finished_at: float
    runtime_s: float
    exit_code: int | None
    sla_success: bool | None
    reason: str
    predicted_start_at: float = 0.0
    predicted_finish_at: float = 0.0
    deadline_chance: float | None = None

    @property
    def finished(self) -> bool:
        """Whether nothing follows."""
        return self.state in ("completed", "failed", "cancelled")


class SubmitError(msgspec.Struct, frozen=True):
    """Why one task of many was not accepted; `code` as in `RequestError`."""

    code: str
    message: str


class LogPiece(msgspec.Struct, frozen=True, kw_only=True):
    """Text that a task printed, in order, or news of it.

    `missed` bytes are missing before `text`: no longer kept, or the reader was too slow. `attempt` printed
    it, and had printed `offset` bytes by its end. `state` is the task's, where it has changed and in the last
    piece, and empty otherwise.
    """

    text: str
    attempt: int
    offset: int
    missed: int = 0
    state: str = ""
    last: bool = False


class WorkerInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A worker; `state` is active, draining, stopping (by itself), inactive or lost."""

    worker_id: str
    state: str
    total_cpu: float
    total_memory: float
    total_gpu: float
    total_storage: float
    cpu_avail: float
    memory_avail: float
    gpu_avail: float
    storage_avail: float
    load: float
    live_attempts: int
    last_heartbeat_at: float
    tasks_finished: int
    sla_met: int


class ExplanationRow(msgspec.Struct, frozen=True, kw_only=True):
    """How one worker would do; `lacks` says in words why it cannot."""

    worker_id: str
    feasible: bool
    lacks: str
    predicted_runtime_s: float
    lateness_s: float
    load: float
    affinity: float
    penalty: float
    risk: float


class PlacementRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The recorded decision of an attempt, and the worker just before it."""

    worker_id: str
    attempt: int
    source: str
    risk: float | None
    load_at_start: float
    cpu_avail: float
    memory_avail: float
    gpu_avail: float
    assigned_at: float


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A worker that a task could go to; risk = alpha * lateness + beta * load - affinity + penalty."""

    worker_id: str
    predicted_runtime_s: float
    lateness_s: float
    load: float
    affinity: float
    penalty: float
    risk: float


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What a placement was, or would be, chosen from, at the instant of the decision.

    `candidates` are at most 8, least risk first, the first one chosen; when there are none, `note` says why.
    `runner_up` is the second of them and `margin` by how much its risk was higher, empty and None without
    one. Of `workers`, `fitting` could take the task (None: not counted), `lacking` says how many had too
    little of which resource and `closed` how many took nothing; the two are not counted among more than 500
    workers. `params_version` is that of the weights, 0 when they had none.
    """

    decided_at: float
    worker_id: str
    source: str
    candidates: tuple[Candidate, ...]
    note: str
    runner_up: str
    margin: float | None
    workers: int
    fitting: int | None
    lacking: dict[str, int]
    closed: int
    tau: float
    slack_s: float
    alpha: float
    beta: float
    params_version: int


class WorkerLack(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker has too little of for a task, and `why` it takes none like it now, if that is so."""

    worker_id: str
    cpu: float
    memory: float
    gpu: float
    storage: float
    why: str


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """What a queued task waits for.

    `ahead` tasks go first; `ahead_ids` are the first few, as far as the caller may see them. `lacks` are the
    workers that are nearest to fitting, at most 50; `lacking` and `closed` count all of them.
    """

    why: str
    ahead: int
    ahead_ids: tuple[str, ...]
    hopeless: bool
    reserved_worker: str
    workers: int
    lacks: tuple[WorkerLack, ...]
    lacking: dict[str, int]
    closed: int


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Why a task is where it is, or why it waits.

    `rows` are the workers as they are now, best first, at most 50. `placement` and `decision` are of the
    current attempt, None while the task is queued; `waiting` is None when it is not.
    """

    task: TaskInfo
    summary: str
    rows: tuple[ExplanationRow, ...]
    placement: PlacementRecord | None
    decision: Decision | None = None
    waiting: Waiting | None = None


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Where a task would go if it were submitted now; `task` is as it would be accepted.

    `verdict` says whether it is predicted to meet its deadline: meets or misses; never when no worker could
    ever take it, unknown when it would wait and for how long cannot be said. `decision` is None when it would
    wait, and `worker_id` empty; `waiting` is None when it would not.
    """

    task: TaskInfo
    worker_id: str
    summary: str
    verdict: str
    decision: Decision | None
    waiting: Waiting | None


class ClusterStats(msgspec.Struct, frozen=True, kw_only=True):
    """The cluster in numbers; decisions since the master started, τ in seconds by type.

    `params_version` is that in use, 0 when the scheduler has no parameters.
    """

    scheduler: str
    queued: int
    assigned: int
    running: int
    completed: int
    failed: int
    cancelled: int
    decisions: int
    fallbacks: int
    decision_p50_us: float
    decision_p99_us: float
    tau: dict[str, float]
    started_at: float
    params_version: int = 0


class ParamsVersion(msgspec.Struct, frozen=True, kw_only=True):
    """Scheduling parameters that were put to use, instead of those of version `replaced`.

    `reason` is initial, accepted, rollback, auto-rollback or manual; `evidence` is what spoke for them.
    `params` has the layout of the parameter file (`rtscore.params.params_from_dict`), None in a listing.
    """

    version: int
    created_at: float
    replaced: int
    reason: str
    params: dict[str, Any] | None
    evidence: dict[str, Any]


class EpochOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What an epoch of learning found, and the version that is in use after it.

    `verdict` is accepted, kept or not enough data; `reason` a sentence.
    """

    verdict: str
    reason: str
    version: ParamsVersion
    evidence: dict[str, Any]
