"""The SQLite store as the fault tests see it: what a master is told, how it is taken away, what is in it."""

from __future__ import annotations

import contextlib
import resource
import sqlite3
from pathlib import Path

from proof import Records
from rts_processes import FULL, limit_files


class SqliteUnderTest:
    """A store file; another kind of store offers the same methods.

    Parameters
    ----------
    directory : Path
    """

    masters = 1
    blocked = "store locked"
    can_fill = True

    def __init__(self, directory: Path) -> None:
        self.path = directory / "rts.db"
        self._full = 0
        self._other: sqlite3.Connection | None = None

    def options(self) -> tuple[str, ...]:
        """What `rts master` is told."""
        return "--store", str(self.path)

    def block(self) -> None:
        """Let another program hold the write lock until `unblock`."""
        self._other = sqlite3.connect(self.path, isolation_level=None, timeout=10.0, check_same_thread=False)
        self._other.execute("BEGIN IMMEDIATE")

    def unblock(self) -> None:
        """Give the lock back."""
        assert self._other is not None
        self._other.rollback()
        self._other.close()
        self._other = None

    def fill(self, master: int) -> None:
        """Let no file of the master and its database processes grow, until `drain`."""
        self._full = master
        limit_files(master, FULL)

    def drain(self) -> None:
        """Give the space back."""
        limit_files(self._full, resource.RLIM_INFINITY)

    def records(self) -> Records:
        """Everything that matters in it, read by itself and read-only; the master has stopped."""
        with contextlib.closing(sqlite3.connect(f"{self.path.as_uri()}?mode=ro", uri=True)) as rows:
            return Records(
                tasks={
                    task: (state, attempt)
                    for task, state, attempt in rows.execute("SELECT task_id, status, attempt FROM tasks")
                },
                attempts=rows.execute("SELECT task_id, attempt, outcome FROM assignments").fetchall(),
                results=rows.execute("SELECT task_id, attempt, success FROM results").fetchall(),
            )
