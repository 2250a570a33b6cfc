"""The calls of both clients: what is sent, how the answer is read, when it is tried again."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

import grpc
import msgspec
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]

from rtscore.client.errors import CallTimeoutError, ClientError, MasterUnreachableError, RequestError
from rtscore.client.types import (
    Candidate,
    ClusterStats,
    Decision,
    EpochOutcome,
    Explanation,
    ExplanationRow,
    Generation,
    LearningState,
    LogPiece,
    ModelType,
    ParamsVersion,
    PastEpoch,
    PlacementRecord,
    Plan,
    Probation,
    RunningEpoch,
    SubmitError,
    TaskInfo,
    TaskPage,
    TaskSpec,
    Timeline,
    TimelineBucket,
    Waiting,
    WorkerInfo,
    WorkerLack,
    WorkerPage,
)
from rtscore.rpc import cluster_pb2, scheduler_pb2
from rtscore.task_ids import new_task_id

T = TypeVar("T")

TIMEOUT_S = 30.0
RETRY_FOR_S = 5.0
# An epoch over the most records that one learns from, behind another one.
TRAIN_TIMEOUT_S = 300.0
# Large enough to cost nothing per task, small enough that nobody waits for it; long commands fill it sooner,
# far below the 16 MiB that a master takes.
BATCH = 1_000
BATCH_BYTES = 4 * 1024 * 1024
PAGE = 1_000
OPTIONS = (
    # The answer to a full batch is larger than the batch.
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    # Half a minute at most until a watch of a master that hangs goes on with another one.
    ("grpc.keepalive_time_ms", 15_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # Without it gRPC 1.85 waits 60 s for the answer to a ping, and puts the third ping off by another one.
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)

_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 1.0
# gRPC's own words.
_TOO_LARGE = re.compile(r"(SERVER|CLIENT): Received message larger than max \((\d+) vs\. (\d+)\)")
_NO_ANSWER = (grpc.StatusCode.UNAVAILABLE,)


_STATES = {name.lower(): number for name, number in scheduler_pb2.TaskState.items() if number}
_SLA = {"": scheduler_pb2.SLA_ANY, "met": scheduler_pb2.SLA_MET, "missed": scheduler_pb2.SLA_MISSED}
_ORDERS = {"newest": scheduler_pb2.NEWEST_FIRST, "queue": scheduler_pb2.QUEUE_ORDER}
_WORKER_ORDERS = {
    name.lower().removeprefix("by_"): number for name, number in scheduler_pb2.WorkerOrder.items()
}


class Call(msgspec.Struct, Generic[T], frozen=True):
    """One unary call; all may be repeated: a submission carries an id, the others set or read a state.

    `timeout_s` is for a call that takes longer than the others; None: the client's.
    """

    method: str
    request: Any
    decode: Callable[[Any], T]
    timeout_s: float | None = None


class Attempts:
    """Decides whether a call is tried again, and when: after UNAVAILABLE, with full jitter, for a while.

    `try_s` bounds each try; one that had no answer by then is repeated as well.
    """

    def __init__(self, timeout_s: float | None, retry_for_s: float, try_s: float | None = None) -> None:
        self._try_s = try_s
        self._retry_for_s = retry_for_s
        self._timeout_s = timeout_s
        self._end = None if timeout_s is None else time.monotonic() + timeout_s
        self._put_off: grpc.RpcError | None
        self.answered()

    def answered(self) -> None:
        """The master answers: a later failure is a new one."""
        self._put_off = None
        self._pause_s = _FIRST_PAUSE_S
        self._give_up = time.monotonic() + self._retry_for_s

    @property
    def remaining_s(self) -> float | None:
        """Seconds left for this try of the call; None: as long as it takes."""
        left = None if self._end is None else max(0.0, self._end - time.monotonic())
        return min((s for s in (left, self._try_s) if s is not None), default=None)

    def after(self, error: grpc.RpcError) -> float:
        """Seconds to pause before the next try; raises what the error means when there is none."""
        hint_s = _retry_delay_s(error)
        pause_s = random.uniform(hint_s, hint_s + self._pause_s)
        self._pause_s = min(2.0 * self._pause_s, _LONGEST_PAUSE_S)
        until = time.monotonic() + pause_s
        last = self._give_up if self._end is None else min(self._give_up, self._end)
        if hint_s:
            self._put_off = error
        if self.unanswered(error) and until < last:
            return pause_s
        # Of all that was heard, what the master in office said is worth more than a standby's "not me".
        worth = self._put_off if error.code() in _NO_ANSWER and self._put_off is not None else error
        raise meaning(worth) from None

    def unanswered(self, error: grpc.RpcError) -> bool:
        """Whether another master may do better: this one did not answer, or takes no calls."""
        late = self._try_s is not None and error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        return error.code() in _NO_ANSWER or late


def meaning(error: grpc.RpcError) -> ClientError:
    """The exception that a client raises for a failed call."""
    code, details = error.code(), error.details() or ""
    if code in _NO_ANSWER:
        return MasterUnreachableError(details, _retry_delay_s(error))
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return CallTimeoutError("no answer in time; whether the call was carried out is not known")
    if found := _TOO_LARGE.search(details):
        whose = "the master" if found[1] == "SERVER" else "a client"
        details = f"a message of {found[2]} bytes; {whose} takes at most {found[3]}"
    return RequestError(code.name, details, _field(error))


def _field(error: grpc.RpcError) -> str:
    request = error_details_pb2.BadRequest()
    return str(request.field_violations[0].field) if _unpack(error, request) else ""


def _retry_delay_s(error: grpc.RpcError) -> float:
    """How long the master asks to be left alone; 0 when it does not say."""
    info = error_details_pb2.RetryInfo()
    return float(info.retry_delay.ToTimedelta().total_seconds()) if _unpack(error, info) else 0.0


def _unpack(error: grpc.RpcError, wanted: Message) -> bool:
    """Fill in the detail of this kind; whether the error has one."""
    # The blocking and the asyncio client have different types for it; both yield pairs.
    metadata: Any = error.trailing_metadata() or ()
    for key, value in metadata:
        if key == "grpc-status-details-bin":
            return any(detail.Unpack(wanted) for detail in status_pb2.Status.FromString(value).details)
    return False


# ---- calls ----


def submit(spec: TaskSpec) -> Call[TaskInfo]:
    """Submit one task."""
    return Call("SubmitTask", _spec(spec), task_info)


def submit_many(specs: Iterable[TaskSpec]) -> Iterator[Call[list[TaskInfo | SubmitError]]]:
    """Submit many, a batch per call."""
    request, size = scheduler_pb2.SubmitTasksRequest(), 0
    for message in [_spec(spec) for spec in specs]:
        size += message.ByteSize()
        if request.tasks and (len(request.tasks) == BATCH or size > BATCH_BYTES):
            yield _submission(request)
            request, size = scheduler_pb2.SubmitTasksRequest(), message.ByteSize()
        request.tasks.append(message)
    if request.tasks:
        yield _submission(request)


def _submission(request: scheduler_pb2.SubmitTasksRequest) -> Call[list[TaskInfo | SubmitError]]:
    return Call("SubmitTasks", request, lambda reply: [_outcome(o) for o in reply.outcomes])


def get_task(task_id: str) -> Call[TaskInfo]:
    """Read one task."""
    return Call("GetTask", scheduler_pb2.TaskRef(task_id=task_id), task_info)


def cancel(task_id: str) -> Call[TaskInfo]:
    """Ask for a task's end."""
    return Call("CancelTask", scheduler_pb2.TaskRef(task_id=task_id), task_info)


def list_tasks(
    states: Sequence[str],
    user_id: str,
    worker_id: str,
    task_type: str,
    text: str,
    sla: str,
    order: str,
    page_size: int,
    token: str,
) -> Call[TaskPage]:
    """Read one page; the answer has the next page's token, empty after the last."""
    request = scheduler_pb2.ListTasksRequest(
        states=[_choice("states", state.lower(), _STATES) for state in states],
        user_id=user_id,
        worker_id=worker_id,
        task_type=task_type,
        text=text,
        sla=_choice("sla", sla, _SLA),
        order=_choice("order", order, _ORDERS),
        page_size=page_size,
        page_token=token,
    )
    return Call("ListTasks", request, _task_page)


def list_workers(
    states: Sequence[str], text: str, order: str, descending: bool, page_size: int, token: str
) -> Call[WorkerPage]:
    """Read one page of the workers; of size 0: all of them."""
    request = scheduler_pb2.ListWorkersRequest(
        states=states,
        text=text,
        order=_choice("order", order, _WORKER_ORDERS),
        descending=descending,
        page_size=page_size,
        page_token=token,
    )
    return Call("ListWorkers", request, _worker_page)


def learning() -> Call[LearningState]:
    """Ask how learning goes."""
    return Call("GetLearning", scheduler_pb2.LearningRequest(), _learning)


def timeline(since: float, until: float, buckets: int, by_type: bool) -> Call[Timeline]:
    """Read what was counted over time."""
    request = scheduler_pb2.TimelineRequest(since=since, until=until, buckets=buckets, by_type=by_type)
    return Call("GetTimeline", request, _timeline)


def drain(worker_id: str, drain: bool) -> Call[WorkerInfo]:
    """Drain a worker, or take that back."""
    request = scheduler_pb2.DrainWorkerRequest(worker_id=worker_id, drain=drain)
    return Call("DrainWorker", request, _worker)


def explain(task_id: str) -> Call[Explanation]:
    """Ask why."""
    return Call("Explain", scheduler_pb2.TaskRef(task_id=task_id), _explanation)


def plan(spec: TaskSpec) -> Call[Plan]:
    """Ask where a task would go."""
    return Call("Plan", _spec(spec), _plan)


def stats() -> Call[ClusterStats]:
    """Read the cluster's numbers."""
    return Call(
        "GetClusterStats",
        scheduler_pb2.ClusterStatsRequest(),
        lambda reply: _flat(
            ClusterStats,
            reply,
            tau=dict(reply.tau),
            workers=dict(reply.workers),
            queue_reasons=tuple((each.reason, each.tasks) for each in reply.queue_reasons),
        ),
    )


def get_params(version: int) -> Call[ParamsVersion]:
    """Read the parameters of a version; 0 is the one in use."""
    return Call("GetParams", scheduler_pb2.ParamsRef(version=version), _params_version)


def list_params(limit: int) -> Call[list[ParamsVersion]]:
    """Read the newest versions; 0 is all."""
    request = scheduler_pb2.ListParamsVersionsRequest(limit=limit)
    return Call("ListParamsVersions", request, lambda reply: list(map(_params_version, reply.versions)))


def roll_back(version: int) -> Call[ParamsVersion]:
    """Use the parameters of a version again."""
    return Call("RollbackParams", scheduler_pb2.ParamsRef(version=version), _params_version)


def train() -> Call[EpochOutcome]:
    """Run an epoch of learning."""
    return Call("Train", scheduler_pb2.TrainRequest(), _epoch_outcome, TRAIN_TIMEOUT_S)


def watch(task_ids: Iterable[str]) -> scheduler_pb2.WatchTasksRequest:
    """The request of a watch."""
    return scheduler_pb2.WatchTasksRequest(task_ids=task_ids)


class LogReading:
    """How far a reader of a task's output is: what it asks for when it has to ask again."""

    def __init__(self, task_id: str, follow: bool) -> None:
        self.request = cluster_pb2.TaskLogRequest(task_id=task_id, follow=follow)

    def take(self, chunk: cluster_pb2.LogChunk) -> LogPiece:
        """Note a chunk, and return it as a piece."""
        self.request.attempt, self.request.offset = chunk.attempt, chunk.offset
        return LogPiece(
            text=chunk.content,
            attempt=chunk.attempt,
            offset=chunk.offset,
            missed=chunk.missed,
            state=chunk.status,
            last=chunk.is_complete,
        )


def log_text(piece: LogPiece) -> str:
    """The text of a piece, after a line that says what is missing before it."""
    return f"[{piece.missed} bytes are missing here]\n{piece.text}" if piece.missed else piece.text


class Outcomes:
    """Collects the last states of tasks that are waited for."""

    def __init__(self, task_ids: Iterable[str]) -> None:
        self._task_ids = list(task_ids)
        self._ended: dict[str, TaskInfo] = {}

    @property
    def open(self) -> list[str]:
        """The tasks that have not finished."""
        return [task_id for task_id in dict.fromkeys(self._task_ids) if task_id not in self._ended]

    def take(self, task: TaskInfo) -> None:
        """Note a state."""
        if task.finished:
            self._ended[task.task_id] = task

    def result(self) -> list[TaskInfo]:
        """All tasks in the order that was asked for."""
        return [self._ended[task_id] for task_id in self._task_ids]

    def late(self, timeout_s: float | None) -> CallTimeoutError:
        """What is raised when the time is over."""
        left, asked = self.open, len(self._task_ids)
        return CallTimeoutError(
            f"{len(left)} of {asked} tasks had not finished after {timeout_s} s, {left[0]} among them"
        )


# ---- messages ----


def _spec(spec: TaskSpec) -> scheduler_pb2.TaskSpec:
    fields = msgspec.structs.asdict(spec)
    fields["task_id"] = spec.task_id or new_task_id()
    return scheduler_pb2.TaskSpec(**fields)


def task_info(message: scheduler_pb2.TaskInfo) -> TaskInfo:
    """A task from the wire."""
    spec = message.spec
    return TaskInfo(
        **{name: getattr(spec, name) for name in TaskSpec.__struct_fields__},
        **{name: getattr(message, name) for name in _STATUS_FIELDS},
        state=scheduler_pb2.TaskState.Name(message.state).lower(),
        exit_code=message.exit_code if message.HasField("exit_code") else None,
        sla_success=message.sla_success if message.HasField("sla_success") else None,
        deadline_chance=message.deadline_chance if message.HasField("deadline_chance") else None,
    )


def _task_page(reply: scheduler_pb2.ListTasksReply) -> TaskPage:
    return TaskPage(
        tasks=tuple(map(task_info, reply.tasks)),
        next_page_token=reply.next_page_token,
        total=reply.total if reply.HasField("total") else None,
    )


def _worker(message: scheduler_pb2.WorkerState) -> WorkerInfo:
    return _flat(WorkerInfo, message, executors=tuple(message.executors))


def _worker_page(reply: scheduler_pb2.ListWorkersReply) -> WorkerPage:
    return WorkerPage(
        workers=tuple(map(_worker, reply.workers)), next_page_token=reply.next_page_token, total=reply.total
    )


def _course(messages: Iterable[scheduler_pb2.Generation]) -> tuple[Generation, ...]:
    return tuple(_flat(Generation, message) for message in messages)


def _past_epoch(message: scheduler_pb2.PastEpoch) -> PastEpoch:
    fitness = {
        name: getattr(message, name) if message.HasField(name) else None
        for name in ("candidate_fitness", "current_fitness")
    }
    return _flat(PastEpoch, message, course=_course(message.course), samples=dict(message.samples), **fitness)


def _learning(reply: scheduler_pb2.LearningState) -> LearningState:
    running = probation = None
    if reply.HasField("running"):
        running = _flat(RunningEpoch, reply.running, course=_course(reply.running.course))
    if reply.HasField("probation"):
        probation = _flat(Probation, reply.probation)
    return _flat(
        LearningState,
        reply,
        running=running,
        past=tuple(map(_past_epoch, reply.past)),
        probation=probation,
        model=tuple(_flat(ModelType, each) for each in reply.model),
    )


def _timeline(reply: scheduler_pb2.Timeline) -> Timeline:
    series = {
        each.task_type: tuple(_flat(TimelineBucket, bucket) for bucket in each.buckets)
        for each in reply.series
    }
    return _flat(Timeline, reply, series=series)


def _choice(field: str, value: str, known: Mapping[str, T]) -> T:
    try:
        return known[value]
    except KeyError:
        raise ValueError(f"{field}: {value!r} came; allowed are {', '.join(known)}") from None


def _params_version(message: scheduler_pb2.ParamsVersion) -> ParamsVersion:
    return _flat(
        ParamsVersion,
        message,
        params=msgspec.json.decode(message.params_json) if message.params_json else None,
        evidence=msgspec.json.decode(message.evidence_json or "{}"),
    )


def _epoch_outcome(message: scheduler_pb2.TrainReply) -> EpochOutcome:
    return EpochOutcome(
        verdict=message.verdict,
        reason=message.reason,
        version=_params_version(message.version),
        evidence=msgspec.json.decode(message.evidence_json or "{}"),
    )


_STATUS_FIELDS = tuple(
    name
    for name in TaskInfo.__struct_fields__
    if name not in (*TaskSpec.__struct_fields__, "state", "exit_code", "sla_success", "deadline_chance")
)


def _outcome(outcome: scheduler_pb2.SubmitOutcome) -> TaskInfo | SubmitError:
    if outcome.HasField("task"):
        return task_info(outcome.task)
    code = next((c.name for c in grpc.StatusCode if c.value[0] == outcome.error.code), "UNKNOWN")
    return SubmitError(code, outcome.error.message)


def _explanation(reply: scheduler_pb2.Explanation) -> Explanation:
    placement = None
    if reply.HasField("placement"):
        record = reply.placement
        placement = _flat(PlacementRecord, record, risk=record.risk if record.HasField("risk") else None)
    return Explanation(
        task=task_info(reply.task),
        summary=reply.summary,
        rows=tuple(_flat(ExplanationRow, row) for row in reply.rows),
        placement=placement,
        decision=_decision(reply.decision) if reply.HasField("decision") else None,
        waiting=_waiting(reply.waiting) if reply.HasField("waiting") else None,
    )


def _decision(message: scheduler_pb2.Decision) -> Decision:
    return _flat(
        Decision,
        message,
        candidates=tuple(_flat(Candidate, candidate) for candidate in message.candidates),
        margin=message.margin if message.runner_up else None,
        fitting=message.fitting if message.HasField("fitting") else None,
        lacking=dict(message.lacking),
    )


def _waiting(message: scheduler_pb2.Waiting) -> Waiting:
    return _flat(
        Waiting,
        message,
        ahead_ids=tuple(message.ahead_ids),
        lacks=tuple(_flat(WorkerLack, lack) for lack in message.lacks),
        lacking=dict(message.lacking),
    )


def _plan(reply: scheduler_pb2.PlanReply) -> Plan:
    return _flat(
        Plan,
        reply,
        task=task_info(reply.task),
        decision=_decision(reply.decision) if reply.HasField("decision") else None,
        waiting=_waiting(reply.waiting) if reply.HasField("waiting") else None,
    )


S = TypeVar("S", bound=msgspec.Struct)


def _flat(kind: type[S], message: Message, **known: Any) -> S:
    """A record whose fields are named as the message's; `known` are those that need more than reading."""
    names = (name for name in kind.__struct_fields__ if name not in known)
    return kind(**{name: getattr(message, name) for name in names}, **known)
