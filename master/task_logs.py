"""What a task prints: from the store once it has finished, from its worker while it runs; or as it comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from master.agents import Agents
from master.errors import WorkerUnreachableError
from master.events import AttemptId
from master.log_feed import Feed
from master.log_relay import LogRelay
from master.log_writer import LogWriter, Write
from master.records import StoredTask, TaskState
from master.runner import Master
from master.watch import Watcher
from rtscore.rpc import cluster_pb2

# For an answer of a connected worker; a follower of a task that has ended waits so long for its last words.
TIMEOUT_S = 10.0


class TaskLogs:
    """Answers StreamTaskLogs.

    Parameters
    ----------
    master : Master
    relay : LogRelay
        The way to workers with a session.
    agents : Agents
        The way to those without.
    """

    def __init__(self, master: Master, relay: LogRelay, agents: Agents) -> None:
        self._master = master
        self._relay = relay
        self._agents = agents

    async def stream(self, request: cluster_pb2.TaskLogRequest, write: Write) -> None:
        """Write the output in chunks; the last one is `is_complete` and has the task's state.

        With `follow` that is when the task has ended, through all of its attempts; before it begins the
        reader waits. A reader that is too slow, or comes late, is told how many bytes it missed.

        Raises
        ------
        UnknownTaskError
            When there is no such task.
        LimitReachedError
            When too many read already.
        WorkerUnreachableError
            When the task runs and its worker does not answer; a follower waits for one with sessions.
        """
        with self._relay.reader(request.user_id):
            writer = LogWriter(request, write, self._master.clock)
            if not request.follow:
                await self._read(request, writer)
                return
            task_ids = (request.task_id,)
            watcher = self._master.watchers.add(task_ids)
            try:
                task = await self._master.task(request.task_id)
                watcher.begin(task)
                await self._follow(request, writer, _Course(task), watcher)
            finally:
                self._master.watchers.remove(watcher, task_ids)

    # ---- once ----

    async def _read(self, request: cluster_pb2.TaskLogRequest, writer: LogWriter) -> None:
        task = await self._master.task(request.task_id)
        if task.status.state is TaskState.RUNNING:
            pieces = self._of_agent(task, request)
            if pieces is not None:
                await _copy(pieces, writer)
            else:
                await self._read_feed(task, writer)
            # It may have ended meanwhile, and its worker have forgotten it.
            task = await self._master.task(request.task_id)
        if task.status.state.terminal:
            await self._stored(request.task_id, writer)
        await writer.end(task)

    async def _read_feed(self, task: StoredTask, writer: LogWriter) -> None:
        worker_id, attempt = _attempt(task)
        await writer.begin(attempt.attempt)
        wake = asyncio.Event()
        with self._relay.feed(worker_id, attempt, wake) as feed:
            before = feed.answers
            await self._answer(worker_id, feed, wake)
            # A command that never stops printing is read up to here.
            until = feed.printed if feed.answers > before else feed.end
            while writer.position < until:
                if (piece := feed.after(writer.position)) is not None:
                    await writer.put(piece.missed, piece.content)
                elif feed.ended:
                    return
                else:
                    await self._answer(worker_id, feed, wake)

    async def _answer(self, worker_id: str, feed: Feed, wake: asyncio.Event) -> None:
        before = feed.answers
        with suppress(TimeoutError):
            async with asyncio.timeout(TIMEOUT_S):
                while feed.answers == before and not feed.ended:
                    if not self._relay.is_connected(worker_id):
                        raise WorkerUnreachableError(f"worker {worker_id}, which runs it, is not connected")
                    wake.clear()
                    feed.want(wait=False)
                    await wake.wait()
                return
        raise WorkerUnreachableError(f"worker {worker_id} sent no output within {TIMEOUT_S:g} s")

    # ---- as it comes ----

    async def _follow(
        self, request: cluster_pb2.TaskLogRequest, writer: LogWriter, course: _Course, watcher: Watcher
    ) -> None:
        watching = asyncio.create_task(course.watch(watcher))
        whole, told = 0, None
        try:
            while True:
                task = course.task
                status = task.status
                if status.state.terminal:
                    break
                if told != (status.state, status.attempt):
                    told = status.state, status.attempt
                    if status.state is TaskState.RUNNING:
                        await writer.begin(status.attempt)
                    await writer.tell(task)
                runs = status.state is TaskState.RUNNING and whole != status.attempt
                if runs and await self._follow_attempt(task, request, writer, course):
                    whole = status.attempt
                await course.changed(task)
            if whole != task.status.attempt:
                await self._stored(request.task_id, writer)
            await writer.end(task)
        finally:
            watching.cancel()

    async def _follow_attempt(
        self, task: StoredTask, request: cluster_pb2.TaskLogRequest, writer: LogWriter, course: _Course
    ) -> bool:
        """Write what an attempt prints; True when that was all of it."""
        pieces = self._of_agent(task, request)
        if pieces is not None:
            return await self._follow_agent(task, pieces, writer, course)
        worker_id, attempt = _attempt(task)
        with self._relay.feed(worker_id, attempt, course.wake) as feed:
            while True:
                course.wake.clear()
                if (piece := feed.after(writer.position)) is not None:
                    await writer.put(piece.missed, piece.content)
                elif feed.ended:
                    return not feed.unknown
                elif course.left(attempt) or (
                    course.task.status.state.terminal and not self._relay.is_connected(worker_id)
                ):
                    return False
                else:
                    feed.want(wait=True)
                    if not await course.woken():
                        return False

    async def _follow_agent(
        self, task: StoredTask, pieces: AsyncIterator[str], writer: LogWriter, course: _Course
    ) -> bool:
        _, attempt = _attempt(task)
        copying = asyncio.create_task(_copy(pieces, writer))
        copying.add_done_callback(lambda _: course.wake.set())
        try:
            while not copying.done():
                course.wake.clear()
                if course.left(attempt) or not await course.woken():
                    return False
            copying.result()
            return True
        finally:
            copying.cancel()
            await asyncio.wait({copying})

    # ---- from where ----

    def _of_agent(self, task: StoredTask, request: cluster_pb2.TaskLogRequest) -> AsyncIterator[str] | None:
        worker_id = task.status.worker_id
        if self._relay.is_connected(worker_id):
            return None
        return self._agents.logs(worker_id, request.task_id, request.user_id, follow=request.follow)

    async def _stored(self, task_id: str, writer: LogWriter) -> None:
        """Write what the store has beyond what the reader has.

        It has text: where the command printed bytes that are none, a position is not exact.
        """
        result = await self._master.store.result(task_id)
        if result is None:
            return
        await writer.begin(result.attempt)
        content, missed = result.logs.encode(), result.logs_offset - writer.position
        await writer.put(max(0, missed), content[max(0, -missed) :])


class _Course:
    """A task as it goes on, for one follower."""

    def __init__(self, task: StoredTask) -> None:
        self.task = task
        self.wake = asyncio.Event()
        self._error: Exception | None = None
        self._last_words_until: float | None = None

    async def watch(self, watcher: Watcher) -> None:
        """Keep the task up to date."""
        try:
            async for task in watcher:
                self.task = task
                if task.status.state.terminal:
                    self._last_words_until = asyncio.get_running_loop().time() + TIMEOUT_S
                self.wake.set()
        except Exception as error:
            self._error = error
            self.wake.set()

    def left(self, attempt: AttemptId) -> bool:
        """Whether the task has gone on to another attempt."""
        status = self.task.status
        return status.attempt != attempt.attempt or status.state is TaskState.QUEUED

    async def woken(self) -> bool:
        """Wait until something has changed; False when a task that has ended has had its time."""
        if self._error is None:
            try:
                async with asyncio.timeout_at(self._last_words_until):
                    await self.wake.wait()
            except TimeoutError:
                return False
        if self._error is not None:
            raise self._error
        return True

    async def changed(self, since: StoredTask) -> None:
        """Wait until the task is not as it was."""
        while self.task is since:
            self.wake.clear()
            await self.woken()


async def _copy(pieces: AsyncIterator[str], writer: LogWriter) -> None:
    """Write what an agent sends, which always sends from the beginning, from the reader's position on."""
    position = 0
    async for text in pieces:
        content = text.encode()
        known = max(0, min(len(content), writer.position - position))
        position += len(content)
        await writer.put(0, content[known:])


def _attempt(task: StoredTask) -> tuple[str, AttemptId]:
    status = task.status
    return status.worker_id, AttemptId(task.spec.task_id, status.attempt)
