"""Finds tasks in the store for many callers at once: while one read is under way the next gathers."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from master.records import StoredTask
from master.store.base import Store


class Lookup:
    """`Store.find_tasks`, shared.

    A submission with an id of the client's asks whether the store knows it. Read one by one that would cost
    a unary submission more than its commit does; in groups it costs the crowd one read per turn.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._wanted: set[str] = set()
        self._next: asyncio.Task[dict[str, StoredTask]] | None = None
        self._reading = asyncio.Lock()

    async def find(self, task_ids: Collection[str]) -> dict[str, StoredTask]:
        """The tasks that are stored, at least of these ids; the read begins after the call."""
        self._wanted.update(task_ids)
        if self._next is None:
            self._next = asyncio.create_task(self._read())
        # A caller that gives up must not take the read away from the others.
        return await asyncio.shield(self._next)

    async def _read(self) -> dict[str, StoredTask]:
        async with self._reading:
            wanted, self._wanted, self._next = self._wanted, set(), None
            return await self._store.find_tasks(wanted)
