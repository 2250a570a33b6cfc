"""Reading a store beside its master, for who learns from it; the backend is chosen by the store's setting."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from master.records import ParamsVersion, WorkerRecord
from master.store.base import StoreOpenError
from master.store.target import is_mongo, without_secrets

if TYPE_CHECKING:
    from master.store.database import Database
    from master.store.mongo_reads import MongoReads

T = TypeVar("T")


class Reader(Protocol):
    """What a store holds, as of the moment of each call; every call may raise StoreOpenError."""

    def history(self, since: float, until: float) -> dict[str, list[Any]]:
        """As `Store.history`."""
        ...

    def newest_since(self, count: int, until: float) -> float:
        """Since when at most `count` outcomes finished before `until`; -inf when there are no more."""
        ...

    def workers(self) -> tuple[WorkerRecord, ...]:
        """Every registered worker, by id."""
        ...

    def newest_params(self) -> ParamsVersion | None:
        """The parameter version of highest number, if there is one."""
        ...


@contextmanager
def reader(target: str) -> Iterator[Reader]:
    """A reader of the store that `MasterConfig.store` names so.

    Raises
    ------
    StoreOpenError
        When it is not a store, of another version, or cannot be reached.
    """
    if is_mongo(target):
        with _mongo(target) as found:
            yield found
        return
    from master.store.database import Database

    database = Database(Path(target), write=False)
    try:
        yield _SqliteReader(database)
    finally:
        database.close()


class _SqliteReader:
    def __init__(self, database: Database) -> None:
        self._database = database

    def history(self, since: float, until: float) -> dict[str, list[Any]]:
        from master.store.rows import history_of

        return history_of([row for _, part in self._database.history(since, until) for row in part])

    def newest_since(self, count: int, until: float) -> float:
        return self._database.newest_since(count, until)

    def workers(self) -> tuple[WorkerRecord, ...]:
        from master.store.rows import worker_of

        return tuple(
            worker_of(row) for name, rows in self._database.load() if name == "workers" for row in rows
        )

    def newest_params(self) -> ParamsVersion | None:
        from master.store.rows import params_of

        return next((params_of(row) for _, rows in self._database.params_versions(1) for row in rows), None)


class _MongoReader:
    def __init__(self, runner: asyncio.Runner, reads: MongoReads, name: str) -> None:
        self._runner = runner
        self._reads = reads
        self._name = name

    def history(self, since: float, until: float) -> dict[str, list[Any]]:
        return self._wait(self._reads.history(since, until))

    def newest_since(self, count: int, until: float) -> float:
        return self._wait(self._reads.newest_since(count, until))

    def workers(self) -> tuple[WorkerRecord, ...]:
        return self._wait(self._reads.workers())

    def newest_params(self) -> ParamsVersion | None:
        return next(iter(self._wait(self._reads.params_versions(1))), None)

    def _wait(self, call: Coroutine[Any, Any, T]) -> T:
        from pymongo.errors import PyMongoError

        from master.store.mongo_lease import brief

        try:
            return self._runner.run(call)
        except PyMongoError as error:
            raise StoreOpenError(f"cannot read {self._name}: {brief(error)}") from None


@contextmanager
def _mongo(uri: str) -> Iterator[Reader]:
    from master.store.mongo import READ_S, connect
    from master.store.mongo_reads import MongoReads

    async def start() -> tuple[Any, MongoReads]:
        client, database = connect(uri, READ_S)
        return client, MongoReads(database)

    with asyncio.Runner() as runner:
        client, reads = runner.run(start())
        try:
            yield _MongoReader(runner, reads, without_secrets(uri))
        finally:
            runner.run(client.close())
