"""One connection to the SQLite file: opens and checks it, commits runs of rows, reads rows in chunks."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias

from msgspec.structs import astuple

from master.records import TaskState
from master.store.base import StoreConflictError, StoreOpenError
from master.store.rows import Row, Runs
from master.store.schema import (
    APPLICATION_ID,
    ATTEMPT_COLUMNS,
    HISTORY_COLUMNS,
    MIGRATIONS,
    PARAMS_COLUMNS,
    RESULT_COLUMNS,
    TASK_COLUMNS,
    WORKER_COLUMNS,
)
from master.timeline import fold, wait_bin

Part: TypeAlias = tuple[str, list[Row]]

OLDEST_SQLITE = (3, 24, 0)
BUSY_S = 1.0
"""How long another program's write lock is waited for; nobody but us should write, so a guess at a hiccup."""
CHUNK_ROWS = 5000
CHECKPOINT_PAGES = 4000
"""16 MiB of log between checkpoints: 10 % more rows/s than the default 1,000 pages; more gains nothing."""

_LIVE = "('queued', 'assigned', 'running')"


def _insert(table: str, columns: str) -> str:
    return f"INSERT INTO {table} ({columns}) VALUES ({', '.join('?' * len(columns.split(',')))})"


STATEMENTS = {
    "insert_task": _insert("tasks", TASK_COLUMNS),
    "update_task": (
        "UPDATE tasks SET status = ?, attempt = ?, worker_id = ?, assigned_at = ?, started_at = ?,"
        " completed_at = ?, runtime_s = ?, exit_code = ?, sla_success = ?, reason = ? WHERE task_id = ?"
    ),
    "insert_attempt": _insert("assignments", ATTEMPT_COLUMNS),
    "end_attempt": "UPDATE assignments SET ended_at = ?, outcome = ? WHERE task_id = ? AND attempt = ?",
    "insert_result": _insert("results", RESULT_COLUMNS),
    "put_worker": _insert("worker_registry", WORKER_COLUMNS).replace("INSERT", "REPLACE", 1),
    "remove_worker": "DELETE FROM worker_registry WHERE worker_id = ?",
    "put_tau": "REPLACE INTO tau_store (task_type, tau) VALUES (?, ?)",
    "insert_params": _insert("params_versions", PARAMS_COLUMNS),
    "prune_params": (
        "DELETE FROM params_versions WHERE version <="
        " (SELECT version FROM params_versions ORDER BY version DESC LIMIT 1 OFFSET ?)"
    ),
}
"""What each kind of run executes for each of its rows."""

# From the outcomes of the window to the rest: left to itself SQLite may begin with the largest table.
HISTORY = (
    f"SELECT {HISTORY_COLUMNS} FROM results r INDEXED BY results_by_completion"
    " CROSS JOIN tasks t ON t.task_id = r.task_id"
    " CROSS JOIN assignments a ON a.task_id = r.task_id AND a.attempt = r.attempt"
    " WHERE r.completed_at >= ? AND r.completed_at < ? ORDER BY r.completed_at, r.task_id"
)

_STATES = [state.value for state in TaskState]
NEWEST_END = (
    "SELECT completed_at FROM tasks INDEXED BY tasks_by_completion WHERE completed_at > 0"
    " AND completed_at < ? ORDER BY completed_at DESC LIMIT 1 OFFSET ?"
)
SUBMITTED = (
    "SELECT min(CAST((created_at - ?) / ? AS INTEGER), ?) AS bucket, task_type, count(*)"
    " FROM tasks INDEXED BY tasks_by_status WHERE status = ? AND created_at >= ? AND created_at < ?"
    " GROUP BY bucket, task_type"
)
# A task that never started waited until its end.
ENDED = (
    "SELECT min(CAST((completed_at - ?) / ? AS INTEGER), ?) AS bucket, task_type, wait_bin(wait) AS bin,"
    " count(*), sum(status = 'failed'), sum(ifnull(sla_success, 0)), sum(wait),"
    " sum(max(0.0, completed_at - deadline))"
    " FROM (SELECT *, max(0.0, ifnull(nullif(started_at, 0.0), completed_at) - created_at) AS wait"
    " FROM tasks INDEXED BY tasks_by_completion WHERE completed_at > 0"
    " AND completed_at >= ? AND completed_at < ? AND status IN ('completed', 'failed'))"
    " GROUP BY bucket, task_type, bin"
)

_KEYS: dict[str, tuple[str, Callable[[Row], Row], str]] = {
    "insert_task": ("tasks WHERE task_id = ?", lambda row: row[:1], "task {!r}"),
    "update_task": ("tasks WHERE task_id = ?", lambda row: row[-1:], "task {!r}"),
    "insert_attempt": (
        "assignments WHERE task_id = ? AND attempt = ?",
        lambda row: row[:2],
        "attempt {1} of task {0!r}",
    ),
    "end_attempt": (
        "assignments WHERE task_id = ? AND attempt = ?",
        lambda row: row[-2:],
        "attempt {1} of task {0!r}",
    ),
    "insert_result": ("results WHERE task_id = ?", lambda row: row[:1], "the result of task {!r}"),
    "insert_params": ("params_versions WHERE version = ?", lambda row: row[:1], "parameter version {}"),
}


class Database:
    """A connection for one thread, either the one that writes or one that only reads.

    Parameters
    ----------
    path
        The file; the writer creates it, a reader needs it.
    write
        Whether to create, migrate and commit.

    Raises
    ------
    StoreOpenError
        When the file is not ours, is damaged, is of a newer version, or cannot be opened.
    """

    def __init__(self, path: Path, *, write: bool) -> None:
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            raise StoreOpenError(f"SQLite {sqlite3.sqlite_version} is too old; 3.24 or newer is needed")
        try:
            # A reader must not leave an empty file where it found none.
            uri = f"{path.absolute().as_uri()}?mode={'rwc' if write else 'rw'}"
            self._connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=BUSY_S)
        except sqlite3.Error as error:
            raise StoreOpenError(f"cannot open {path}: {error}") from error
        try:
            self._configure()
            if write:
                self._migrate(path)
            else:
                self._value("PRAGMA query_only = ON")
            self.number: int = self._value("SELECT number FROM commits")
        except sqlite3.Error as error:
            self._connection.close()
            raise StoreOpenError(f"cannot use {path} as a store: {error}") from error
        except StoreOpenError:
            self._connection.close()
            raise

    def close(self) -> None:
        """Let go of the file; the last connection to it also empties the log."""
        self._connection.close()

    def commit(self, number: int, runs: Runs) -> None:
        """Write all of the runs, durably, or nothing.

        Raises
        ------
        StoreConflictError
            When a row to insert exists or a row to change does not; it names the first one.
        ValueError
            When a value cannot be stored.
        sqlite3.Error
            When SQLite cannot write.
        """
        connection = self._connection
        kind, rows = "", list[Row]()
        try:
            connection.execute("BEGIN IMMEDIATE")
            for kind, rows in runs:
                changed = connection.executemany(STATEMENTS[kind], rows).rowcount
                if changed != len(rows) and kind in ("update_task", "end_attempt"):
                    raise StoreConflictError(self._culprit(kind, rows, exists=False))
            connection.execute("UPDATE commits SET number = ?", (number,))
            connection.execute("COMMIT")
        except BaseException as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            if isinstance(error, OverflowError):
                raise ValueError(f"{kind}: an integer of more than 64 bits cannot be stored") from error
            if not isinstance(error, sqlite3.IntegrityError):
                raise
            if "NOT NULL" in str(error):
                raise ValueError(f"{kind}: NaN or None where a value is needed ({error})") from error
            raise StoreConflictError(self._culprit(kind, rows, exists=True)) from error
        self.number = number

    def load(self) -> Iterator[Part]:
        """What `Snapshot` holds, table by table, as of one instant."""
        selects = {
            "tasks": (
                f"SELECT {TASK_COLUMNS} FROM tasks WHERE status IN {_LIVE} OR task_id IN"
                " (SELECT task_id FROM assignments WHERE ended_at IS NULL) ORDER BY created_at, task_id"
            ),
            "attempts": (
                f"SELECT {ATTEMPT_COLUMNS} FROM assignments WHERE ended_at IS NULL ORDER BY task_id, attempt"
            ),
            "workers": f"SELECT {WORKER_COLUMNS} FROM worker_registry ORDER BY worker_id",
            "tau": "SELECT task_type, tau FROM tau_store",
        }
        self._connection.execute("BEGIN")
        try:
            for name, sql in selects.items():
                yield from self._parts(name, sql, ())
        finally:
            self._connection.execute("ROLLBACK")

    def find_tasks(self, task_ids: list[str]) -> Iterator[Part]:
        """The rows of these tasks, those that exist, as of one instant."""
        sql = f"SELECT {TASK_COLUMNS} FROM tasks WHERE task_id = ?"
        self._connection.execute("BEGIN")
        try:
            for first in range(0, len(task_ids), CHUNK_ROWS):
                chunk = task_ids[first : first + CHUNK_ROWS]
                found = [self._connection.execute(sql, (task_id,)).fetchone() for task_id in chunk]
                yield "tasks", [row for row in found if row is not None]
        finally:
            self._connection.execute("ROLLBACK")

    def list_tasks(
        self,
        states: list[str],
        user_id: str,
        limit: int,
        after: tuple[float, str] | None,
        until: tuple[float, str] | None = None,
        searched: tuple[str, str, str, bool | None] = ("", "", "", None),
    ) -> Iterator[Part]:
        """Rows of tasks in these states, newest first; `searched` are worker, type, text and whether met."""
        worker_id, task_type, text, sla_success = searched
        found: list[tuple[str, Row]] = []
        if worker_id:
            found.append(("worker_id = ?", (worker_id,)))
        if task_type:
            found.append(("task_type = ?", (task_type,)))
        if sla_success is not None:
            found.append(("sla_success = ?", (sla_success,)))
        if text:
            # SQLite's lower() and `bytes.lower` know ASCII alone.
            part = text.encode().lower().decode()
            columns = ("task_id", "user_id", "command")
            found.append((" OR ".join(f"instr(lower({c}), ?) > 0" for c in columns), (part,) * 3))
        yield from self._listed("tasks", TASK_COLUMNS, states, user_id, limit, after, until, found)

    def list_position(
        self, states: list[str], user_id: str, after: tuple[float, str] | None, count: int
    ) -> Iterator[Part]:
        """The row (created_at, task_id) of the task that a listing comes to after `count` tasks, if any."""
        yield from self._listed(
            "positions", "created_at, task_id", states, user_id, count, after, None, [], skipped=count - 1
        )

    def _listed(
        self,
        name: str,
        columns: str,
        states: list[str],
        user_id: str,
        limit: int,
        after: tuple[float, str] | None,
        until: tuple[float, str] | None,
        found: list[tuple[str, Row]],
        *,
        skipped: int = 0,
    ) -> Iterator[Part]:
        if user_id:
            marks = ", ".join("?" * len(states))
            where, ranges = f"user_id <> '' AND user_id = ? AND status IN ({marks})", [(user_id, *states)]
            index = "tasks_by_user"
        else:
            where, ranges, index = "status = ?", [(state,) for state in states], "tasks_by_status"
        page = " ORDER BY created_at DESC, task_id DESC LIMIT ?"
        more: list[Any] = []
        if after is not None:
            where += " AND (created_at, task_id) < (?, ?)"
            more += after
        if until is not None:
            where += " AND (created_at, task_id) >= (?, ?)"
            more += until
        for condition, values in found:
            where += f" AND ({condition})"
            more += values
        select = f"SELECT * FROM (SELECT {columns} FROM tasks INDEXED BY {index} WHERE {where}{page})"
        sql = " UNION ALL ".join([select] * len(ranges)) + page + " OFFSET ?"
        arguments = [value for range_ in ranges for value in (*range_, *more, limit)]
        yield from self._parts(name, sql, (*arguments, limit - skipped, skipped))

    def attempts(self, task_id: str) -> Iterator[Part]:
        """Rows of the task's attempts, in order."""
        sql = f"SELECT {ATTEMPT_COLUMNS} FROM assignments WHERE task_id = ? ORDER BY attempt"
        yield from self._parts("attempts", sql, (task_id,))

    def result(self, task_id: str) -> Iterator[Part]:
        """The row of the task's outcome, if it has one."""
        yield from self._parts(
            "results", f"SELECT {RESULT_COLUMNS} FROM results WHERE task_id = ?", (task_id,)
        )

    def count_tasks(self) -> Iterator[Part]:
        """A row (state, number of tasks) for each state that occurs."""
        yield from self._parts("counts", "SELECT status, count(*) FROM tasks GROUP BY status", ())

    def history(self, since: float, until: float) -> Iterator[Part]:
        """Rows of `HISTORY_COLUMNS` of what finished in [since, until), oldest first."""
        yield from self._parts("history", HISTORY, (since, until))

    def timeline(self, since: float, until: float, buckets: int, most: int) -> Iterator[Part]:
        """The row (since,) of what counts, then a row of type and rows of `Bucket` for each type."""
        place = (since, (until - since) / buckets, buckets - 1)
        self._connection.execute("BEGIN")
        try:
            for _, rows in self.list_position(_STATES, "", (until, ""), most):
                since = max(since, math.nextafter(rows[0][0], math.inf))
            if (end := self._connection.execute(NEWEST_END, (until, most - 1)).fetchone()) is not None:
                since = max(since, math.nextafter(end[0], math.inf))
            submitted = chain.from_iterable(
                self._connection.execute(SUBMITTED, (*place, state, since, until)) for state in _STATES
            )
            ended = self._connection.execute(ENDED, (*place, since, until))
            series = fold(submitted, ended, buckets)
        finally:
            self._connection.execute("ROLLBACK")
        yield "since", [(since,)]
        yield "series", [(name, list(map(astuple, of_type))) for name, of_type in series.items()]

    def newest_since(self, count: int, until: float) -> float:
        """Since when at most `count` outcomes finished before `until`; -inf when there are no more."""
        row = self._connection.execute(
            "SELECT completed_at FROM results WHERE completed_at < ?"
            " ORDER BY completed_at DESC LIMIT 1 OFFSET ?",
            (until, count),
        ).fetchone()
        # Those that finished at the very instant of the first too many are left out.
        return -math.inf if row is None else math.nextafter(row[0], math.inf)

    def params_versions(self, limit: int) -> Iterator[Part]:
        """Rows of the newest parameter versions."""
        sql = f"SELECT {PARAMS_COLUMNS} FROM params_versions ORDER BY version DESC LIMIT ?"
        yield from self._parts("params_versions", sql, (limit,))

    def params_version(self, version: int) -> Iterator[Part]:
        """The row of one parameter version, if it is kept."""
        sql = f"SELECT {PARAMS_COLUMNS} FROM params_versions WHERE version = ?"
        yield from self._parts("params_versions", sql, (version,))

    def task_types(self, after: int, limit: int) -> list[Row]:
        """Rowid, type and requested cores, GiB and devices of tasks, by rowid."""
        return self._connection.execute(
            "SELECT rowid, task_type, req_cpu, req_memory, req_gpu FROM tasks WHERE rowid > ?"
            " ORDER BY rowid LIMIT ?",
            (after, limit),
        ).fetchall()

    def set_task_types(self, rows: list[Row]) -> None:
        """Set the types of tasks from rows (type, rowid), all of them durably or none."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            self._connection.executemany("UPDATE tasks SET task_type = ? WHERE rowid = ?", rows)
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def _parts(self, name: str, sql: str, arguments: Row) -> Iterator[Part]:
        cursor = self._connection.execute(sql, tuple(arguments))
        while rows := cursor.fetchmany(CHUNK_ROWS):
            yield name, rows

    def _value(self, sql: str) -> Any:
        row = self._connection.execute(sql).fetchone()
        return None if row is None else row[0]

    def _configure(self) -> None:
        # Before the first read of the schema, which is where a file that is no database is noticed.
        for pragma in (
            "synchronous = FULL",
            "cache_size = -65536",
            f"wal_autocheckpoint = {CHECKPOINT_PAGES}",
        ):
            self._connection.execute(f"PRAGMA {pragma}")
        self._connection.execute("PRAGMA secure_delete = OFF")
        # Its own logarithm is left out of some builds of SQLite.
        self._connection.create_function("wait_bin", 1, wait_bin)
        self._connection.execute("PRAGMA journal_size_limit = 67108864")

    def _migrate(self, path: Path) -> None:
        version: int = self._value("PRAGMA user_version")
        known = len(MIGRATIONS)
        empty = self._value("SELECT count(*) FROM sqlite_master") == 0
        if self._value("PRAGMA application_id") != APPLICATION_ID and not empty:
            raise StoreOpenError(f"{path} is a database of another program, not a store of rtscore")
        if version > known:
            raise StoreOpenError(
                f"{path} was written by a newer rtscore: schema version {version}, this one knows {known}"
            )
        mode = self._value("PRAGMA journal_mode = WAL")
        if mode != "wal":
            raise StoreOpenError(f"{path} cannot have a write-ahead log (its journal mode stays {mode!r})")
        for step in range(version, known):
            self._connection.execute("BEGIN IMMEDIATE")
            for statement in MIGRATIONS[step]:
                self._connection.execute(statement)
            self._connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            self._connection.execute(f"PRAGMA user_version = {step + 1}")
            self._connection.execute("COMMIT")

    def _culprit(self, kind: str, rows: list[Row], *, exists: bool) -> str:
        """Which row made the run fail; asked with only the run's predecessors, or nothing, in effect."""
        where, key_of, name = _KEYS[kind]
        for row in rows:
            key = tuple(key_of(row))
            if (self._connection.execute(f"SELECT 1 FROM {where}", key).fetchone() is not None) == exists:
                return f"{name.format(*key)} {'is stored already' if exists else 'is not stored'}"
        return f"{kind}: no single row explains the conflict"
