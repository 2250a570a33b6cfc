"""A watcher misses no task's last state."""

from __future__ import annotations

import asyncio

from master.records import StoredTask, Submission, TaskSpec, TaskState, TaskStatus
from master.watch import Watcher


def task(state: TaskState) -> StoredTask:
    spec = TaskSpec(Submission("t"), "mixed", 10.0, 2.0, submitted_at=0.0, deadline=20.0)
    return StoredTask(spec, TaskStatus(state=state))


async def test_a_state_that_was_read_before_a_newer_one_came_does_not_replace_it() -> None:
    watcher = Watcher(frozenset({"t"}))
    read = task(TaskState.RUNNING)
    watcher.put(task(TaskState.COMPLETED))
    watcher.begin(read)
    async with asyncio.timeout(60):
        assert [seen.status.state async for seen in watcher] == [TaskState.COMPLETED]


async def test_the_state_that_was_read_is_told_when_nothing_newer_has_come() -> None:
    watcher = Watcher(frozenset({"t"}))
    watcher.begin(task(TaskState.RUNNING))
    watcher.put(task(TaskState.COMPLETED))
    async with asyncio.timeout(60):
        assert [seen.status.state async for seen in watcher] == [TaskState.COMPLETED]
