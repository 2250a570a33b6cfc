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


class TaskPage(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a listing.

    `next_page_token` is empty on the last page. A page that was searched for may have fewer tasks than asked,
    or none, and yet be followed by another. `total` is of all pages, None where counting would take long.
    """

    tasks: tuple[TaskInfo, ...]
    next_page_token: str
    total: int | None


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
    executors: tuple[str, ...] = ()
    registered_at: float = 0.0


class WorkerPage(msgspec.Struct, frozen=True, kw_only=True):
    """A part of the workers; `next_page_token` is empty on the last page, `total` is of all pages."""

    workers: tuple[WorkerInfo, ...]
    next_page_token: str
    total: int


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

    `params_version` is that in use, 0 when the scheduler has no parameters. Amounts are of the workers that
    are not silent, `workers` counts all of them by state. Of the queued tasks `queued_reserved` have a worker
    kept free, `queued_parked` pause because workers refused them, `queued_hopeless` can no longer meet their
    deadline; `queue_reasons` say why its largest parts wait, and how many tasks those are. What is counted
    since the start gives rates by differences; `now` is the master's clock.
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
    total_cpu: float = 0.0
    total_memory: float = 0.0
    total_gpu: float = 0.0
    total_storage: float = 0.0
    cpu_avail: float = 0.0
    memory_avail: float = 0.0
    gpu_avail: float = 0.0
    storage_avail: float = 0.0
    workers: dict[str, int] = {}
    queued_reserved: int = 0
    queued_parked: int = 0
    queued_hopeless: int = 0
    queue_reasons: tuple[tuple[str, int], ...] = ()
    submitted_since_start: int = 0
    finished_since_start: int = 0
    sla_met_since_start: int = 0
    sla_missed_since_start: int = 0
    now: float = 0.0


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


class Generation(msgspec.Struct, frozen=True, kw_only=True):
    """A generation of a search; 0 is the initial population, a fitness of NaN one that nobody has."""

    number: int
    best: float
    mean: float


class RunningEpoch(msgspec.Struct, frozen=True, kw_only=True):
    """An epoch that runs, `generations` long at most; the last of `course` is the present one."""

    started_at: float
    generations: int
    course: tuple[Generation, ...]
    requested: bool


class PastEpoch(msgspec.Struct, frozen=True, kw_only=True):
    """An epoch that is over.

    `verdict` is accepted, kept, not enough data, cancelled or failed. `params_version` is what it made, 0 for
    none. `samples` are the records it learned from, by type. The fitnesses are of the newer tasks, None where
    no candidate was compared.
    """

    started_at: float
    duration_s: float
    verdict: str
    reason: str
    requested: bool
    params_version: int
    course: tuple[Generation, ...]
    samples: dict[str, int]
    records: int
    usable: int
    candidate_fitness: float | None
    current_fitness: float | None


class Probation(msgspec.Struct, frozen=True, kw_only=True):
    """New parameters on trial: of `needed` tasks `seen` have finished and `met` met their deadline.

    `promised` is the share that should, `bar` by how much it may be missed.
    """

    seen: int
    needed: int
    met: int
    promised: float
    bar: float
    since: float


class ModelType(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a type's runtimes, and from how many records; `base_s` is the median in seconds."""

    task_type: str
    records: int
    workers: int
    base_s: float


class LearningState(msgspec.Struct, frozen=True, kw_only=True):
    """How learning goes.

    `past` has the last epochs of this master, newest first. Without `new_outcomes` no epoch begins at
    `next_epoch_at` (0: none is planned). `held_back` says why a better set would not be put to use now.
    """

    running: RunningEpoch | None
    past: tuple[PastEpoch, ...]
    probation: Probation | None
    epoch_interval_s: float
    next_epoch_at: float
    new_outcomes: int
    params_version: int
    held_back: str
    model: tuple[ModelType, ...]
    trainer_failures: int


class TimelineBucket(msgspec.Struct, frozen=True, kw_only=True):
    """A span of time: what was submitted in it, and of what completed or failed in it how that went.

    Waits go from submission to start; the percentile is right to within 5 %. In time is late by 0.
    """

    submitted: int
    finished: int
    failed: int
    met: int
    missed: int
    wait_mean_s: float
    wait_p95_s: float
    lateness_mean_s: float


class Timeline(msgspec.Struct, frozen=True, kw_only=True):
    """Equal spans of `bucket_s` seconds, by type; "" is all types together.

    Before `counted_since` nothing was counted, for the time it would take.
    """

    since: float
    until: float
    bucket_s: float
    counted_since: float
    series: dict[str, tuple[TimelineBucket, ...]]
