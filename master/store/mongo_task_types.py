"""The MongoDB store as the migration of task types sees it: documents of any age, and no master meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
from collections.abc import Coroutine, Iterator, Sequence
from concurrent.futures import wait
from contextlib import contextmanager
from typing import Any

from pymongo import MongoClient, UpdateOne
from pymongo.collection import Collection
from pymongo.errors import PyMongoError

from master.errors import StoreUnavailableError
from master.store.base import StoreOpenError
from master.store.mongo import (
    ANSWER_S,
    DEFAULT_DATABASE,
    LEASE_PERIOD_S,
    READ_S,
    SELECTION_S,
    MongoStore,
    wrong_uri,
)
from master.store.mongo_documents import TASKS, Document
from master.store.mongo_lease import brief
from master.store.target import without_secrets
from master.store.task_types import TypedTask

_STEP_S = 0.2
_FIELDS = {"_id": 0, "task_id": 1, "task_type": 1, "req_cpu": 1, "req_memory": 1, "req_gpu": 1}


class MongoTaskTypes:
    """The tasks of a database by task id; a document without one belongs to no task."""

    def __init__(self, tasks: Collection[Document]) -> None:
        self._tasks = tasks

    def count(self) -> int:
        with _reachable():
            return self._tasks.count_documents(_after(""))

    def read(self, after: Any, limit: int) -> list[TypedTask]:
        with _reachable():
            found = self._tasks.find(_after(after or ""), _FIELDS).sort("task_id", 1).limit(limit)
            return [
                TypedTask(
                    document["task_id"],
                    document.get("task_type"),
                    _amount(document.get("req_cpu")),
                    _amount(document.get("req_memory")),
                    _amount(document.get("req_gpu")),
                )
                for document in found
            ]

    def write(self, types: Sequence[tuple[Any, str]]) -> None:
        with _reachable():
            self._tasks.bulk_write(
                [UpdateOne({"task_id": key}, {"$set": {"task_type": name}}) for key, name in types],
                ordered=False,
            )


@contextmanager
def open_mongo_task_types(uri: str, *, write: bool) -> Iterator[MongoTaskTypes]:
    """The tasks of a database; with `write` its lease is held, so that no master works meanwhile.

    Raises
    ------
    StoreOpenError
        When the URI is none, the server does not answer, or a master has the lease.
    """
    with _lease(uri) if write else contextlib.nullcontext():
        try:
            client: MongoClient[Document] = MongoClient(
                uri,
                w="majority",
                journal=True,
                wTimeoutMS=int(ANSWER_S * 1000),
                retryWrites=True,
                readPreference="primary",
                serverSelectionTimeoutMS=int(SELECTION_S * 1000),
                connectTimeoutMS=int(SELECTION_S * 1000),
                socketTimeoutMS=int(READ_S * 1000),
                datetime_conversion="DATETIME_MS",
                appname="rtscore",
            )
        except (PyMongoError, ValueError) as error:
            raise wrong_uri(error) from None
        with client:
            try:
                client.admin.command("ping")
            except PyMongoError as error:
                raise StoreOpenError(f"{without_secrets(uri)} cannot be used: {brief(error)}") from None
            yield MongoTaskTypes(client.get_default_database(DEFAULT_DATABASE)[TASKS])


@contextmanager
def _lease(uri: str) -> Iterator[None]:
    """Hold the lease as a master does, by an event loop in a thread that renews it."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="lease", daemon=True)
    thread.start()
    store = MongoStore(uri, lease_period_s=LEASE_PERIOD_S)

    openings: list[asyncio.Task[None]] = []

    async def begin() -> None:
        openings.append(asyncio.create_task(store.open()))
        await openings[0]

    async def end() -> None:
        # Amid its wait for a dead master's lease somebody may have interrupted us.
        for opening in openings:
            opening.cancel()
            await asyncio.wait([opening])
        await store.close()

    try:
        try:
            _done(begin(), loop)
            yield
        finally:
            _done(end(), loop)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _done(work: Coroutine[None, None, None], loop: asyncio.AbstractEventLoop) -> None:
    """Let the loop of another thread do something, and return when it has."""
    future = asyncio.run_coroutine_threadsafe(work, loop)
    # In steps, since an interrupt just before this thread blocks is seen only when it wakes.
    while not wait([future], timeout=_STEP_S).done:
        pass
    future.result()


def _after(task_id: str) -> Document:
    """Tasks behind an id. A comparison with text finds text alone."""
    return {"task_id": {"$gt": task_id}}


def _amount(value: object) -> float:
    """An amount of a document; what is missing or none is 0."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return 0.0
    return float(value) if math.isfinite(value) else 0.0


@contextmanager
def _reachable() -> Iterator[None]:
    try:
        yield
    except PyMongoError as error:
        raise StoreUnavailableError(f"the store cannot be used: {brief(error)}") from error
