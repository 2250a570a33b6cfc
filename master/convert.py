"""Between the messages of the wire and the records of the master; the only module that knows both."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable, Iterable
from typing import TypeVar

import msgspec

from master.epochs import EpochReply
from master.errors import InvalidRequestError, MasterError
from master.events import AttemptFinished, AttemptId, AttemptRefused, AttemptStarted, Heartbeat
from master.forecast import Prediction
from master.queue import Key
from master.records import (
    AttemptRecord,
    ParamsVersion,
    StoredTask,
    Submission,
    TaskSpec,
    TaskState,
    TaskStatus,
    WorkerRecord,
)
from master.status import WorkerStatus
from master.store.base import TaskQuery
from master.validate import check_search
from rtscore import TASK_TYPES, is_valid_task_type
from rtscore.rpc import cluster_pb2, scheduler_pb2
from rtscore.task_ids import new_task_id

PAGE_DEFAULT = 100
PAGE_MAX = 1_000
# gRPC's limit for a message is 4 MiB where a client has not raised it.
PAGE_BYTES = 2 * 1024 * 1024
# About 0.2 s of the master's time.
BATCH_MAX = 10_000

_TO_WIRE = {state: scheduler_pb2.TaskState.Value(state.name) for state in TaskState}
_FROM_WIRE = {number: state for state, number in _TO_WIRE.items()}
Cursor = tuple[float, str] | tuple[int, float, int]
T = TypeVar("T")

_cursor = msgspec.json.Decoder(tuple[float, str])
_place = msgspec.json.Decoder(Key)


# ---- tasks ----


def submission(spec: scheduler_pb2.TaskSpec) -> Submission:
    """A client's task; makes an id when none is given."""
    task_id = spec.task_id
    return Submission(
        task_id or new_task_id(),
        spec.user_id,
        spec.command,
        spec.docker_image,
        spec.cpu,
        spec.memory,
        spec.gpu,
        spec.storage,
        spec.task_type,
        spec.sla_multiplier,
        spec.deadline,
        spec.time_limit_s,
        bool(task_id),
    )


def submissions(request: scheduler_pb2.SubmitTasksRequest) -> list[Submission]:
    """A batch.

    Raises
    ------
    InvalidRequestError
        When it is larger than allowed.
    """
    if len(request.tasks) > BATCH_MAX:
        raise InvalidRequestError(
            "tasks", f"{len(request.tasks)} came; at most {BATCH_MAX} are allowed at once"
        )
    return [submission(spec) for spec in request.tasks]


def task_info(
    task: StoredTask, prediction: Prediction | None, reason: str | None = None
) -> scheduler_pb2.TaskInfo:
    """A task as clients see it: the choices that were left to us are filled in.

    `reason` replaces the recorded one; a queued task has its reason only on demand.
    """
    info = scheduler_pb2.TaskInfo()
    fill_task(info, task, prediction)
    if reason is not None:
        info.reason = reason
    return info


def fill_task(info: scheduler_pb2.TaskInfo, task: StoredTask, prediction: Prediction | None) -> None:
    """Fill a message in its place: in a batch that takes 5 µs a task, building and copying it takes 16."""
    spec, status = task.spec, task.status
    given, out = spec.submission, info.spec
    out.task_id = given.task_id
    out.command = given.command
    if given.user_id:
        out.user_id = given.user_id
    if given.docker_image:
        out.docker_image = given.docker_image
    if given.cpu:
        out.cpu = given.cpu
    if given.memory:
        out.memory = given.memory
    if given.gpu:
        out.gpu = given.gpu
    if given.storage:
        out.storage = given.storage
    if given.time_limit_s:
        out.time_limit_s = given.time_limit_s
    out.task_type = spec.task_type
    out.sla_multiplier = spec.sla_multiplier
    out.deadline = spec.deadline
    info.tau = spec.tau
    info.submitted_at = spec.submitted_at
    info.state = _TO_WIRE[status.state]
    if status.attempt or status.state is not TaskState.QUEUED:
        _fill_status(info, status)
    if prediction is not None:
        info.predicted_start_at = prediction.start_at
        info.predicted_finish_at = prediction.finish_at
        if prediction.chance is not None:
            info.deadline_chance = prediction.chance


def _fill_status(info: scheduler_pb2.TaskInfo, status: TaskStatus) -> None:
    info.attempt = status.attempt
    info.worker_id = status.worker_id
    info.assigned_at = status.assigned_at
    info.started_at = status.started_at
    info.finished_at = status.finished_at
    info.runtime_s = status.runtime_s
    info.reason = status.reason
    if status.exit_code is not None:
        info.exit_code = status.exit_code
    if status.sla_success is not None:
        info.sla_success = status.sla_success


def submit_reply(
    answers: Iterable[StoredTask | MasterError],
    code: Callable[[MasterError], int],
    predict: Callable[[str], Prediction | None],
) -> scheduler_pb2.SubmitTasksReply:
    """What became of a batch; `code` gives the google.rpc.Code of an error."""
    reply = scheduler_pb2.SubmitTasksReply()
    for answer in answers:
        outcome = reply.outcomes.add()
        if isinstance(answer, MasterError):
            outcome.error.code = code(answer)
            outcome.error.message = str(answer)
        else:
            fill_task(outcome.task, answer, predict(answer.spec.task_id))
    return reply


def fill_assignment(message: cluster_pb2.Task, spec: TaskSpec, worker_id: str, attempt: int) -> None:
    """What a worker needs to run a task."""
    given = spec.submission
    message.task_id = given.task_id
    message.command = given.command
    message.target_worker_id = worker_id
    message.task_type = spec.task_type
    message.attempt = attempt
    if given.docker_image:
        message.docker_image = given.docker_image
    if given.cpu:
        message.req_cpu = given.cpu
    if given.memory:
        message.req_memory = given.memory
    if given.storage:
        message.req_storage = given.storage
    if given.gpu:
        message.req_gpu = given.gpu
    if given.user_id:
        message.user_id = given.user_id
    if given.time_limit_s:
        message.time_limit_s = given.time_limit_s


def task_query(request: scheduler_pb2.ListTasksRequest) -> TaskQuery:
    """A page of a listing.

    Raises
    ------
    InvalidRequestError
        When a state, the page size or the page token cannot be.
    """
    states = set()
    for number in request.states:
        if number not in _FROM_WIRE:
            allowed = ", ".join(f"{n} ({s.value})" for n, s in _FROM_WIRE.items())
            raise InvalidRequestError("states", f"{number} came; allowed are {allowed}")
        states.add(_FROM_WIRE[number])
    if request.page_size > PAGE_MAX:
        raise InvalidRequestError("page_size", f"{request.page_size} came; at most {PAGE_MAX} is allowed")
    after = None
    if request.order == scheduler_pb2.NEWEST_FIRST and request.page_token:
        after = decode_token(request.page_token, _cursor)
    if request.sla not in scheduler_pb2.SlaOutcome.values():
        raise InvalidRequestError("sla", f"{request.sla} came; allowed are 0 (any), 1 (met), 2 (missed)")
    if request.order not in scheduler_pb2.TaskOrder.values():
        raise InvalidRequestError("order", f"{request.order} came; allowed are 0 (newest first), 1 (queue)")
    if request.task_type and not is_valid_task_type(request.task_type):
        raise InvalidRequestError(
            "task_type", f"{request.task_type[:64]!r} came; allowed are {', '.join(TASK_TYPES)}"
        )
    check_search("text", request.text)
    if request.order == scheduler_pb2.QUEUE_ORDER:
        if states - {TaskState.QUEUED}:
            raise InvalidRequestError(
                "states", "other than QUEUED came; with QUEUE_ORDER only that is allowed"
            )
        states = {TaskState.QUEUED}
    return TaskQuery(
        frozenset(states),
        request.user_id,
        request.page_size or PAGE_DEFAULT,
        after,
        worker_id=request.worker_id,
        task_type=request.task_type,
        text=request.text,
        sla_success=None if request.sla == scheduler_pb2.SLA_ANY else request.sla == scheduler_pb2.SLA_MET,
    )


def queue_position(request: scheduler_pb2.ListTasksRequest) -> Key | None:
    """From where a page of the queue goes on; None: from its beginning.

    Raises
    ------
    InvalidRequestError
        When the page token cannot be.
    """
    return decode_token(request.page_token, _place) if request.page_token else None


def task_page(
    rows: Iterable[tuple[Cursor, scheduler_pb2.TaskInfo]], after: Cursor | None, total: int | None
) -> scheduler_pb2.ListTasksReply:
    """A page of tasks with their places; shorter when its text is long, for the client's limit."""
    reply, size, last = scheduler_pb2.ListTasksReply(total=total), 0, None
    for place, info in rows:
        size += info.ByteSize()
        if last is not None and size > PAGE_BYTES:
            after = last
            break
        reply.tasks.append(info)
        last = place
    if after is not None:
        reply.next_page_token = encode_token(after)
    return reply


def encode_token(cursor: Cursor) -> str:
    """The token of a place in a listing."""
    return base64.urlsafe_b64encode(msgspec.json.encode(cursor)).decode()


def decode_token(token: str, decoder: msgspec.json.Decoder[T]) -> T:
    """The place that a token is of.

    Raises
    ------
    InvalidRequestError
        When it is none of this kind of listing.
    """
    try:
        return decoder.decode(base64.b64decode(token, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, msgspec.DecodeError):
        raise InvalidRequestError(
            "page_token", f"{token[:64]!r} came; only a next_page_token of this master is allowed"
        ) from None


# ---- workers ----


def worker_record(info: cluster_pb2.WorkerInfo, *, address: str, executors: Iterable[str]) -> WorkerRecord:
    """A worker as it introduces itself."""
    return WorkerRecord(
        info.worker_id,
        info.total_cpu,
        info.total_memory,
        info.total_gpu,
        info.total_storage,
        address=address,
        executors=tuple(executors),
    )


def attempt_id(ref: scheduler_pb2.AttemptRef) -> AttemptId:
    """A task's attempt."""
    return AttemptId(ref.task_id, ref.attempt)


def fill_ref(message: scheduler_pb2.AttemptRef, attempt: AttemptId) -> None:
    """A task's attempt, for the wire."""
    message.task_id = attempt.task_id
    message.attempt = attempt.attempt


def heartbeat(worker_id: str, beat: cluster_pb2.Heartbeat, *, claims: bool) -> Heartbeat:
    """A sign of life; with `claims`, its running tasks are what the worker says it runs."""
    live = tuple(AttemptId(t.task_id, t.attempt) for t in beat.running_tasks) if claims else None
    return Heartbeat(worker_id, beat.cpu_usage, beat.memory_usage, beat.gpu_usage, live)


def started(worker_id: str, message: scheduler_pb2.AttemptStarted) -> AttemptStarted:
    """A command that runs."""
    return AttemptStarted(worker_id, attempt_id(message.attempt), message.started_at)


def refused(worker_id: str, message: scheduler_pb2.AttemptRefused) -> AttemptRefused:
    """An assignment that was not taken."""
    return AttemptRefused(worker_id, attempt_id(message.attempt), message.reason)


def finished(worker_id: str, result: cluster_pb2.TaskResult) -> AttemptFinished:
    """A result; of an agent that does not know attempts too.

    Raises
    ------
    InvalidRequestError
        When the status is neither of the two.
    """
    if result.status not in ("success", "failed"):
        raise InvalidRequestError(
            "status", f"{result.status!r} came for task {result.task_id}; allowed are success, failed"
        )
    return AttemptFinished(
        worker_id,
        AttemptId(result.task_id, result.attempt),
        result.status == "success",
        result.exit_code,
        _finite(result.started_at),
        _finite(result.finished_at),
        _finite(result.runtime_s),
        result.logs,
        result.result_location,
        tuple(result.output_files),
        result.reason,
        # What no command prints is more than a store can count.
        min(result.logs_offset, 2**63 - 1),
    )


def _finite(value: float) -> float:
    # A worker's broken clock is the same as none.
    return value if math.isfinite(value) and value > 0.0 else 0.0


def placement(record: AttemptRecord) -> scheduler_pb2.PlacementRecord:
    """The recorded decision of an attempt."""
    return scheduler_pb2.PlacementRecord(
        worker_id=record.worker_id,
        attempt=record.attempt,
        source=record.source,
        risk=record.risk,
        load_at_start=record.load_at_start,
        cpu_avail=record.cpu_avail,
        memory_avail=record.memory_avail,
        gpu_avail=record.gpu_avail,
        assigned_at=record.assigned_at,
    )


def params_version(record: ParamsVersion, *, listed: bool = False) -> scheduler_pb2.ParamsVersion:
    """A parameter version; in a listing without its parameters."""
    return scheduler_pb2.ParamsVersion(
        version=record.version,
        created_at=record.created_at,
        replaced=record.replaced,
        reason=record.reason.value,
        params_json="" if listed else record.params,
        evidence_json=record.evidence,
    )


def train_reply(reply: EpochReply, version: ParamsVersion) -> scheduler_pb2.TrainReply:
    """An epoch's outcome, and the version in use after it."""
    return scheduler_pb2.TrainReply(
        verdict=reply.verdict,
        reason=reply.reason,
        version=params_version(version, listed=True),
        evidence_json=msgspec.json.encode(reply.evidence).decode(),
    )


def worker_state(worker: WorkerStatus) -> scheduler_pb2.WorkerState:
    """A worker as clients see it."""
    return scheduler_pb2.WorkerState(
        worker_id=worker.worker_id,
        state=worker.state,
        total_cpu=worker.cpu,
        total_memory=worker.memory,
        total_gpu=worker.gpu,
        total_storage=worker.storage,
        cpu_avail=worker.cpu_avail,
        memory_avail=worker.memory_avail,
        gpu_avail=worker.gpu_avail,
        storage_avail=worker.storage_avail,
        load=worker.load,
        live_attempts=worker.live_attempts,
        last_heartbeat_at=worker.last_heartbeat_at,
        tasks_finished=worker.tasks_finished,
        sla_met=worker.sla_met,
        executors=worker.executors,
        registered_at=worker.registered_at,
    )
