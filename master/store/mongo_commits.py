"""All-or-nothing commits on a server that changes one document at a time, and only by the master in office.

Design

a. What is promised. A commit is made by one compare-and-set on the lease's document: it holds the fencing
   number and the number of the last commit, and gets the next number together with the whole group of writes.
   Before it nothing of the group counts, after it all of it does, whatever dies. The set fails when another
   master has raised the fencing number.
b. The group is then carried out on the collections (`mongo_apply`), and the next commit begins when that is
   done. Whoever opens the store carries the last group out again first; it changes nothing where that was
   done. A group above `INLINE_BYTES` is stored in pieces before the compare-and-set, which then names them:
   a document has at most 16 MiB.
c. Whether the writes fit (a task that exists already) is asked before. Nobody else changes the answer: a
   commit by another master raises the number, and the set fails.
d. An answer that is lost leaves the set in doubt, for it may still reach the server after a later one of
   ours. All sets that may have been made under a number are remembered until the number goes on; then the
   document says which one it was. A caller that repeats its commit is told of its success, also when a
   read has carried the group out meanwhile.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable

import bson
import msgspec
from bson.binary import Binary
from bson.int64 import Int64
from pymongo.asynchronous.collection import AsyncCollection

from master.store.base import StoreConflictError, StoreOpenError
from master.store.mongo_apply import apply, writes_of
from master.store.mongo_documents import ASSIGNMENTS, PARAMS, RESULTS, TASKS, Document, assignment_id
from master.store.mongo_lease import KEY, Lease
from master.store.mongo_reads import Database, MongoReads
from master.store.rows import Runs, plain
from master.store.turns import Turns

INLINE_BYTES = 256 * 1024
PIECE_BYTES = 8 * 1024 * 1024
LARGEST_DOCUMENT = 16 * 1024 * 1024 - 64 * 1024

_encoder = msgspec.msgpack.Encoder(enc_hook=plain)
_decoder = msgspec.msgpack.Decoder(list[tuple[str, list[tuple[object, ...]]]])


class Group:
    """Writes that take effect together.

    Raises
    ------
    ValueError, TypeError
        When a value cannot be stored.
    """

    def __init__(self, runs: Runs) -> None:
        try:
            self.payload = _encoder.encode(runs)
        except OverflowError as error:
            raise ValueError(f"an integer of more than 64 bits cannot be stored: {error}") from error
        self.digest = hashlib.blake2b(self.payload, digest_size=16).hexdigest()
        # As they will be read after a crash, without numpy's scalars.
        self.runs: Runs = _decoder.decode(self.payload)  # type: ignore[assignment]

    def check(self) -> None:
        """Raise ValueError when a value, or a document, cannot be stored."""
        for kind, rows in self.runs:
            for row in rows:
                for value in row:
                    if type(value) is float and math.isnan(value):
                        raise ValueError(f"{kind}: NaN where a value is needed")
                    if type(value) is int and not -(2**63) <= value < 2**63:
                        raise ValueError(f"{kind}: an integer of more than 64 bits cannot be stored")
        if len(self.payload) > INLINE_BYTES:
            for writes in writes_of(self.runs, 0).values():
                for _, update, _ in writes:
                    if len(bson.encode(update)) > LARGEST_DOCUMENT:
                        raise ValueError("a document of more than 16 MiB cannot be stored")


class Commits:
    """The commits of one master, one at a time.

    Parameters
    ----------
    database
        Of the collections.
    lease : Lease
        Taken.
    master, pieces
        The collections of the lease's document, and of the pieces of large groups.
    turns : Turns
        Had alone while a group is carried out.
    """

    def __init__(
        self,
        database: Database,
        lease: Lease,
        master: AsyncCollection[Document],
        pieces: AsyncCollection[Document],
        turns: Turns,
    ) -> None:
        self._database = database
        self._reads = MongoReads(database)
        self._lease = lease
        self._master = master
        self._pieces = pieces
        self._number = 0
        self._in_doubt: dict[str, Group] = {}
        self._carrying: Group | None = None
        # Made, and its caller was told of a failure, or of nothing yet.
        self._untold: Group | None = None
        self._turns = turns
        self._has_pieces = True

    async def recover(self, document: Document) -> None:
        """Carry out the last group of an earlier master; `document` is the lease's as it was taken.

        Raises
        ------
        StoreOpenError
            When a part of it is missing.
        """
        self._number = int(document["number"])
        if (group := document.get("group")) is not None:
            payload = group["data"]
            if payload is None:
                found = {d["part"]: d["data"] async for d in self._pieces.find({"token": group["token"]})}
                if found.keys() != set(range(group["parts"])):
                    raise StoreOpenError(f"a part of commit {self._number} is missing in the database")
                payload = b"".join(found[part] for part in sorted(found))
            self._carrying = Group(_decoder.decode(payload))  # type: ignore[arg-type]
            await self.carry_out()
            await self._drop_pieces(group["token"])

    async def commit(self, group: Group) -> None:
        """Make all of it durable, or nothing, then carry it out.

        Raises
        ------
        StoreConflictError
            When it does not fit what is stored, or another master has taken over.
        PyMongoError
            When the server does not answer; whether it was made is found out at the next call.
        """
        while (made := await self.settle()) is None or made.digest != group.digest:
            await self._fits(group.runs)
            if await self._set(group):
                await self.carry_out()
                break
        self._untold = None

    async def settle(self) -> Group | None:
        """Settle what is in doubt, finish what is made; the group whose caller was not told, if any."""
        if self._in_doubt:
            document = await self._lease.read()
            if document.get("fence") != self._lease.fence:
                raise self._lease.superseded(document)
            if document["number"] != self._number:
                self._made(self._in_doubt[document["group"]["token"]])
        await self.carry_out()
        return self._untold

    async def carry_out(self) -> None:
        """Carry out the group that is made and may not be carried out yet."""
        if self._carrying is not None:
            async with self._turns.alone():
                await apply(self._database, self._carrying.runs, self._number)
            self._carrying = None

    @property
    def unfinished(self) -> bool:
        """Whether a group is made and not wholly carried out."""
        return self._carrying is not None

    async def _set(self, group: Group) -> bool:
        number = self._number + 1
        token = f"{self._lease.fence}.{number}.{group.digest}"
        stored: Document = {"token": token, "parts": 0, "data": Binary(group.payload)}
        if len(group.payload) > INLINE_BYTES:
            stored |= {"parts": await self._store_pieces(token, group.payload), "data": None}
        self._in_doubt[token] = group
        changed = await self._master.update_one(
            {"_id": KEY, "fence": self._lease.fence, "number": self._number},
            {"$set": {"number": Int64(number), "group": stored}, "$inc": {"beat": Int64(1)}},
        )
        if not changed.matched_count:
            return False
        self._made(group)
        if self._has_pieces:
            await self._drop_pieces(token)
        self._has_pieces = stored["data"] is None
        return True

    def _made(self, group: Group) -> None:
        self._number += 1
        self._in_doubt.clear()
        self._carrying = self._untold = group

    async def _store_pieces(self, token: str, payload: bytes) -> int:
        starts = range(0, len(payload), PIECE_BYTES)
        for part, start in enumerate(starts):
            piece = {"token": token, "part": part, "fence": Int64(self._lease.fence)}
            data = Binary(payload[start : start + PIECE_BYTES])
            await self._pieces.replace_one({"_id": f"{token}.{part}"}, piece | {"data": data}, upsert=True)
        return len(starts)

    async def _drop_pieces(self, token: str) -> None:
        """Delete what no group needs; never a later master's, whatever we have slept through."""
        await self._pieces.delete_many({"token": {"$ne": token}, "fence": {"$lte": self._lease.fence}})

    async def _fits(self, runs: Runs) -> None:
        rows = dict(runs)
        reads = self._reads
        for kind, name, exists in (("insert_task", TASKS, False), ("update_task", TASKS, True)):
            if kind in rows:
                ids = [row[0 if kind == "insert_task" else -1] for row in rows[kind]]
                found = await reads.keys(name, "task_id", ids)
                _refuse(((each,) for each in ids if (each in found) != exists), "task {!r}", exists)
        if "insert_attempt" in rows:
            keys = [(row[0], row[1]) for row in rows["insert_attempt"]]
            found = await reads.keys(ASSIGNMENTS, "ass_id", [assignment_id(*key) for key in keys])
            _refuse((key for key in keys if assignment_id(*key) in found), _ATTEMPT, False)
        if "end_attempt" in rows:
            keys = [(row[2], row[3]) for row in rows["end_attempt"]]
            found = await reads.keys(ASSIGNMENTS, "ass_id", [assignment_id(*key) for key in keys])
            absent = [key for key in keys if assignment_id(*key) not in found]
            if absent:
                foreign = await reads.foreign_assignments([task_id for task_id, _ in absent])
                theirs = {(document["task_id"], 1) for document in foreign}
                _refuse((key for key in absent if key not in theirs), _ATTEMPT, True)
        if "insert_result" in rows:
            ids = [row[0] for row in rows["insert_result"]]
            found = await reads.keys(RESULTS, "task_id", ids)
            _refuse(((each,) for each in ids if each in found), "the result of task {!r}", False)
        if "insert_params" in rows:
            versions = [row[0] for row in rows["insert_params"]]
            found = await reads.keys(PARAMS, "version", versions)
            _refuse(((each,) for each in versions if each in found), "parameter version {}", False)


_ATTEMPT = "attempt {1} of task {0!r}"


def _refuse(wrong: Iterable[tuple[object, ...]], name: str, exists: bool) -> None:
    """Raise for the first of the keys that are stored, or are not, against what is wanted."""
    for key in wrong:
        raise StoreConflictError(f"{name.format(*key)} {'is not stored' if exists else 'is stored already'}")
