"""Whether the store, read by itself once the master has stopped, tells the same as the master did."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from master.cli.demo.report import Report
    from rtscore.client import TaskInfo


def differences(
    store: Path, report: Report, told: Sequence[TaskInfo], user_id: str, alone: bool = True
) -> list[str]:
    """Sentences, one for each way in which the stored rows differ from what the master told.

    Parameters
    ----------
    store : Path
        The SQLite file; no master has it open.
    report : Report
        The figures to check; what they say of SLAs is computed again from finish and deadline.
    told : sequence of TaskInfo
        Every task of the run, as the master told it.
    user_id : str
        Whose tasks are those of the run.
    alone : bool
        Whether nothing but the run can have happened on the cluster since the report; else expected runtimes
        and parameters, which every task and every hand may have moved, are not compared.
    """
    with closing(sqlite3.connect(f"{store.absolute().as_uri()}?mode=ro", uri=True)) as rows:
        return [
            *_of_tasks(rows, told, user_id),
            *_of_workers(rows, report, user_id),
            *(_of_tau(rows, report) if alone else ()),
            *(_of_params(rows, report) if alone else ()),
        ]


def _of_tasks(rows: sqlite3.Connection, told: Sequence[TaskInfo], user_id: str) -> Iterator[str]:
    stored = {
        task_id: outcome
        for task_id, *outcome in rows.execute(
            "SELECT tasks.task_id, status, results.attempt, results.worker_id, deadline,"
            " results.completed_at, success, results.sla_success"
            " FROM tasks LEFT JOIN results USING (task_id) WHERE user_id = ?",
            (user_id,),
        )
    }
    for missing in sorted(stored.keys() ^ {task.task_id for task in told}):
        yield f"{missing} is known to only one of the store and the master."
    for task in told:
        if task.task_id not in stored:
            continue
        state, attempt, worker_id, deadline, finished_at, success, met = stored[task.task_id]
        if (state, attempt, worker_id) != (task.state, task.attempt, task.worker_id):
            yield (
                f"{task.task_id}: the store has {state}, attempt {attempt} on {worker_id}; the master told "
                f"{task.state}, attempt {task.attempt} on {task.worker_id}."
            )
        elif (
            finished_at is not None
            and len({bool(success) and finished_at <= deadline, bool(met), task.sla_success}) > 1
        ):
            yield (
                f"{task.task_id}: {state} at {finished_at} with deadline {deadline}; the store has "
                f"SLA met {bool(met)}, the master told {task.sla_success}."
            )
    (open_attempts,) = rows.execute(
        "SELECT count(*) FROM assignments JOIN tasks USING (task_id) WHERE ended_at IS NULL AND user_id = ?",
        (user_id,),
    ).fetchone()
    if open_attempts:
        yield f"{open_attempts} placements still hold their worker."


def _of_workers(rows: sqlite3.Connection, report: Report, user_id: str) -> Iterator[str]:
    met: Counter[str] = Counter()
    ran: Counter[str] = Counter()
    for worker_id, in_time in rows.execute(
        "SELECT results.worker_id, success AND results.completed_at <= deadline"
        " FROM results JOIN tasks USING (task_id) WHERE user_id = ?",
        (user_id,),
    ):
        ran[worker_id] += 1
        met[worker_id] += in_time
    for line in report.workers:
        if (ran[line.worker_id], met[line.worker_id]) != (line.tasks, line.sla_met):
            yield (
                f"{line.worker_id}: the store has {met[line.worker_id]} of {ran[line.worker_id]} in time, "
                f"the master told {line.sla_met} of {line.tasks}."
            )
    if sum(met.values()) != report.sla_met:
        yield f"The store has {sum(met.values())} tasks in time, the report {report.sla_met}."


def _of_tau(rows: sqlite3.Connection, report: Report) -> Iterator[str]:
    stored = dict(rows.execute("SELECT task_type, tau FROM tau_store"))
    for line in report.types:
        if line.tasks and stored.get(line.task_type) != line.tau_after:
            yield f"tau of {line.task_type}: stored {stored.get(line.task_type)}, told {line.tau_after}."


def _of_params(rows: sqlite3.Connection, report: Report) -> Iterator[str]:
    stored = rows.execute("SELECT max(version) FROM params_versions").fetchone()[0]
    told = report.learning.version_after if report.learning is not None else stored
    if stored != told:
        yield f"parameters: stored version {stored}, told {told}."
