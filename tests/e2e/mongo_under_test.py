"""The MongoDB store as the fault tests see it: two masters on a server that hangs now and then."""

from __future__ import annotations

from typing import Any, NoReturn

import pymongo
from mongo_server import MongoServer
from proof import Records

LEASE_S = 1.0


class MongoUnderTest:
    """A database on a server of our own, for a master and a standby.

    Parameters
    ----------
    server : MongoServer
        Without data; nobody else's.
    """

    masters = 2
    blocked = "store's server suspended"
    # The masters keep nothing on disk, and the stand-in neither.
    can_fill = False

    def __init__(self, server: MongoServer) -> None:
        self._server = server
        self._uri = f"{server.uri}/rts"

    def options(self) -> tuple[str, ...]:
        """What `rts master` is told."""
        return "--store", self._uri, "--lease-period", f"{LEASE_S}s"

    def block(self) -> None:
        """Let the server accept connections and answer nothing until `unblock`."""
        self._server.suspend()

    def unblock(self) -> None:
        """Let it answer again."""
        self._server.resume()

    def fill(self, master: int) -> NoReturn:
        """Not here; see `can_fill`."""
        raise NotImplementedError("nothing of this store is on a disk")

    def drain(self) -> NoReturn:
        """Not here; see `can_fill`."""
        raise NotImplementedError("nothing of this store is on a disk")

    def records(self) -> Records:
        """Everything that matters in it, read by itself; the masters have stopped."""
        with pymongo.MongoClient[dict[str, Any]](self._uri) as client:
            database = client.get_default_database()
            return Records(
                tasks={
                    task["task_id"]: (task["status"], task["attempt"]) for task in database["TASKS"].find()
                },
                attempts=[
                    (each["task_id"], each["attempt"], each["outcome"] or None)
                    for each in database["ASSIGNMENTS"].find()
                ],
                results=[
                    (each["task_id"], each["attempt"], each["status"] == "success")
                    for each in database["RESULTS"].find()
                ],
            )
