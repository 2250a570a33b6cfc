"""What a master, and whoever learns beside it, reads from MongoDB.

Reads go to the primary with the default read concern: everything that this master wrote was acknowledged by
a majority, and what an earlier master wrote was by the time that the lease changed hands.
"""

from __future__ import annotations

import asyncio
import math
import re
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
from master.store.base import Position, StoreOpenError, TaskQuery
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
from master.timeline import BINS_PER_OCTAVE, Timeline, fold

Database: TypeAlias = AsyncDatabase[Document]

IDS_AT_ONCE = 5_000
"""Far below the size limit of a command, with ids of 200 bytes."""

_LARGEST_LIMIT = 2**31 - 1
_NEWEST_FIRST = [("created_at", -1), ("created_at_s", -1), ("task_id", -1)]
_OLDEST_FINISH_FIRST = {"completed_at": 1, "completed_at_s": 1, "task_id": 1}
_RAN = (TaskState.COMPLETED, TaskState.FAILED)
_GROUPS_AT_ONCE = 1_000

# A timeline's measures; a task that never started waited until its end, one in time is late by 0.
_STARTED = {"$ifNull": ["$started_at", "$completed_at"]}
_WAIT_MS: Document = {"$max": [0, {"$subtract": [_STARTED, "$created_at"]}]}
_LATE_MS: Document = {"$max": [0, {"$subtract": ["$completed_at", "$deadline"]}]}
# `master.timeline.wait_bin`, of milliseconds.
_OCTAVES = {"$divide": [{"$ln": {"$max": [1, _WAIT_MS]}}, math.log(2.0)]}
_WAIT_BIN: Document = {"$floor": {"$multiply": [BINS_PER_OCTAVE, _OCTAVES]}}
_OUTCOMES: Document = {
    "failed": {"$sum": {"$cond": [{"$in": ["$status", statuses([TaskState.FAILED])]}, 1, 0]}},
    "met": {"$sum": {"$cond": [{"$eq": ["$sla_success", True]}, 1, 0]}},
    "wait_ms": {"$sum": _WAIT_MS},
    "late_ms": {"$sum": _LATE_MS},
}
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
        await self._check_ids()
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

    async def _check_ids(self) -> None:
        for name, key in ((TASKS, "task_id"), (WORKERS, "worker_id")):
            # What is no text is neither above nor below one; both sides of it are found in the index.
            unnamed = await self._of(name).find_one({key: {"$not": {"$gt": ""}}}, {key: 1})
            if unnamed is not None:
                raise StoreOpenError(
                    f"{name} has a document ({unnamed['_id']}) whose {key} is {unnamed.get(key)!r}; "
                    "a non-empty text is allowed"
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
        where = _listed(query)
        if query.worker_id:
            where["worker_id"] = query.worker_id
        if query.task_type:
            where["task_type"] = query.task_type
        if query.sla_success is not None:
            where["sla_success"] = query.sla_success
        if query.text:
            part = {"$regex": re.escape(query.text), "$options": "i"}
            anywhere = {"$or": [{name: part} for name in ("task_id", "user_id", "command")]}
            where["$and"] = [anywhere, *where.get("$and", ())]
        if query.until is not None:
            where["created_at"] = {"$gte": date(query.until[0])}
            where["$nor"] = _before(*query.until)
        cursor = self._of(TASKS).find(where).sort(_NEWEST_FIRST).limit(min(query.limit, _LARGEST_LIMIT))
        return [task_of(task_row(document)) async for document in cursor]

    async def list_position(self, query: TaskQuery, count: int) -> Position | None:
        """What `Store.list_position` says."""
        cursor = self._of(TASKS).find(_listed(query), {"command": 0}).sort(_NEWEST_FIRST)
        async for document in cursor.skip(count - 1).limit(1):
            spec = task_of(task_row(document)).spec
            return spec.submitted_at, spec.task_id
        return None

    async def timeline(self, since: float, until: float, buckets: int, most: int) -> Timeline:
        """What `Store.timeline` says; the server counts, to the millisecond."""
        first = since
        for name in ("created_at", "completed_at"):
            newest = self._of(TASKS).find({name: {"$lt": date(until)}}, {name: 1}).sort(name, -1)
            async for document in newest.skip(most - 1).limit(1):
                first = max(first, (int(document[name]) + 1) / 1000.0)
        span = {"$gte": date(first), "$lt": date(until)}
        place = (since, (until - since) / buckets, buckets - 1)
        submitted = [
            (*_group_of(group), group["tasks"])
            async for group in await self._of(TASKS).aggregate(
                [{"$match": {"created_at": span}}, {"$group": _by("created_at", *place)}],
                batchSize=_GROUPS_AT_ONCE,
            )
        ]
        ran = {"completed_at": span, "status": {"$in": statuses(_RAN)}}
        ended = [
            (*_group_of(group), int(group["_id"]["bin"]), *_outcomes_of(group))
            async for group in await self._of(TASKS).aggregate(
                [{"$match": ran}, {"$group": _by("completed_at", *place, bin=_WAIT_BIN) | _OUTCOMES}],
                batchSize=_GROUPS_AT_ONCE,
            )
        ]
        # Of many buckets it takes too long for everyone else.
        series = await asyncio.to_thread(fold, submitted, ended, buckets)
        return Timeline(since, until, (until - since) / buckets, first, series)

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


def _listed(query: TaskQuery) -> Document:
    where: Document = {}
    if query.states:
        where["status"] = {"$in": statuses(query.states)}
    if query.user_id:
        where["user_id"] = query.user_id
    if query.after is not None:
        where["$and"] = [{"$or": _before(*query.after)}]
    return where


def _by(instant: str, since: float, width_s: float, last: int, **more: Document) -> Document:
    """A group's key: bucket, type, and what else; how many tasks are in it."""
    place = {"$divide": [{"$subtract": [f"${instant}", date(since)]}, width_s * 1000.0]}
    key = {"bucket": {"$min": [{"$floor": place}, last]}, "type": "$task_type", **more}
    return {"_id": key, "tasks": {"$sum": 1}}


def _group_of(group: Document) -> tuple[int, str]:
    return int(group["_id"]["bucket"]), str(group["_id"].get("type", ""))


def _outcomes_of(group: Document) -> tuple[int, int, int, float, float]:
    return (
        *(group["tasks"], group["failed"], group["met"]),
        *(group["wait_ms"] / 1000.0, group["late_ms"] / 1000.0),
    )


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
