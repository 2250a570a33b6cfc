"""The demo's judge finds every way in which the store and what the master told can differ."""

from __future__ import annotations

import contextlib
import sqlite3
from itertools import chain
from pathlib import Path

import msgspec
import pytest
from client_samples import STATS, TASK

from master.cli.demo.report import Report, TypeLine, WorkerLine, make_report
from master.cli.demo.verify import differences
from master.cli.demo.workload import DemoWorker
from master.store.schema import ATTEMPT_COLUMNS, MIGRATIONS, RESULT_COLUMNS, TASK_COLUMNS
from rtscore.client import ClusterStats, TaskInfo

# Two tasks on `w`: one in time, one a second late.
DEADLINES = {"early": 20.0, "late": 9.0}
FINISHED_AT = 10.0


def told(task_id: str) -> TaskInfo:
    return msgspec.structs.replace(
        TASK,
        task_id=task_id,
        task_type="mixed",
        deadline=DEADLINES[task_id],
        state="completed",
        attempt=1,
        worker_id="w",
        tau=10.0,
        submitted_at=1.0,
        assigned_at=2.0,
        started_at=3.0,
        finished_at=FINISHED_AT,
        runtime_s=7.0,
        exit_code=0,
        sla_success=DEADLINES[task_id] >= FINISHED_AT,
    )


def stats(tau: float) -> ClusterStats:
    return msgspec.structs.replace(
        STATS,
        completed=2,
        decisions=2,
        decision_p50_us=1.0,
        decision_p99_us=2.0,
        tau={"mixed": tau},
        started_at=0.0,
    )


TOLD = [told(task_id) for task_id in DEADLINES]
REPORT = make_report(
    TOLD, [DemoWorker("w", 4.0, 8.0, 0.0)], stats(10.0), stats(9.4), elapsed_s=9.0, ready_s=1.0
)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "rts.db"
    with contextlib.closing(sqlite3.connect(path)) as rows, rows:
        for statement in chain.from_iterable(MIGRATIONS):
            rows.execute(statement)
        for task in TOLD:
            values = {
                **dict.fromkeys(TASK_COLUMNS.replace(",", "").split(), 0),
                **{"task_id": task.task_id, "status": task.state, "attempt": 1, "worker_id": "w"},
                "user_id": "demo-1",
                "success": True,
                **{"deadline": task.deadline, "completed_at": FINISHED_AT, "sla_success": task.sla_success},
            }
            insert(rows, "tasks", TASK_COLUMNS, values)
            insert(rows, "results", RESULT_COLUMNS, values)
            insert(
                rows,
                "assignments",
                ATTEMPT_COLUMNS,
                values | {"ended_at": FINISHED_AT, "outcome": "completed"},
            )
        rows.execute("INSERT INTO tau_store VALUES ('mixed', 9.4)")
    return path


def insert(rows: sqlite3.Connection, table: str, columns: str, values: dict[str, object]) -> None:
    names = [name.strip() for name in columns.split(",")]
    marks = ", ".join("?" for _ in names)
    rows.execute(f"INSERT INTO {table} ({columns}) VALUES ({marks})", [values.get(name, 0) for name in names])


def test_a_report_sums_up_per_worker_and_per_type() -> None:
    assert (REPORT.tasks, REPORT.completed, REPORT.sla_met, REPORT.attempts) == (2, 2, 1, 2)
    assert REPORT.workers == (WorkerLine("w", 4.0, 8.0, 0.0, tasks=2, sla_met=1, mean_runtime_s=7.0),)
    assert REPORT.types == (TypeLine("mixed", 2, 1, 7.0, tau_before=10.0, tau_after=9.4),)


def test_a_worker_without_tasks_has_no_mean_runtime() -> None:
    report = make_report(
        [], [DemoWorker("w", 4.0, 8.0, 0.0)], stats(10.0), stats(10.0), elapsed_s=1.0, ready_s=1.0
    )
    assert report.workers[0].mean_runtime_s is None


def test_a_store_that_agrees_has_no_differences(store: Path) -> None:
    assert differences(store, REPORT, TOLD, "demo-1") == []


def test_what_others_have_done_on_the_cluster_since_is_no_difference(store: Path) -> None:
    with contextlib.closing(sqlite3.connect(store)) as rows, rows:
        rows.execute("UPDATE tau_store SET tau = 5")
        other = {"task_id": "other", "user_id": "ada", "status": "running", "worker_id": "w", "attempt": 1}
        insert(rows, "tasks", TASK_COLUMNS, other)
        insert(rows, "assignments", ATTEMPT_COLUMNS, other | {"ended_at": None, "outcome": None})
    assert differences(store, REPORT, TOLD, "demo-1", alone=False) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("UPDATE results SET completed_at = 30 WHERE task_id = 'early'", "early: completed at 30.0"),
        ("UPDATE results SET success = 0 WHERE task_id = 'early'", "early: completed at 10.0"),
        ("UPDATE results SET sla_success = 1 WHERE task_id = 'late'", "late: completed at 10.0"),
        ("UPDATE tasks SET deadline = 11 WHERE task_id = 'late'", "w: the store has 2 of 2 in time"),
        ("UPDATE tasks SET status = 'failed' WHERE task_id = 'late'", "late: the store has failed"),
        ("UPDATE results SET worker_id = 'v' WHERE task_id = 'late'", "w: the store has 1 of 1 in time"),
        ("UPDATE results SET attempt = 2 WHERE task_id = 'late'", "attempt 2"),
        ("DELETE FROM results WHERE task_id = 'early'", "early: the store has completed, attempt None"),
        ("DELETE FROM tasks WHERE task_id = 'early'", "early is known to only one"),
        ("UPDATE assignments SET ended_at = NULL WHERE task_id = 'early'", "1 placements still hold"),
        ("UPDATE tau_store SET tau = 5", "tau of mixed: stored 5.0, told 9.4"),
    ],
)
def test_each_kind_of_difference_is_told(store: Path, change: str, said: str) -> None:
    with contextlib.closing(sqlite3.connect(store)) as rows, rows:
        assert rows.execute(change).rowcount == 1
    assert any(said in difference for difference in differences(store, REPORT, TOLD, "demo-1")), differences(
        store, REPORT, TOLD
    )


def test_a_task_that_the_master_did_not_tell_is_missed(store: Path) -> None:
    assert any(
        "late is known to only one" in difference
        for difference in differences(store, REPORT, TOLD[:1], "demo-1")
    )


def test_a_figure_that_was_told_wrong_is_found(store: Path) -> None:
    wrong: Report = msgspec.structs.replace(REPORT, sla_met=2)
    assert differences(store, wrong, TOLD, "demo-1") == ["The store has 1 tasks in time, the report 2."]
