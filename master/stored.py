"""Which tasks the store holds beside those in memory, and how a caller gets at them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from master.errors import StoreUnavailableError
from master.known import KnownIds
from master.lookup import Lookup
from master.records import StoredTask, TaskState
from master.store.base import Store, TaskQuery

# Ids of earlier runs are read in pages of 3 ms with pauses: a million take a minute and a quarter of a core.
LEARN_PAGE = 500
LEARN_PAUSE_S = 0.02


class StoredTasks:
    """Finds tasks in the store, and knows of most ids without asking that it has none.

    Attributes
    ----------
    complete : bool
        Whether every id that the store had at the start is known; until then it is asked for each.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lookup = Lookup(store)
        self._ids = KnownIds()
        self.complete = False

    def add(self, task_id: str) -> None:
        """Remember an id that is stored, or will be."""
        self._ids.add(task_id)

    def may_have(self, task_id: str) -> bool:
        """Whether the store may have a task of this id; no is certain."""
        return not self.complete or task_id in self._ids

    async def find(self, task_ids: Sequence[str]) -> dict[str, StoredTask]:
        """The tasks that are stored, at least of these ids."""
        return await self._lookup.find(task_ids) if task_ids else {}

    async def learn(self) -> None:
        """Read the ids of tasks that finished in earlier runs."""
        finished = frozenset(state for state in TaskState if state.terminal)
        query = TaskQuery(finished, limit=LEARN_PAGE)
        while not self.complete:
            try:
                page = await self._store.list_tasks(query)
            except StoreUnavailableError:
                await asyncio.sleep(1.0)
                continue
            for task in page:
                self._ids.add(task.spec.task_id)
            if len(page) < LEARN_PAGE:
                self.complete = True
                return
            last = page[-1].spec
            query = msgspec.structs.replace(query, after=(last.submitted_at, last.task_id))
            await asyncio.sleep(LEARN_PAUSE_S)
