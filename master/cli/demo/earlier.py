"""What earlier runs left in the directory that a demo is run in again."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import msgspec


class EarlierRun(msgspec.Struct, frozen=True):
    """The last run before this one: its number, how many tasks were in time, how many ended per worker."""

    number: int
    sla_met: int
    tasks: Mapping[str, int]


def user_of(run: int) -> str:
    """The user whose tasks those of a run are."""
    return f"demo-{run}"


def last_run(store: Path) -> EarlierRun | None:
    """The last run on a store; None when there is no such file or no run in it.

    Raises
    ------
    sqlite3.DatabaseError
        When the file is no store.
    """
    if not store.exists():
        return None
    with closing(sqlite3.connect(f"{store.absolute().as_uri()}?mode=ro", uri=True)) as rows:
        users = rows.execute("SELECT DISTINCT user_id FROM tasks WHERE user_id LIKE 'demo-%'")
        number = max((int(user.removeprefix("demo-")) for (user,) in users), default=0)
        if not number:
            return None
        tasks = rows.execute(
            "SELECT results.worker_id, count(*), sum(results.sla_success)"
            " FROM results JOIN tasks USING (task_id) WHERE user_id = ? GROUP BY results.worker_id",
            (user_of(number),),
        ).fetchall()
    return EarlierRun(
        number, sum(met for _, _, met in tasks), {worker_id: count for worker_id, count, _ in tasks}
    )
