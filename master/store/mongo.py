"""The MongoDB store: the existing cluster's collections, a lease, and commits by compare-and-set.

Design

a. Writes are acknowledged by a majority, from its journals (`w: majority, j: true`), and retried by the
   driver where the deployment supports that; everything sent is safe to send twice anyway. A standalone
   server is a majority of one.
b. Commits one after the other, in the order of the calls (`mongo_commits`). Reads wait while a group is
   carried out on the collections and a group waits for the reads before it, so that a read sees a commit
   whole or not at all. Other processes (the trainer) may see a group half carried out, but no result before
   its task.
c. A server that does not answer is given up after two seconds, one that has accepted a command and hangs
   after `ANSWER_S`; both are StoreUnavailableError.
d. One master writes (`mongo_lease`); the others wait.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterator, Sequence
from typing import Any, TypeVar

from pymongo import AsyncMongoClient
from pymongo.errors import (
    ConnectionFailure,
    DuplicateKeyError,
    ExecutionTimeout,
    OperationFailure,
    PyMongoError,
    WTimeoutError,
)

from master.errors import StoreUnavailableError
from master.events import Write
from master.records import AttemptRecord, ParamsVersion, ResultRecord, Snapshot, StoredTask, TaskState
from master.store.base import (
    Position,
    StoreConflictError,
    StoreOpenError,
    StoreUnreachableError,
    TaskQuery,
)
from master.store.mongo_apply import forget_removed
from master.store.mongo_commits import Commits, Group
from master.store.mongo_documents import ASSIGNMENTS, PARAMS, RESULTS, TASKS, WORKERS, Document
from master.store.mongo_lease import Lease, brief
from master.store.mongo_reads import Database, MongoReads
from master.store.rows import plan
from master.store.target import without_secrets
from master.store.turns import Turns
from master.timeline import Timeline

T = TypeVar("T")

DEFAULT_DATABASE = "rtscore"
LEASE_PERIOD_S = 2.0
SELECTION_S = 2.0
ANSWER_S = 5.0
READ_S = 30.0
"""A count or an index of millions may take long; a client of their own has this for `ANSWER_S`."""

MASTER = "MASTER"
PIECES = "MASTER_COMMITS"

_INDEX_EXISTS = frozenset({85, 86})
"""IndexOptionsConflict, IndexKeySpecsConflict."""

_INDEXES: tuple[tuple[str, list[tuple[str, int]], bool], ...] = (
    (TASKS, [("task_id", 1)], True),
    (TASKS, [("created_at", -1), ("created_at_s", -1), ("task_id", -1)], False),
    (TASKS, [("status", 1), ("created_at", -1), ("created_at_s", -1), ("task_id", -1)], False),
    (TASKS, [("completed_at", -1)], False),
    (TASKS, [("user_id", 1), ("created_at", -1), ("created_at_s", -1), ("task_id", -1)], False),
    (ASSIGNMENTS, [("ass_id", 1)], True),
    (ASSIGNMENTS, [("task_id", 1)], False),
    (ASSIGNMENTS, [("open", 1)], False),
    (RESULTS, [("task_id", 1)], True),
    (RESULTS, [("completed_at", 1), ("completed_at_s", 1), ("task_id", 1)], False),
    (WORKERS, [("worker_id", 1)], True),
    (PARAMS, [("version", -1)], False),
    (PIECES, [("token", 1)], False),
)


def connect(uri: str, answer_s: float) -> tuple[AsyncMongoClient[Document], Database]:
    """A client for the running event loop, and the database that the URI names.

    Parameters
    ----------
    uri : str
    answer_s : float
        How long the server may take for one answer, in seconds.

    Raises
    ------
    StoreOpenError
        When the URI is none; it is not repeated, since it may hold a password.
    """
    try:
        client: AsyncMongoClient[Document] = AsyncMongoClient(
            uri,
            w="majority",
            journal=True,
            wTimeoutMS=int(answer_s * 1000),
            retryWrites=True,
            readPreference="primary",
            serverSelectionTimeoutMS=int(SELECTION_S * 1000),
            connectTimeoutMS=int(SELECTION_S * 1000),
            socketTimeoutMS=int(answer_s * 1000),
            datetime_conversion="DATETIME_MS",
            appname="rtscore",
        )
        return client, client.get_default_database(DEFAULT_DATABASE)
    except (PyMongoError, ValueError) as error:
        raise wrong_uri(error) from None


def wrong_uri(error: Exception) -> StoreOpenError:
    """What to tell of a URI that the driver refuses."""
    why = str(error)
    if "@" in why:
        # It took a part of an unescaped password for the name of the database, and repeats it.
        why = "user and password must be escaped (%2F for /)"
    return StoreOpenError(f"the MongoDB URI of the store cannot be used: {why}")


class MongoStore:
    """A `Store` in a MongoDB database.

    Parameters
    ----------
    uri : str
        "mongodb://…" or "mongodb+srv://…"; its path is the database, `rtscore` when it has none.
    lease_period_s : float
        A master of which nothing is heard for two periods is replaced.
    """

    def __init__(self, uri: str, *, lease_period_s: float = LEASE_PERIOD_S) -> None:
        self._uri = uri
        self._name = without_secrets(uri)
        self._address = ""
        self._period_s = lease_period_s
        self._clients: list[AsyncMongoClient[Document]] = []
        self._lease: Lease | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()
        self._turns = Turns()
        self._under_way: set[asyncio.Task[Any]] = set()
        self._reads: MongoReads | None = None
        self._commits: Commits | None = None

    def serves_at(self, address: str) -> None:
        # Told with the next renewal.
        self._address = address
        if self._lease is not None:
            self._lease.address = address

    async def open(self) -> None:
        if self._clients:
            raise StoreOpenError(f"{self._name} is open already")
        client, database = connect(self._uri, ANSWER_S)
        self._clients.append(client)
        reading_client, reading_database = connect(self._uri, READ_S)
        self._clients.append(reading_client)
        try:
            with _opening(self._name):
                await client.admin.command("ping")
                lease = Lease(database[MASTER], self._address, self._period_s)
                document = await lease.take()
                self._lease = lease
                # From now on: what follows may take longer than two periods.
                self._keeper = asyncio.create_task(lease.keep(), name="lease")
                await _make_indexes(reading_database)
                commits = Commits(database, lease, database[MASTER], database[PIECES], self._turns)
                await commits.recover(document)
                await forget_removed(database)
        except BaseException:
            await self.close()
            raise
        self._reads, self._commits = MongoReads(reading_database), commits

    async def close(self) -> None:
        self._reads = self._commits = None
        clients, self._clients = self._clients, []
        lease, self._lease = self._lease, None
        keeper, self._keeper = self._keeper, None
        if self._under_way:
            await asyncio.wait(self._under_way)
        if lease is not None:
            lease.let_go()
        if keeper is not None:
            await asyncio.wait([keeper])
        if lease is not None:
            with contextlib.suppress(PyMongoError):
                await lease.release()
        for client in clients:
            await client.close()

    async def lost(self) -> None:
        keeper = self._keeper
        if keeper is None:
            raise StoreUnavailableError(f"the store {self._name} is not open")
        await asyncio.wait([keeper])
        keeper.result()

    async def commit(self, writes: Sequence[Write]) -> None:
        commits = self._open(self._commits)
        runs = plan(writes)
        if not runs:
            return
        group = Group(runs)
        group.check()
        await self._start(self._commit(commits, group))

    async def load(self) -> Snapshot:
        return await self._read(lambda reads: reads.load())

    async def find_tasks(self, task_ids: Collection[str]) -> dict[str, StoredTask]:
        wanted = list(task_ids)
        return await self._read(lambda reads: reads.find_tasks(wanted))

    async def list_tasks(self, query: TaskQuery) -> list[StoredTask]:
        return await self._read(lambda reads: reads.list_tasks(query), whole=not query.searches)

    async def list_position(self, query: TaskQuery, count: int) -> Position | None:
        return await self._read(lambda reads: reads.list_position(query, count), whole=False)

    async def timeline(self, since: float, until: float, buckets: int, most: int) -> Timeline:
        return await self._read(lambda reads: reads.timeline(since, until, buckets, most), whole=False)

    async def attempts(self, task_id: str) -> list[AttemptRecord]:
        return await self._read(lambda reads: reads.attempts(task_id))

    async def result(self, task_id: str) -> ResultRecord | None:
        return await self._read(lambda reads: reads.result(task_id))

    async def count_tasks(self) -> dict[TaskState, int]:
        return await self._read(lambda reads: reads.count_tasks())

    async def history(self, since: float, until: float) -> dict[str, list[Any]]:
        return await self._read(lambda reads: reads.history(since, until))

    async def params_versions(self, limit: int) -> list[ParamsVersion]:
        return await self._read(lambda reads: reads.params_versions(limit))

    async def params_version(self, version: int) -> ParamsVersion | None:
        return await self._read(lambda reads: reads.params_version(version))

    async def _commit(self, commits: Commits, group: Group) -> None:
        async with self._turn:
            with self._answering():
                await commits.commit(group)

    async def _read(self, call: Callable[[MongoReads], Coroutine[Any, Any, T]], *, whole: bool = True) -> T:
        """What a read finds; one that is not `whole` may see a part of a commit, and holds none up."""
        reads, commits = self._open(self._reads), self._open(self._commits)

        async def read() -> T:
            with self._answering():
                if commits.unfinished:
                    async with self._turn:
                        await commits.carry_out()
                if not whole:
                    return await call(reads)
                async with self._turns.shared():
                    return await call(reads)

        return await self._start(read())

    def _start(self, work: Coroutine[Any, Any, T]) -> Awaitable[T]:
        """Cancelling the waiter does not cancel the work, and closing waits for it."""
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._done)
        return asyncio.shield(task)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waited has it, and nobody may be waiting any more

    @contextlib.contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
        except PyMongoError as error:
            raise StoreUnavailableError(f"the store {self._name} answers: {brief(error)}") from error

    def _open(self, part: T | None) -> T:
        if part is None:
            raise StoreUnavailableError(f"the store {self._name} is not open")
        return part


async def _make_indexes(database: Database) -> None:
    for name, keys, unique in _INDEXES:
        title = "rts_" + "_".join(key for key, _ in keys)
        try:
            await database[name].create_index(keys, name=title, unique=unique)
        except DuplicateKeyError as error:
            raise StoreOpenError(f"{name} has two documents with the same {keys[0][0]}: {error}") from None
        except OperationFailure as error:
            # Somebody's index on the same fields serves as well, unless it is to keep a second one out.
            if unique or error.code not in _INDEX_EXISTS:
                raise


@contextlib.contextmanager
def _opening(name: str) -> Iterator[None]:
    try:
        yield
    except (ConnectionFailure, ExecutionTimeout, WTimeoutError) as error:
        # A server without its majority answers, too, and may have one later.
        raise StoreUnreachableError(f"cannot reach {name}: {brief(error)}") from error
    except (PyMongoError, StoreConflictError) as error:
        raise StoreOpenError(f"cannot use {name} as a store: {brief(error)}") from error
