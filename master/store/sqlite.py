"""The SQLite store: one process writes, others read, and the master's own thread only makes and reads rows.

Design:

A. Why processes. In a thread a row costs the master 10 µs of its interpreter, here 1.5 µs (planning and
   encoding). And `sqlite3` lets go of the interpreter lock around every step: beside code that does not (a
   long pass over the queue) a thread gets it back once in a switch interval of 5 ms, and then inserts 260
   rows/s and commits 55 times a second; with an interval of 0.5 ms 3,700 and 480.
   `python -m benchmarks.store` compares the two.
B. Writing. A commit is planned into runs of rows here (`rows.plan`), sent, and executed as one transaction
   with `synchronous=FULL` in WAL mode. Commits are answered in the order in which they were called.
C. Reading. A second process, so that a long listing does not hold up commits; WAL gives it every commit that
   was answered. A third, started when it is first needed, for what looks at very many tasks (searches and
   timelines), so that nobody waits for those who search but they.
D. One master. The file `<path>.lock` is locked for as long as this process or one of those lives, so a
   master that starts while a killed one's last commit ends waits for that end.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from master.errors import StoreUnavailableError
from master.events import Write
from master.records import AttemptRecord, ParamsVersion, ResultRecord, Snapshot, StoredTask, TaskState
from master.store.base import Position, StoreInUseError, StoreOpenError, TaskQuery
from master.store.channel import Channel
from master.store.rows import attempt_of, history_of, params_of, plan, result_of, task_of, worker_of
from master.timeline import Bucket, Timeline

LOCK_WAIT_S = 5.0
"""How long a killed master's processes are given to end their last commit."""

_LARGEST_LIMIT = 2**62


class SqliteStore:
    """A `Store` in one file; the directory is made when missing, and the file is readable by its owner only.

    Parameters
    ----------
    path
        The database file; beside it appear `<path>-wal`, `<path>-shm` and `<path>.lock`.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path).resolve()
        self._lock: int | None = None
        self._writer: Channel | None = None
        self._reader: Channel | None = None
        self._searcher: Channel | None = None
        self._number = 0

    async def open(self) -> None:
        if self._lock is not None:
            raise StoreOpenError(f"{self._path} is open already")
        self._lock = await lock_store(self._path)
        try:
            writer = Channel(self._path, "write", self._lock)
            await writer.open()
            self._writer, self._number = writer, writer.number
            reader = Channel(self._path, "read", self._lock)
            await reader.open()
            self._reader = reader
            self._searcher = Channel(self._path, "read", self._lock)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        ours = (self._searcher, self._reader, self._writer)
        channels = [channel for channel in ours if channel is not None]
        lock, self._lock = self._lock, None
        self._searcher = self._reader = self._writer = None
        for channel in channels:
            await channel.close()
        if lock is not None:
            os.close(lock)

    def serves_at(self, address: str) -> None:
        pass  # a second master does not wait for a file

    async def lost(self) -> None:
        # The lock keeps every other master out for as long as we live.
        await asyncio.Event().wait()

    async def commit(self, writes: Sequence[Write]) -> None:
        writer = self._open(self._writer)
        runs = plan(writes)
        if not runs:
            return
        self._number += 1
        try:
            request = writer.request("commit", self._number, runs, number=self._number)
        except OverflowError as error:
            raise ValueError(f"an integer of more than 64 bits cannot be stored: {error}") from error
        await request

    async def load(self) -> Snapshot:
        tables: dict[str, list[Any]] = {"tasks": [], "attempts": [], "workers": [], "tau": []}
        for name, rows in await self._open(self._reader).request("load"):
            tables[name] += rows
        return Snapshot(
            tasks=tuple(map(task_of, tables["tasks"])),
            attempts=tuple(map(attempt_of, tables["attempts"])),
            workers=tuple(map(worker_of, tables["workers"])),
            tau=dict(tables["tau"]),
        )

    async def find_tasks(self, task_ids: Collection[str]) -> dict[str, StoredTask]:
        tasks = map(task_of, await self._rows("find_tasks", list(task_ids)))
        return {task.spec.task_id: task for task in tasks}

    async def list_tasks(self, query: TaskQuery) -> list[StoredTask]:
        if query.limit < 1:
            return []
        listed = (_states(query), query.user_id, min(query.limit, _LARGEST_LIMIT), query.after, query.until)
        searched = (query.worker_id, query.task_type, query.text, query.sla_success)
        channel = self._searcher if query.searches else self._reader
        return [task_of(row) for row in await self._rows("list_tasks", *listed, searched, channel=channel)]

    async def list_position(self, query: TaskQuery, count: int) -> Position | None:
        arguments = (_states(query), query.user_id, query.after, count)
        rows = await self._rows("list_position", *arguments, channel=self._searcher)
        return tuple(rows[0]) if rows else None

    async def timeline(self, since: float, until: float, buckets: int, most: int) -> Timeline:
        (first,), *rows = await self._rows("timeline", since, until, buckets, most, channel=self._searcher)
        series = {name: [Bucket(*bucket) for bucket in of_type] for name, of_type in rows}
        return Timeline(since, until, (until - since) / buckets, first, series)

    async def attempts(self, task_id: str) -> list[AttemptRecord]:
        return [attempt_of(row) for row in await self._rows("attempts", task_id)]

    async def result(self, task_id: str) -> ResultRecord | None:
        rows = await self._rows("result", task_id)
        return result_of(rows[0]) if rows else None

    async def count_tasks(self) -> dict[TaskState, int]:
        return {TaskState(state): count for state, count in await self._rows("count_tasks")}

    async def history(self, since: float, until: float) -> dict[str, list[Any]]:
        return history_of(await self._rows("history", since, until))

    async def params_versions(self, limit: int) -> list[ParamsVersion]:
        return [params_of(row) for row in await self._rows("params_versions", max(0, limit))]

    async def params_version(self, version: int) -> ParamsVersion | None:
        rows = await self._rows("params_version", version)
        return params_of(rows[0]) if rows else None

    async def _rows(self, operation: str, *arguments: Any, channel: Channel | None = None) -> list[Any]:
        parts = await self._open(channel or self._reader).request(operation, *arguments)
        return [row for _, rows in parts for row in rows]

    def _open(self, channel: Channel | None) -> Channel:
        if channel is None:
            raise StoreUnavailableError(f"the store {self._path} is not open")
        return channel


def _states(query: TaskQuery) -> list[str]:
    return [state.value for state in TaskState if state in query.states or not query.states]


async def lock_store(path: Path) -> int:
    """A descriptor that keeps every other master out until the last process that shares it closes it.

    Raises
    ------
    StoreOpenError
        When another has it for longer than a killed master's processes may, or the file cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StoreOpenError(f"cannot open {path}: {error.strerror}") from error
    try:
        until = asyncio.get_running_loop().time() + LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if asyncio.get_running_loop().time() > until:
                    raise StoreInUseError(
                        f"{path} is in use by another master (it holds {path}.lock)"
                    ) from None
                await asyncio.sleep(0.02)
            else:
                return lock
    except BaseException:
        os.close(lock)
        raise
