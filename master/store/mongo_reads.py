"""What a master, and whoever learns beside it, reads from MongoDB.

Reads go to the primary with the default read concern: everything that this master wrote was acknowledged by
a majority, and what an earlier master wrote was by the time that the lease changed hands.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any, TypeAlias

from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase

from master.records import (
    AttemptRecord,
    ParamsVersion,
    ResultRecord,
    Snapshot,
    StoredTask,
    TaskState,
    WorkerRecord,
)
from master.store.base import TaskQuery
from master.store.mongo_documents import (
    ASSIGNMENTS,
    COMMIT,
    PARAMS,
    RESULTS,
    TASKS,
    TAU,
    WORKERS,
    Document,
    attempt_row,
    date,
    history_row,
    params_row,
    result_row,
    state,
    statuses,
    task_row,
    worker_row,
)
from master.store.rows import attempt_of, history_of, params_of, result_of, task_of, worker_of

Database: TypeAlias = AsyncDatabase[Document]

IDS_AT_ONCE = 5_000
"""Far below the size limit of a command, with ids of 200 bytes."""

_LARGEST_LIMIT = 2**31 - 1
_NEWEST_FIRST = [("created_at", -1), ("created_at_s", -1), ("task_id", -1)]
_OLDEST_FINISH_FIRST = {"completed_at": 1, "completed_at_s": 1, "task_id": 1}
_UNFINISHED = [each for each in TaskState if not each.terminal]


class MongoReads:
    """The reading half of a `Store`, see there.

    Parameters
    ----------
    database
        Its `codec_options` give dates as `DatetimeMS`.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self) -> Snapshot:
        """What `Store.load` says; the caller sees to it that nothing is written meanwhile."""
        tasks = await self._tasks({"status": {"$in": statuses(_UNFINISHED)}})
        attempts = [d async for d in self._of(ASSIGNMENTS).find({"open": True})]
        attempts += await self._foreign_attempts(tasks)
        known = {document["task_id"] for document in tasks}
        tasks += await self._by_task_id(TASKS, {a["task_id"] for a in attempts} - known)
        tau = {d["_id"]: d["tau"] async for d in self._of(TAU).find({COMMIT: {"$exists": True}})}
        stored = [task_of(task_row(document)) for document in tasks]
        records = [attempt_of(attempt_row(document)) for document in attempts]
        return Snapshot(
            tasks=tuple(sorted(stored, key=lambda t: (t.spec.submitted_at, t.spec.task_id))),
            attempts=tuple(sorted(records, key=lambda a: (a.task_id, a.attempt))),
            workers=await self.workers(),
            tau=tau,
        )

    async def workers(self) -> tuple[WorkerRecord, ...]:
        """Every registered worker, by id."""
        found = self._of(WORKERS).find({"removed_at": None}).sort("worker_id", 1)
        return tuple([worker_of(worker_row(document)) async for document in found])

    async def find_tasks(self, task_ids: Collection[str]) -> dict[str, StoredTask]:
        """What `Store.find_tasks` says."""
        documents = await self._by_task_id(TASKS, task_ids)
        return {document["task_id"]: task_of(task_row(document)) for document in documents}

    async def list_tasks(self, query: TaskQuery) -> list[StoredTask]:
        """What `Store.list_tasks` says."""
        if query.limit < 1:
            return []
        where: Document = {}
        if query.states:
            where["status"] = {"$in": statuses(query.states)}
        if query.user_id:
            where["user_id"] = query.user_id
        if query.after is not None:
            where["$or"] = _before(*query.after)
        cursor = self._of(TASKS).find(where).sort(_NEWEST_FIRST).limit(min(query.limit, _LARGEST_LIMIT))
        return [task_of(task_row(document)) async for document in cursor]

    async def attempts(self, task_id: str) -> list[AttemptRecord]:
        """What `Store.attempts` says."""
        found = self._of(ASSIGNMENTS).find({"task_id": task_id})
        records = [attempt_of(attempt_row(document)) async for document in found]
        return sorted(records, key=lambda record: record.attempt)

    async def result(self, task_id: str) -> ResultRecord | None:
        """What `Store.result` says."""
        document = await self._of(RESULTS).find_one({"task_id": task_id})
        return None if document is None else result_of(result_row(document))

    async def count_tasks(self) -> dict[TaskState, int]:
        """What `Store.count_tasks` says."""
        counts: dict[TaskState, int] = {}
        group = {"$group": {"_id": "$status", "tasks": {"$sum": 1}}}
        async for document in await self._of(TASKS).aggregate([group]):
            which = TaskState(state(document["_id"]))
            counts[which] = counts.get(which, 0) + document["tasks"]
        return counts

    async def history(self, since: float, until: float) -> dict[str, list[Any]]:
        """What `Store.history` says; the server joins, outputs of tasks stay there."""
        if math.isnan(since) or math.isnan(until):
            return history_of([])
        documents = await self._of(RESULTS).aggregate(
            [
                {"$match": {"completed_at": {"$gte": date(since), "$lte": date(until)}}},
                {"$sort": _OLDEST_FINISH_FIRST},
                {"$project": {"logs": 0, "output_files": 0}},
                _join(TASKS, "task"),
                {"$unwind": "$task"},
                _join(ASSIGNMENTS, "assignment"),
                {"$unwind": "$assignment"},
                {"$project": {"task.command": 0, "assignment.decision": 0}},
            ],
            allowDiskUse=True,
        )
        # An attempt's number is 1 where the existing cluster has none.
        rows = [
            history_row(document)
            async for document in documents
            if (document.get("attempt") or 1) == (document["assignment"].get("attempt") or 1)
        ]
        return history_of([row for row in rows if since <= row[6] < until])

    async def newest_since(self, count: int, until: float) -> float:
        """Since when at most `count` outcomes finished before `until`; -inf when there are no more."""
        newest = self._of(RESULTS).find({"completed_at": {"$lte": date(until)}}, {"logs": 0})
        newest = newest.sort([("completed_at", -1), ("completed_at_s", -1)]).skip(count).limit(1)
        async for document in newest:
            return math.nextafter(result_of(result_row(document)).finished_at, math.inf)
        return -math.inf

    async def params_versions(self, limit: int) -> list[ParamsVersion]:
        """What `Store.params_versions` says."""
        if limit < 1:
            return []
        found = self._of(PARAMS).find().sort("version", -1).limit(min(limit, _LARGEST_LIMIT))
        return [params_of(params_row(document)) async for document in found]

    async def params_version(self, version: int) -> ParamsVersion | None:
        """What `Store.params_version` says."""
        document = await self._of(PARAMS).find_one({"_id": version})
        return None if document is None else params_of(params_row(document))

    async def keys(self, name: str, field: str, values: Collection[Any]) -> set[Any]:
        """Which of these values the field of a collection has."""
        found: set[Any] = set()
        for chunk in _chunks(values):
            cursor = self._of(name).find({field: {"$in": chunk}}, {field: 1})
            found.update([document[field] async for document in cursor])
        return found

    async def foreign_assignments(self, task_ids: Collection[str]) -> list[Document]:
        """The assignments of these tasks that the existing cluster made and nobody has ended."""
        found: list[Document] = []
        for chunk in _chunks(task_ids):
            where: Document = {"task_id": {"$in": chunk}, "attempt": None, COMMIT: {"$exists": False}}
            found += [document async for document in self._of(ASSIGNMENTS).find(where)]
        return found

    async def _foreign_attempts(self, tasks: Collection[Mapping[str, Any]]) -> list[Document]:
        placed = ("assigned", "running")
        foreign = {t["task_id"] for t in tasks if COMMIT not in t and state(t.get("status")) in placed}
        return await self.foreign_assignments(foreign)

    async def _tasks(self, where: Document) -> list[Document]:
        return [document async for document in self._of(TASKS).find(where)]

    async def _by_task_id(self, name: str, task_ids: Collection[str]) -> list[Document]:
        found: list[Document] = []
        for chunk in _chunks(task_ids):
            found += [d async for d in self._of(name).find({"task_id": {"$in": chunk}})]
        return found

    def _of(self, name: str) -> AsyncCollection[Document]:
        return self._database[name]


def _join(name: str, into: str) -> Document:
    return {"$lookup": {"from": name, "localField": "task_id", "foreignField": "task_id", "as": into}}


def _before(seconds: float, task_id: str) -> list[Document]:
    """What comes after this in a listing from the newest on, ties by descending id."""
    day = date(seconds)
    return [
        {"created_at": {"$lt": day}},
        {"created_at": day, "created_at_s": {"$lt": seconds}},
        {"created_at": day, "created_at_s": seconds, "task_id": {"$lt": task_id}},
        {"created_at": day, "created_at_s": None, "task_id": {"$lt": task_id}},
    ]


def _chunks(values: Collection[Any]) -> list[list[Any]]:
    listed = list(values)
    return [listed[first : first + IDS_AT_ONCE] for first in range(0, len(listed), IDS_AT_ONCE)]
