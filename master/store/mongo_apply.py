"""Carries out a committed group on MongoDB's collections, so that once more, or too late, changes nothing.

Every document has the number of the commit that last changed it (`rts_commit`). An insert sets nothing where
its document exists, every other write only touches a document that no later commit has changed. So a group
may be carried out again after a crash, and a master that was suspended amid a group, and wakes when another
one has long gone on, does no harm. Removing a worker leaves its document with the time of removal, or such a
late write would bring it back; it is deleted a day later.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from bson.int64 import Int64
from pymongo import UpdateOne
from pymongo.errors import BulkWriteError

from master.store.mongo_documents import (
    ASSIGNMENTS,
    COMMIT,
    PARAMS,
    RESULTS,
    TASKS,
    TAU,
    WORKERS,
    Document,
    assignment_id,
    attempt_document,
    date,
    end_fields,
    params_document,
    result_document,
    status_fields,
    task_document,
    worker_fields,
)
from master.store.mongo_reads import Database
from master.store.rows import Row, Runs

Write: TypeAlias = tuple[Document, Document, bool]
"""A filter, an update, and whether a missing document is made of both."""

WRITES_AT_ONCE = 1_000
"""So many take a server some tens of milliseconds, and a socket timeout means that it hangs."""
REMOVED_FOR_S = 86_400.0

_DUPLICATE_KEY = 11000


def _insert(document: Document, number: int) -> Write:
    key = document.pop("_id")
    return {"_id": key}, {"$setOnInsert": document | {COMMIT: Int64(number)}}, True


def _change(where: Document, fields: Document, number: int, upsert: bool = False) -> Write:
    unchanged = where | {COMMIT: {"$not": {"$gte": Int64(number)}}}
    return unchanged, {"$set": fields | {COMMIT: Int64(number)}}, upsert


def _end(row: Row, number: int) -> Write:
    ended_at, outcome, task_id, attempt = row
    where: Document = {"ass_id": assignment_id(task_id, attempt)}
    if attempt == 1:
        # Or it is one of the existing cluster, which knows no attempts.
        where = {"$or": [where, {"task_id": task_id, "attempt": None}]}
    return _change(where, end_fields(ended_at, outcome), number)


_WRITES: dict[str, tuple[str, Callable[[Row, int], Write]]] = {
    "insert_task": (TASKS, lambda row, n: _insert(task_document(row), n)),
    "update_task": (TASKS, lambda row, n: _change({"task_id": row[-1]}, status_fields(row[:-1]), n)),
    "insert_attempt": (ASSIGNMENTS, lambda row, n: _insert(attempt_document(row), n)),
    "end_attempt": (ASSIGNMENTS, _end),
    "insert_result": (RESULTS, lambda row, n: _insert(result_document(row), n)),
    "put_worker": (
        WORKERS,
        lambda row, n: _change({"worker_id": row[0]}, worker_fields(row), n, upsert=True),
    ),
    "remove_worker": (
        WORKERS,
        lambda row, n: _change(
            {"worker_id": row[0]}, {"is_active": False, "removed_at": date(time.time())}, n
        ),
    ),
    "put_tau": (TAU, lambda row, n: _change({"_id": row[0]}, {"tau": row[1]}, n, upsert=True)),
    "insert_params": (PARAMS, lambda row, n: _insert(params_document(row), n)),
}


def writes_of(runs: Runs, number: int) -> dict[str, list[Write]]:
    """The writes of a group, by collection."""
    found: dict[str, list[Write]] = {}
    for kind, rows in runs:
        if kind in _WRITES:
            name, write = _WRITES[kind]
            found.setdefault(name, []).extend(write(row, number) for row in rows)
    return found


async def apply(database: Database, runs: Runs, number: int) -> None:
    """Carry out the group of commit `number`; results last, so that each finds its task and its attempt.

    Raises
    ------
    PyMongoError
        When the server does not take a write; some may be made, and calling it again makes the others.
    """
    writes = writes_of(runs, number)
    results = writes.pop(RESULTS, [])
    await asyncio.gather(*(_bulk(database, name, each) for name, each in writes.items()))
    await _bulk(database, RESULTS, results)
    for kind, rows in runs:
        if kind == "prune_params":
            await _prune(database, rows[0][0])


async def forget_removed(database: Database) -> None:
    """Delete the documents of workers that were removed long ago."""
    await database[WORKERS].delete_many({"removed_at": {"$lt": date(time.time() - REMOVED_FOR_S)}})


async def _bulk(database: Database, name: str, writes: list[Write]) -> None:
    for first in range(0, len(writes), WRITES_AT_ONCE):
        chunk = [UpdateOne(w, u, upsert=upsert) for w, u, upsert in writes[first : first + WRITES_AT_ONCE]]
        try:
            await database[name].bulk_write(chunk, ordered=False)
        except BulkWriteError as error:
            details: Mapping[str, Any] = error.details
            codes = {each["code"] for each in details.get("writeErrors", [])}
            # What exists is of this commit or of a later one.
            if codes != {_DUPLICATE_KEY} or details.get("writeConcernErrors"):
                raise


async def _prune(database: Database, keep: int) -> None:
    newest = database[PARAMS].find({}, {"version": 1}).sort("version", -1).skip(keep).limit(1)
    async for document in newest:
        await database[PARAMS].delete_many({"version": {"$lte": document["version"]}})
