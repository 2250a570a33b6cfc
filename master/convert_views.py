"""As `convert`, for what people look at: workers in pages, the cluster in numbers, learning, timelines."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import msgspec

from master.convert import PAGE_MAX, decode_token, encode_token, worker_state
from master.epoch_log import PastEpoch, RunningEpoch
from master.epochs import EpochProgress
from master.errors import InvalidRequestError
from master.learning import Learning
from master.members import STATES
from master.overview import Overview
from master.probation import NEEDED, Probation
from master.records import TaskState
from master.roster import PAGE_KEY, WorkerOrder, WorkerQuery
from master.status import WorkerStatus
from master.timed import DecisionLatency
from master.timeline import BUCKETS, BUCKETS_MAX, WINDOW_S, Timeline
from master.validate import check_search
from rtscore.rpc import scheduler_pb2
from rtscore.runtime_model import RuntimeModel

WORKER_STATES = frozenset({*STATES, "lost"})
# The year 2286: beyond it an instant is a mistake, and its arithmetic meets the ends of dates.
LATEST = 1e10

_cursor = msgspec.json.Decoder(PAGE_KEY)


# ---- workers ----


def worker_query(request: scheduler_pb2.ListWorkersRequest) -> WorkerQuery:
    """A page of the workers.

    Raises
    ------
    InvalidRequestError
        When a state, the order, the page size or the page token cannot be.
    """
    if unknown := sorted(set(request.states) - WORKER_STATES):
        allowed = ", ".join(sorted(WORKER_STATES))
        raise InvalidRequestError("states", f"{unknown[0][:64]!r} came; allowed are {allowed}")
    if request.page_size > PAGE_MAX:
        raise InvalidRequestError("page_size", f"{request.page_size} came; at most {PAGE_MAX} is allowed")
    try:
        order = WorkerOrder(request.order)
    except ValueError:
        allowed = ", ".join(f"{each.value} ({each.name.lower()})" for each in WorkerOrder)
        raise InvalidRequestError("order", f"{request.order} came; allowed are {allowed}") from None
    check_search("text", request.text)
    return WorkerQuery(
        request.page_size or None,
        decode_token(request.page_token, _cursor) if request.page_token else None,
        frozenset(request.states),
        request.text,
        order,
        request.descending,
    )


def worker_page(
    workers: Iterable[WorkerStatus], after: PAGE_KEY | None, total: int
) -> scheduler_pb2.ListWorkersReply:
    """A page of the workers."""
    return scheduler_pb2.ListWorkersReply(
        workers=map(worker_state, workers),
        next_page_token="" if after is None else encode_token(after),
        total=total,
    )


# ---- the cluster in numbers ----


class Counters(msgspec.Struct, frozen=True):
    """What the master has counted since it started."""

    submitted: int
    finished: int
    sla_met: int
    sla_missed: int


def cluster_stats(
    scheduler: str,
    counts: Mapping[TaskState, int],
    latency: DecisionLatency,
    tau: Mapping[str, float],
    started_at: float,
    params_version: int,
    overview: Overview,
    queue_reasons: Iterable[tuple[str, int]],
    counters: Counters,
    now: float,
) -> scheduler_pb2.ClusterStats:
    """The cluster in numbers."""
    total, free = overview.total, overview.free
    return scheduler_pb2.ClusterStats(
        scheduler=scheduler,
        **{state.value: counts.get(state, 0) for state in TaskState},
        decisions=latency.decisions,
        fallbacks=latency.fallbacks,
        decision_p50_us=latency.p50_us,
        decision_p99_us=latency.p99_us,
        tau=tau,
        started_at=started_at,
        params_version=params_version,
        total_cpu=total[0],
        total_memory=total[1],
        total_gpu=total[2],
        total_storage=total[3],
        cpu_avail=free[0],
        memory_avail=free[1],
        gpu_avail=free[2],
        storage_avail=free[3],
        workers=overview.workers,
        queued_reserved=overview.waiting["reserved"],
        queued_parked=overview.waiting["refused"],
        queued_hopeless=overview.hopeless,
        queue_reasons=[scheduler_pb2.QueueReason(reason=r, tasks=n) for r, n in queue_reasons],
        submitted_since_start=counters.submitted,
        finished_since_start=counters.finished,
        sla_met_since_start=counters.sla_met,
        sla_missed_since_start=counters.sla_missed,
        now=now,
    )


# ---- learning ----


def learning_state(learning: Learning, model: RuntimeModel | None) -> scheduler_pb2.LearningState:
    """How learning goes."""
    epochs, probation = learning.epochs, learning.probation
    return scheduler_pb2.LearningState(
        running=None if epochs.running is None else _running(epochs.running),
        past=map(_past, reversed(epochs.past)),
        probation=None if probation is None else _probation(probation),
        epoch_interval_s=learning.epoch_interval_s,
        next_epoch_at=learning.next_epoch_at,
        new_outcomes=learning.new_outcomes,
        params_version=learning.versions.number,
        held_back=learning.held_back(),
        model=[] if model is None else _model(model),
        trainer_failures=epochs.trainer_failures,
    )


def _running(epoch: RunningEpoch) -> scheduler_pb2.RunningEpoch:
    return scheduler_pb2.RunningEpoch(
        started_at=epoch.started_at,
        generations=epoch.generations,
        course=_course(epoch.course),
        requested=epoch.requested,
    )


def _past(epoch: PastEpoch) -> scheduler_pb2.PastEpoch:
    evidence = epoch.evidence
    candidate, current = evidence.get("candidate") or {}, evidence.get("current") or {}
    return scheduler_pb2.PastEpoch(
        started_at=epoch.started_at,
        duration_s=epoch.duration_s,
        verdict=epoch.verdict,
        reason=epoch.reason,
        requested=epoch.requested,
        params_version=epoch.params_version,
        course=_course(epoch.course),
        samples=epoch.samples,
        records=evidence.get("records", 0),
        usable=evidence.get("usable", 0),
        candidate_fitness=candidate.get("fitness"),
        current_fitness=current.get("fitness"),
    )


def _course(course: Iterable[EpochProgress]) -> list[scheduler_pb2.Generation]:
    return [
        scheduler_pb2.Generation(
            number=each.generation,
            best=math.nan if each.best is None else each.best,
            mean=math.nan if each.mean is None else each.mean,
        )
        for each in course
    ]


def _probation(probation: Probation) -> scheduler_pb2.ProbationState:
    return scheduler_pb2.ProbationState(
        seen=probation.seen,
        needed=NEEDED,
        met=probation.met,
        promised=probation.promised,
        bar=probation.bar,
        since=probation.since,
    )


def _model(model: RuntimeModel) -> list[scheduler_pb2.ModelType]:
    return [
        scheduler_pb2.ModelType(
            task_type=name, records=known.records, workers=len(known.slowdown), base_s=known.base_s
        )
        for name, known in sorted(model.types.items())
    ]


# ---- timelines ----


def timeline_span(request: scheduler_pb2.TimelineRequest, now: float) -> tuple[float, float, int]:
    """From when to when, in Unix seconds, and in how many buckets.

    Raises
    ------
    InvalidRequestError
        When an instant or the number of buckets cannot be.
    """
    if request.buckets > BUCKETS_MAX:
        raise InvalidRequestError("buckets", f"{request.buckets} came; at most {BUCKETS_MAX} are allowed")
    for name in ("since", "until"):
        at = getattr(request, name)
        if not 0.0 <= at <= LATEST:
            raise InvalidRequestError(name, f"{at!r} came; Unix seconds from 0 to {LATEST:.0f} are allowed")
    until = request.until or now
    since = request.since or max(0.0, until - WINDOW_S)
    if not until - since >= 1.0:
        raise InvalidRequestError("until", f"{until - since:.3g} s after since; at least 1 s is allowed")
    return since, until, request.buckets or BUCKETS


def timeline(found: Timeline, *, by_type: bool) -> scheduler_pb2.Timeline:
    """What was counted, of all types together first."""
    names = sorted(found.series) if by_type else [""]
    return scheduler_pb2.Timeline(
        since=found.since,
        until=found.until,
        bucket_s=found.bucket_s,
        counted_since=found.counted_since,
        series=[
            scheduler_pb2.TimelineSeries(
                task_type=name,
                buckets=[
                    scheduler_pb2.TimelineBucket(**msgspec.structs.asdict(b)) for b in found.series[name]
                ],
            )
            for name in names
        ],
    )
