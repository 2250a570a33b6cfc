"""The SQLite store as the migration of task types sees it; no master may have it open while that writes."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from master.errors import StoreUnavailableError
from master.store.base import StoreOpenError
from master.store.database import Database
from master.store.sqlite import lock_store
from master.store.task_types import TypedTask


class SqliteTaskTypes:
    """The tasks of an open database by rowid."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def count(self) -> int:
        with _usable():
            return sum(count for _, rows in self._database.count_tasks() for _, count in rows)

    def read(self, after: Any, limit: int) -> list[TypedTask]:
        with _usable():
            return [TypedTask(*row) for row in self._database.task_types(after or 0, limit)]

    def write(self, types: Sequence[tuple[Any, str]]) -> None:
        with _usable():
            self._database.set_task_types([(name, key) for key, name in types])


@contextmanager
def open_task_types(path: Path, *, write: bool) -> Iterator[SqliteTaskTypes]:
    """The tasks of a store; with `write` no master is let in meanwhile.

    Raises
    ------
    StoreOpenError
        When there is none, a master has it open, or it is not a store.
    """
    if not path.is_file():
        raise StoreOpenError(f"there is no {path}")
    lock = asyncio.run(lock_store(path.resolve())) if write else None
    try:
        database = Database(path, write=write)
        try:
            yield SqliteTaskTypes(database)
        finally:
            database.close()
    finally:
        if lock is not None:
            os.close(lock)


@contextmanager
def _usable() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StoreUnavailableError(f"the store cannot be used: {error}") from error
