"""AsyncMasterClient: the client for asyncio programs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc

from rtscore.client import calls
from rtscore.client.errors import CallTimeoutError
from rtscore.client.masters import Masters
from rtscore.client.types import (
    ClusterStats,
    EpochOutcome,
    Explanation,
    LearningState,
    LogPiece,
    ParamsVersion,
    Plan,
    SubmitError,
    TaskInfo,
    TaskPage,
    TaskSpec,
    Timeline,
    WorkerInfo,
    WorkerPage,
)
from rtscore.credentials import Credentials, Tls
from rtscore.rpc import scheduler_pb2_grpc

T = TypeVar("T")


class AsyncMasterClient:
    """A connection to a master; an async context manager, for one event loop.

    Parameters and exceptions are those of `MasterClient`, and so is what the methods mean.
    """

    def __init__(
        self,
        address: str,
        *,
        timeout_s: float = calls.TIMEOUT_S,
        retry_for_s: float | None = None,
        tls: Tls | None = None,
        token: str = "",
    ) -> None:
        credentials = Credentials(tls=tls, token=token)
        channels = self._channels = list[grpc.aio.Channel]()

        def dial(address: str) -> scheduler_pb2_grpc.SchedulerServiceAsyncStub:
            channels.append(credentials.aio_channel(address, calls.OPTIONS))
            return scheduler_pb2_grpc.SchedulerServiceStub(channels[-1])

        # Without a reference to us: a channel must go when its client goes, not when cycles are looked for.
        self._masters = Masters(address, dial)
        self._timeout_s = timeout_s
        self._retry_for_s = self._masters.retry_for_s(retry_for_s)
        self._metadata = credentials.metadata

    async def close(self) -> None:
        """Hang up; calling it again does nothing."""
        for channel in self._channels:
            await channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def submit(self, spec: TaskSpec) -> TaskInfo:
        """Submit a task; returns it once it is durable."""
        return await self._call(calls.submit(spec))

    async def submit_many(self, specs: Iterable[TaskSpec]) -> list[TaskInfo | SubmitError]:
        """Submit many tasks; the answer has, in order, each task or why it was refused."""
        return [outcome for call in calls.submit_many(specs) for outcome in await self._call(call)]

    async def task(self, task_id: str) -> TaskInfo:
        """Return a task as it is now."""
        return await self._call(calls.get_task(task_id))

    async def tasks(
        self,
        states: Sequence[str] = (),
        user_id: str = "",
        *,
        worker_id: str = "",
        task_type: str = "",
        text: str = "",
        sla: str = "",
    ) -> AsyncIterator[TaskInfo]:
        """Iterate over tasks, newest submission first; page by page, as they are read.

        `text` is a part of the id, the user or the command, `sla` "met" or "missed".
        """
        token = ""
        while True:
            page = await self.task_page(
                states,
                user_id,
                worker_id=worker_id,
                task_type=task_type,
                text=text,
                sla=sla,
                page_size=calls.PAGE,
                page_token=token,
            )
            for task in page.tasks:
                yield task
            token = page.next_page_token
            if not token:
                return

    async def task_page(
        self,
        states: Sequence[str] = (),
        user_id: str = "",
        *,
        worker_id: str = "",
        task_type: str = "",
        text: str = "",
        sla: str = "",
        order: str = "newest",
        page_size: int = 100,
        page_token: str = "",
    ) -> TaskPage:
        """Return a page of tasks, as `tasks`; with `order` "queue" of those that wait, the next to go first.

        The order of the queue ends after some thousand tasks.
        """
        searched = (worker_id, task_type, text, sla, order, page_size)
        return await self._call(calls.list_tasks(states, user_id, *searched, page_token))

    async def cancel(self, task_id: str) -> TaskInfo:
        """End a task; returns it as it is then."""
        return await self._call(calls.cancel(task_id))

    async def logs(self, task_id: str, *, follow: bool = False) -> AsyncIterator[str]:
        """Iterate over what a task has printed; with `follow`, until it has ended.

        A line in brackets stands where bytes are missing.
        """
        async for piece in self.log_pieces(task_id, follow=follow):
            if text := calls.log_text(piece):
                yield text

    async def log_pieces(self, task_id: str, *, follow: bool = False) -> AsyncIterator[LogPiece]:
        """Iterate over what a task has printed, and what became of it.

        With `follow` a task that is queued is waited for, and the iteration ends when the task has ended; it
        goes on after a master's restart.
        """
        reading = calls.LogReading(task_id, follow)
        attempts = calls.Attempts(None if follow else self._timeout_s, self._retry_for_s)
        chunks = self._messages("StreamTaskLogs", lambda: reading.request, attempts)
        async with contextlib.aclosing(chunks):
            async for chunk in chunks:
                yield reading.take(chunk)

    async def watch(
        self, task_ids: Iterable[str] = (), *, timeout_s: float | None = None
    ) -> AsyncIterator[TaskInfo]:
        """Iterate over tasks as they change.

        With ids: first their present states; ends when all have finished; goes on after a master's restart.
        Without: every task of the cluster, from now on and without an end.
        """
        wanted = list(task_ids)
        attempts = calls.Attempts(timeout_s, self._retry_for_s if wanted else 0.0)
        messages = self._messages("WatchTasks", lambda: calls.watch(wanted), attempts)
        async with contextlib.aclosing(messages):
            async for message in messages:
                yield calls.task_info(message)

    async def wait(self, task_ids: Iterable[str], *, timeout_s: float | None = None) -> list[TaskInfo]:
        """Return the tasks, in this order, once all of them have finished.

        Raises
        ------
        CallTimeoutError
            When that takes longer than `timeout_s`.
        """
        outcomes = calls.Outcomes(task_ids)
        if outcomes.open:
            try:
                async for task in self.watch(outcomes.open, timeout_s=timeout_s):
                    outcomes.take(task)
            except CallTimeoutError:
                raise outcomes.late(timeout_s) from None
        return outcomes.result()

    async def workers(self) -> list[WorkerInfo]:
        """Return every worker."""
        page = await self._call(calls.list_workers((), "", "id", False, 0, ""))
        return list(page.workers)

    async def worker_page(
        self,
        states: Sequence[str] = (),
        *,
        text: str = "",
        order: str = "id",
        descending: bool = False,
        page_size: int = 100,
        page_token: str = "",
    ) -> WorkerPage:
        """Return a page of the workers; `text` is a part of the id.

        `order` is id, load, running, finished, missed or use (the largest used share of a resource).
        """
        return await self._call(calls.list_workers(states, text, order, descending, page_size, page_token))

    async def drain(self, worker_id: str, drain: bool = True) -> WorkerInfo:
        """Place nothing new on a worker (or, with False, again); what runs there goes on."""
        return await self._call(calls.drain(worker_id, drain))

    async def explain(self, task_id: str) -> Explanation:
        """Return why a task is where it is, or why it waits."""
        return await self._call(calls.explain(task_id))

    async def plan(self, spec: TaskSpec) -> Plan:
        """Return where a task would go if it were submitted now; it is not. It needs no command."""
        return await self._call(calls.plan(spec))

    async def stats(self) -> ClusterStats:
        """Return the cluster in numbers."""
        return await self._call(calls.stats())

    async def timeline(
        self, since: float = 0.0, until: float = 0.0, *, buckets: int = 60, by_type: bool = False
    ) -> Timeline:
        """Return throughput, deadlines and waits over time: in [since, until), Unix seconds.

        `until` 0 is now, `since` 0 an hour before.
        """
        return await self._call(calls.timeline(since, until, buckets, by_type))

    async def learning(self) -> LearningState:
        """Return how learning goes: the epoch that runs, the last ones, the probation."""
        return await self._call(calls.learning())

    async def params(self, version: int = 0) -> ParamsVersion:
        """Return the scheduling parameters of a version; 0 is the one in use."""
        return await self._call(calls.get_params(version))

    async def params_versions(self, limit: int = 0) -> list[ParamsVersion]:
        """Return the newest versions of the parameters (0: all that are kept), newest first."""
        return await self._call(calls.list_params(limit))

    async def roll_back(self, version: int) -> ParamsVersion:
        """Put the parameters of an earlier version to use again; returns the new version that has them."""
        return await self._call(calls.roll_back(version))

    async def train(self) -> EpochOutcome:
        """Run an epoch of learning now and return its outcome; what it accepts is in use then."""
        return await self._call(calls.train())

    async def _messages(
        self, name: str, request: Callable[[], Any], attempts: calls.Attempts
    ) -> AsyncGenerator[Any, None]:
        """What a streaming method says, over as many streams as it takes; `request` begins each of them."""
        while True:
            stub = self._masters.current()
            method: Any = getattr(stub, name)
            stream = method(request(), timeout=attempts.remaining_s, metadata=self._metadata)
            try:
                async for message in stream:
                    attempts.answered()
                    yield message
                return
            except grpc.RpcError as error:
                if attempts.unanswered(error):
                    self._masters.pass_over(stub)
                pause_s = attempts.after(error)
            finally:
                stream.cancel()
            await asyncio.sleep(pause_s)

    async def _call(self, call: calls.Call[T]) -> T:
        try_s = self._masters.try_s if call.timeout_s is None else None
        attempts = calls.Attempts(call.timeout_s or self._timeout_s, self._retry_for_s, try_s)
        while True:
            stub = self._masters.current()
            method: Any = getattr(stub, call.method)
            try:
                return call.decode(
                    await method(call.request, timeout=attempts.remaining_s, metadata=self._metadata)
                )
            except grpc.RpcError as error:
                if attempts.unanswered(error):
                    self._masters.pass_over(stub)
                pause_s = attempts.after(error)
            await asyncio.sleep(pause_s)
