"""As `convert`, for what explains: why a task is where it is, and where one would go."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain, islice

from master.convert import placement, task_info
from master.decisions import Choice, choice
from master.members import NAMES
from master.plans import Plan
from master.records import AttemptRecord
from master.status import TaskExplanation
from master.waiting import Waiting
from rtscore.explain import WorkerTerms
from rtscore.rpc import scheduler_pb2

# Whoever wants to see more workers lists them.
ROWS_MAX = 50

_UNRANKED = {
    "round-robin": "round-robin chose it: the next worker in turn that fits, without a ranking",
    "planner": "an outside planner proposed it; our scheduler ranked nothing",
    "rts": "what it was chosen from was not recorded: it was placed by an earlier version",
}


def explanation(
    info: scheduler_pb2.TaskInfo,
    answer: TaskExplanation,
    attempts: Sequence[AttemptRecord],
    may_see: Callable[[str], bool],
) -> scheduler_pb2.Explanation:
    """Why a task is where it is, with at most `ROWS_MAX` workers: candidates, best first, then the others.

    `may_see` says whether the caller may see the tasks of a user.
    """
    rows: Iterable[WorkerTerms] = ()
    if answer.ranking is not None:
        candidates = answer.ranking.ranking(ROWS_MAX)
        ranked = {row.slot for row in candidates}
        rows = chain(candidates, (row for row in answer.ranking if row.slot not in ranked))
    current = _current(info, attempts)
    return scheduler_pb2.Explanation(
        task=info,
        summary=answer.summary,
        rows=[_row(row) for row in islice(rows, ROWS_MAX)],
        placement=None if current is None else placement(current),
        decision=None if current is None else _decision(current),
        waiting=None if answer.waiting is None else _waiting(answer.waiting, may_see),
    )


def plan_reply(plan: Plan, may_see: Callable[[str], bool]) -> scheduler_pb2.PlanReply:
    """What would become of a task; `may_see` as in `explanation`."""
    return scheduler_pb2.PlanReply(
        task=task_info(plan.task, plan.prediction),
        worker_id="" if plan.attempt is None else plan.attempt.worker_id,
        summary=plan.summary,
        verdict=plan.verdict.value,
        decision=None if plan.attempt is None else _decision(plan.attempt),
        waiting=None if plan.waiting is None else _waiting(plan.waiting, may_see),
    )


def _current(info: scheduler_pb2.TaskInfo, attempts: Sequence[AttemptRecord]) -> AttemptRecord | None:
    """The attempt that runs or ran last when the task was looked at; others may have been read since."""
    if info.state == scheduler_pb2.QUEUED:
        return None
    # Finished tasks of the existing cluster do not say which it was.
    found = [record for record in attempts if info.attempt in (0, record.attempt)]
    return found[-1] if found else None


def _decision(record: AttemptRecord) -> scheduler_pb2.Decision:
    message = scheduler_pb2.Decision(
        decided_at=record.assigned_at, worker_id=record.worker_id, source=record.source
    )
    if record.decision is None:
        message.note = _UNRANKED.get(record.source, f"{record.source or 'whoever placed it'} left no record")
    elif (chosen := choice(record.decision)) is None:
        message.note = "what it was chosen from was recorded by another version, and cannot be read"
    else:
        _fill(message, chosen)
    return message


def _fill(message: scheduler_pb2.Decision, chosen: Choice) -> None:
    message.workers = chosen.workers
    if chosen.fitting is not None:
        message.fitting = chosen.fitting
    if chosen.fit is not None:
        message.closed = chosen.fit.closed
        message.lacking.update(_counts(chosen.fit.lacking))
    message.tau, message.slack_s = chosen.tau, chosen.slack_s
    message.alpha, message.beta = chosen.alpha, chosen.beta
    message.params_version = chosen.params_version
    for term in chosen.candidates:
        message.candidates.add(
            worker_id=term.worker_id,
            predicted_runtime_s=term.runtime_s,
            lateness_s=chosen.lateness_s(term),
            load=term.load,
            affinity=term.affinity,
            penalty=term.penalty,
            risk=term.risk,
        )
    if len(chosen.candidates) > 1:
        best, second = chosen.candidates[:2]
        message.runner_up, message.margin = second.worker_id, second.risk - best.risk


def _waiting(waits: Waiting, may_see: Callable[[str], bool]) -> scheduler_pb2.Waiting:
    return scheduler_pb2.Waiting(
        why=waits.why,
        ahead=waits.ahead,
        ahead_ids=[task_id for task_id, user_id in waits.first if may_see(user_id)],
        hopeless=waits.hopeless,
        reserved_worker=waits.reserved_worker,
        workers=waits.workers,
        lacks=[
            scheduler_pb2.WorkerLack(
                worker_id=lack.worker_id, why=lack.why, **dict(zip(NAMES, lack.missing, strict=True))
            )
            for lack in waits.lacks
        ],
        lacking=_counts(waits.lacking),
        closed=waits.closed,
    )


def _counts(lacking: Sequence[int]) -> dict[str, int]:
    return {name: count for name, count in zip(NAMES, lacking, strict=True) if count}


def _row(row: WorkerTerms) -> scheduler_pb2.ExplanationRow:
    return scheduler_pb2.ExplanationRow(
        worker_id=row.worker_id,
        feasible=row.feasible,
        lacks=", ".join(row.lacks),
        predicted_runtime_s=row.runtime_s,
        lateness_s=row.lateness_s,
        load=row.load,
        affinity=row.affinity,
        penalty=row.penalty,
        risk=row.risk,
    )
