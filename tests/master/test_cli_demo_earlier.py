"""What a demo finds of earlier runs in its directory."""

from __future__ import annotations

from pathlib import Path

from store_samples import insert, outcome

from master.cli.demo.earlier import EarlierRun, last_run, user_of
from master.store.sqlite import SqliteStore


def test_where_no_demo_ran_there_is_no_earlier_run(tmp_path: Path) -> None:
    assert last_run(tmp_path / "rts.db") is None
    assert list(tmp_path.iterdir()) == []


async def test_the_last_run_is_the_highest_and_its_tasks_are_counted_per_worker(tmp_path: Path) -> None:
    path = tmp_path / "rts.db"
    store = SqliteStore(path)
    await store.open()
    await store.commit([insert("other"), outcome("other")])
    assert last_run(path) is None
    for number, (run, worker) in enumerate(((9, "a"), (10, "a"), (10, "b"), (10, "b"))):
        task_id = f"t{number}"
        ended = outcome(task_id, worker_id=worker, sla_success=number != 2)
        await store.commit([insert(task_id, user_id=user_of(run)), ended])
    await store.close()
    assert last_run(path) == EarlierRun(10, 2, {"a": 1, "b": 2})
