"""Who watches which tasks: each reads the latest state of what changed since it last looked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable

from master.errors import TooSlowError
from master.records import StoredTask, TaskSpec, TaskStatus

BACKLOG = 10_000


class Watcher:
    """One client's view; an async iterator of tasks.

    With a user it is told of no other's tasks.

    A watcher that reads slowly misses states in between but never the last one. One that watches every task
    and falls more than `BACKLOG` tasks behind is told so and ended: it would have to hold them all.
    """

    def __init__(self, task_ids: frozenset[str], user_id: str = "") -> None:
        self._open = set(task_ids)
        self._every = not task_ids
        self._user_id = user_id
        self._changed: dict[str, StoredTask] = {}
        self._wake = asyncio.Event()
        self._error: Exception | None = None

    def put(self, task: StoredTask) -> None:
        """Note a state; the newest of a task replaces one that has not been read."""
        if self._user_id and task.spec.submission.user_id != self._user_id:
            return
        # Deleting first moves the task to the end: tasks come in the order of their latest change.
        self._changed.pop(task.spec.task_id, None)
        self._changed[task.spec.task_id] = task
        if self._every and len(self._changed) > BACKLOG:
            self.end(TooSlowError(f"the watcher is more than {BACKLOG} tasks behind; list the tasks instead"))
        self._wake.set()

    def begin(self, task: StoredTask) -> None:
        """Note the state that was read for the start, unless a newer one was put while it was read."""
        if task.spec.task_id not in self._changed:
            self.put(task)

    def end(self, error: Exception) -> None:
        """Let the iteration raise this, at once."""
        self._error = error
        self._wake.set()

    async def __aiter__(self) -> AsyncIterator[StoredTask]:
        """Tasks as they change; ends when every named task has finished."""
        while self._every or self._open:
            await self._wake.wait()
            self._wake.clear()
            while self._changed and self._error is None:
                task_id = next(iter(self._changed))
                task = self._changed.pop(task_id)
                if task.status.state.terminal:
                    self._open.discard(task_id)
                yield task
            if self._error is not None:
                raise self._error


class Watchers:
    """All watchers, found by the tasks that they watch."""

    def __init__(self) -> None:
        self._of_task: dict[str, set[Watcher]] = {}
        self._of_every: set[Watcher] = set()

    @property
    def count(self) -> int:
        """How many watchers there are."""
        return len(self._of_every.union(*self._of_task.values()))

    def add(self, task_ids: Collection[str], user_id: str = "") -> Watcher:
        """A new watcher of these tasks, or, with none, of every task; with a user, of theirs only."""
        watcher = Watcher(frozenset(task_ids), user_id)
        for group in self._groups(task_ids, create=True):
            group.add(watcher)
        return watcher

    def remove(self, watcher: Watcher, task_ids: Collection[str]) -> None:
        """Forget a watcher that was added with these ids."""
        for group in self._groups(task_ids, create=False):
            group.discard(watcher)
        for task_id in task_ids:
            if not self._of_task.get(task_id, True):
                del self._of_task[task_id]

    def publish(self, spec: TaskSpec, status: TaskStatus) -> None:
        """Tell everyone whom it concerns."""
        watching = self._of_task.get(spec.task_id)
        if watching or self._of_every:
            task = StoredTask(spec, status)
            for watcher in self._of_every.union(watching or ()):
                watcher.put(task)

    def end_all(self, error: Exception) -> None:
        """End every watcher with this error."""
        for watcher in self._of_every.union(*self._of_task.values()):
            watcher.end(error)

    def _groups(self, task_ids: Collection[str], *, create: bool) -> Iterable[set[Watcher]]:
        if not task_ids:
            yield self._of_every
        for task_id in task_ids:
            group = self._of_task.setdefault(task_id, set()) if create else self._of_task.get(task_id)
            if group is not None:
                yield group
