"""Who may write to a MongoDB store: one document with a fencing number, renewed twice a period.

Design

a. The document counts heartbeats (`beat`); every renewal and every commit adds one. A master that wants the
   store watches the count by its own clock: no change for two of the holder's periods, and the holder is
   taken for dead. Clocks of different machines are never compared. A failed read begins the watch anew, and
   the time of a late one does not count, since a server that was away has kept the holder from renewing too.
b. Taking over is one compare-and-set on the fencing number and the count: it raises the number. Every write
   of a master is a compare-and-set on the number as well (see `mongo_commits`), so the one that was taken for
   dead, and was not, finds that out at its next write or renewal, and can change nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid

import structlog
from bson.int64 import Int64
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import DuplicateKeyError, PyMongoError

from master.store.base import StoreInUseError, StoreOpenError, StoreSupersededError
from master.store.mongo_documents import Document

log = structlog.get_logger(__name__)

SCHEMA = 1
KEY = "master"

DEAD_AFTER_PERIODS = 2.0
_LOOKS_PER_PERIOD = 10
_RENEWALS_PER_PERIOD = 2


class Lease:
    """The right to write, once `take` has returned.

    Parameters
    ----------
    collection
        That of the document.
    address : str
        Where clients find this master; it may become known later.
    period_s : float
    """

    def __init__(self, collection: AsyncCollection[Document], address: str, period_s: float) -> None:
        self._collection = collection
        self._period_s = period_s
        self._holder = uuid.uuid4().hex
        self._over = asyncio.Event()
        self.address = address
        self.fence = 0

    async def take(self) -> Document:
        """The document of the lease, once it is ours: at once when nobody holds it.

        Raises
        ------
        StoreInUseError
            As soon as its holder shows a sign of life.
        StoreOpenError
            When a newer version wrote it.
        PyMongoError
            When the server does not answer.
        """
        seen = await self.read()
        since = time.monotonic()
        while True:
            if seen.get("schema", SCHEMA) > SCHEMA:
                raise StoreOpenError(
                    f"the database was written by a newer rtscore: schema version {seen['schema']}, "
                    f"this one knows {SCHEMA}"
                )
            period_s = float(seen.get("period_s", self._period_s))
            if not seen.get("holder") or time.monotonic() - since >= DEAD_AFTER_PERIODS * period_s:
                taken = await self._take_from(seen)
                if taken is not None:
                    return taken
            else:
                await asyncio.sleep(period_s / _LOOKS_PER_PERIOD)
            asked = time.monotonic()
            now = await self.read()
            # While the server gave no answer the holder may have waited for one, too.
            since += time.monotonic() - asked
            if (now.get("fence"), now.get("beat")) != (seen.get("fence"), seen.get("beat")):
                if now.get("holder"):
                    raise in_use(now)
                since = time.monotonic()
            seen = now

    async def read(self) -> Document:
        """The document; empty when there is none."""
        return await self._collection.find_one({"_id": KEY}) or {}

    async def renew(self) -> None:
        """Say that we live.

        Raises
        ------
        StoreSupersededError
            When another master has taken over.
        """
        fields = {"address": self.address, "period_s": self._period_s}
        renewed = await self._collection.update_one(
            {"_id": KEY, "fence": self.fence}, {"$set": fields, "$inc": {"beat": Int64(1)}}
        )
        if not renewed.matched_count:
            raise self.superseded(await self.read())

    async def keep(self) -> None:
        """Renew until `let_go`, or until that is not possible any more, and then raise as `renew`."""
        reached = True
        # Not by cancellation, which the driver may turn into an error of its own.
        while not self._over.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), self._period_s / _RENEWALS_PER_PERIOD)
                return
            try:
                await self.renew()
            except PyMongoError as error:
                if reached:
                    log.warning("lease not renewed", error=brief(error))
                reached = False
            else:
                reached = True

    def let_go(self) -> None:
        """Let `keep` return."""
        self._over.set()

    async def release(self) -> None:
        """Let the next master in at once."""
        await self._collection.update_one(
            {"_id": KEY, "fence": self.fence, "holder": self._holder},
            {"$set": {"holder": "", "address": ""}, "$inc": {"beat": Int64(1)}},
        )

    def superseded(self, now: Document) -> StoreSupersededError:
        """What to tell a master whose number is not the lease's any more."""
        who = f"the master at {now['address']}" if now.get("address") else "another master"
        return StoreSupersededError(
            f"{who} has taken the store over (its fencing number is {now.get('fence', 'gone')}, ours "
            f"{self.fence})"
        )

    async def _take_from(self, seen: Document) -> Document | None:
        fields = {
            "holder": self._holder,
            "address": self.address,
            "period_s": self._period_s,
            "schema": SCHEMA,
        }
        fence = int(seen.get("fence", 0)) + 1
        if not seen:
            document = {"_id": KEY, "beat": Int64(0), "number": Int64(0), "group": None}
            try:
                await self._collection.insert_one(document | fields | {"fence": Int64(fence)})
            except DuplicateKeyError:
                return None
        else:
            taken = await self._collection.update_one(
                {"_id": KEY, "fence": seen["fence"], "beat": seen["beat"]},
                {"$set": fields | {"fence": Int64(fence)}, "$inc": {"beat": Int64(1)}},
            )
            if not taken.matched_count:
                return None
        self.fence = fence
        # Whose it is now, also when an answer was lost on the way and the driver asked twice.
        now = await self.read()
        return now if now.get("holder") == self._holder and now.get("fence") == fence else None


def in_use(document: Document) -> StoreInUseError:
    """What to tell a master that finds the lease held."""
    address = str(document.get("address") or "")
    where = f" at {address}" if address else ""
    return StoreInUseError(f"the database is in use by another master{where}", address)


def brief(error: Exception) -> str:
    """A driver's error without its description of the whole topology."""
    return str(error).partition(" (configured timeouts")[0].partition(", full error:")[0]
