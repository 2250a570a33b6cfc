"""A history with something to learn in it, in memory and in a store."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from aod.history import History
from aod.replay import Machines, Replayer
from aod.workloads import make_machines, make_workload
from master.events import InsertAttempt, InsertResult, InsertTask, Write
from master.records import (
    AttemptEnd,
    AttemptRecord,
    ResultRecord,
    Submission,
    TaskSpec,
    TaskState,
    TaskStatus,
)
from master.store.sqlite import SqliteStore


@cache
def machines() -> Machines:
    """Twenty workers of planted speeds."""
    return make_machines(20, 1)


def totals() -> dict[str, tuple[float, float, float, float]]:
    """What each of them has."""
    at = machines()
    return dict(zip(at.worker_ids, map(tuple, at.totals.tolist()), strict=True))  # type: ignore[arg-type]


@cache
def recorded(n: int = 3000, seed: int = 1) -> History:
    """What the default parameters made of a workload on them."""
    return Replayer(machines(), make_workload(n, machines(), 0.8, seed)).run().history()


def writes(history: History, shift_s: float = 0.0, prefix: str = "") -> list[Write]:
    """The rows that a master would have written for this history, `shift_s` later."""
    found: list[Write] = []
    for row in history.rows():
        task_id, started = prefix + row.task_id, (row.actual_start or 0.0) + shift_s
        finished = (row.actual_finish or 0.0) + shift_s
        submission = Submission(
            task_id, cpu=row.cpu_used or 0.0, memory=row.memory_used or 0.0, gpu=row.gpu_used or 0.0
        )
        arrival, deadline = (row.arrival or 0.0) + shift_s, (row.deadline or 0.0) + shift_s
        spec = TaskSpec(submission, row.type, row.tau or 0.0, row.sla_multiplier or 0.0, arrival, deadline)
        runtime = row.actual_runtime_s or 0.0
        status = TaskStatus(
            TaskState.COMPLETED, 1, row.worker_id, started, started, finished, runtime, 0, row.sla_success
        )
        available = (row.cpu_available or 0.0, row.memory_available or 0.0, row.gpu_available or 0.0)
        load = row.load_at_start or 0.0
        attempt = AttemptRecord(
            *(task_id, 1, row.worker_id, started, load, *available, "rts", None),
            ended_at=finished,
            end=AttemptEnd.COMPLETED,
        )
        result = ResultRecord(
            task_id, 1, row.worker_id, row.succeeded, 0, started, finished, runtime, row.sla_success
        )
        found += [InsertTask(spec, status), InsertAttempt(attempt), InsertResult(result)]
    return found


async def write_history(path: Path, history: History, shift_s: float = 0.0, prefix: str = "") -> None:
    """Put a history into a store that no master has open."""
    store = SqliteStore(path)
    await store.open()
    try:
        await store.commit(writes(history, shift_s, prefix))
    finally:
        await store.close()
