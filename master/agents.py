"""MasterWorker for agents that keep no session: their unary calls, and the master's calls back to them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from typing import Any

import grpc
import structlog

from master import access, convert
from master.config import split_address
from master.errors import (
    InvalidRequestError,
    MasterError,
    StoppingError,
    StoreUnavailableError,
    UnknownTaskError,
    UnsupportedError,
    WorkerUnreachableError,
)
from master.events import (
    Assign,
    AttemptFinished,
    AttemptId,
    AttemptRefused,
    AttemptStarted,
    EndAttempt,
    RegisterWorker,
)
from master.interceptors import Context
from master.records import WorkerRecord
from master.runner import Master
from rtscore.rpc import cluster_pb2, cluster_pb2_grpc

log = structlog.get_logger(__name__)

CALL_TIMEOUT_S = 5.0
LOG_TIMEOUT_S = 10.0
# An agent that does not answer a cancellation is asked again after 1, 2, 4, 8 s; then its silence decides.
CANCEL_TRIES = 5
CANCEL_PAUSE_S = 1.0


class _Agent:
    """The way to one agent's own server, as a `WorkerLink`.

    CancelTask names no attempt. So that it ends the right one, calls about one task follow each other: a
    cancellation waits for the answer to the assignment, and an assignment gives up what is left of cancelling
    an earlier attempt.
    """

    def __init__(
        self, master: Master, worker_id: str, address: str, forget: Callable[[_Agent], None]
    ) -> None:
        self.worker_id = worker_id
        self.address = address
        self._master = master
        self._forget = forget
        # Without the scheme gRPC would take a host for one, as in unix:7070, a socket of this machine.
        self._channel = grpc.aio.insecure_channel(f"dns:///{address}")
        self._stub = cluster_pb2_grpc.MasterWorkerStub(self._channel)
        self._calls: set[asyncio.Task[None]] = set()
        self._assigning: dict[str, asyncio.Task[None]] = {}
        self._cancelling: dict[str, asyncio.Task[None]] = {}

    def assign(self, effect: Assign) -> None:
        """Dial the agent with a task; what it does not take goes back to the queue."""
        task_id = effect.spec.task_id
        if (earlier := self._cancelling.pop(task_id, None)) is not None:
            earlier.cancel()
        self._spawn(self._assign(effect), self._assigning, task_id)

    def cancel(self, attempt: AttemptId) -> None:
        """Dial the agent with a cancellation, unless that is under way; its yes ends the attempt."""
        if attempt.task_id not in self._cancelling:
            after = self._assigning.get(attempt.task_id)
            self._spawn(self._cancel(attempt, after), self._cancelling, attempt.task_id)

    def recorded(self, attempt: AttemptId) -> None:
        """Nothing: the answer to ReportTaskCompletion has said so."""

    def lost(self) -> None:
        """Give up what is under way and hang up; an agent that comes back is dialled anew."""
        self._forget(self)
        for call in self._calls:
            call.cancel()
        self._spawn(self._channel.close())

    async def close(self) -> None:
        """Give up what is under way and hang up."""
        for call in self._calls:
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)
        await self._channel.close()

    async def logs(self, task_id: str, user_id: str, follow: bool) -> AsyncIterator[str]:
        """What a task has printed, in pieces; with `follow` what it prints from now on, too.

        Raises
        ------
        WorkerUnreachableError
            When the agent does not answer.
        """
        request = cluster_pb2.TaskLogRequest(task_id=task_id, user_id=user_id, follow=follow)
        timeout_s = None if follow else LOG_TIMEOUT_S
        try:
            async for chunk in self._stub.StreamTaskLogs(request, timeout=timeout_s):
                yield chunk.content
        except grpc.aio.AioRpcError as error:
            raise WorkerUnreachableError(self._sentence(error)) from None

    async def _assign(self, effect: Assign) -> None:
        attempt = AttemptId(effect.spec.task_id, effect.attempt)
        task = cluster_pb2.Task()
        convert.fill_assignment(task, effect.spec, self.worker_id, effect.attempt)
        try:
            ack = await self._stub.AssignTask(task, timeout=CALL_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            self._report(AttemptRefused(self.worker_id, attempt, self._sentence(error)))
            return
        if ack.success:
            # Such an agent never says that a command runs; its yes is the nearest thing.
            self._report(AttemptStarted(self.worker_id, attempt, self._master.clock()))
        else:
            # The core's sentence names the worker and says that it refused.
            self._report(AttemptRefused(self.worker_id, attempt, ack.message))

    async def _cancel(self, attempt: AttemptId, after: asyncio.Task[None] | None) -> None:
        if after is not None:
            await asyncio.wait([after])
        for attempt_number in range(CANCEL_TRIES):
            try:
                ack = await self._stub.CancelTask(
                    cluster_pb2.TaskID(task_id=attempt.task_id), timeout=CALL_TIMEOUT_S
                )
            except grpc.aio.AioRpcError as error:
                log.warning(
                    "cancellation not delivered",
                    task_id=attempt.task_id,
                    attempt=attempt.attempt,
                    worker_id=self.worker_id,
                    error=self._sentence(error),
                )
                await asyncio.sleep(CANCEL_PAUSE_S * 2.0**attempt_number)
                continue
            # What has no number the agent named and the core did not know: there is nothing to end, and the
            # core would take it for an attempt of that task that it has placed there since.
            if attempt.attempt:
                # No: it does not run there, which ends it as well.
                reason = "cancelled" if ack.success else f"the worker does not run it: {ack.message}"
                self._report(AttemptFinished(self.worker_id, attempt, success=False, reason=reason))
            return

    def _report(self, event: AttemptRefused | AttemptStarted | AttemptFinished) -> None:
        try:
            self._master.post(event)
        except MasterError as error:
            log.warning(
                "event refused",
                task_id=event.attempt.task_id,
                attempt=event.attempt.attempt,
                worker_id=self.worker_id,
                error=str(error),
            )

    def _sentence(self, error: grpc.aio.AioRpcError) -> str:
        code, details = error.code().name, error.details()
        return f"worker {self.worker_id} at {self.address} did not answer: {code} {details}"

    def _spawn(
        self,
        call: Coroutine[Any, Any, None],
        under: dict[str, asyncio.Task[None]] | None = None,
        task_id: str = "",
    ) -> None:
        def done(task: asyncio.Task[None]) -> None:
            self._calls.discard(task)
            if under is not None and under.get(task_id) is task:
                del under[task_id]

        task = asyncio.create_task(call)
        self._calls.add(task)
        if under is not None:
            under[task_id] = task
        task.add_done_callback(done)


class Agents(cluster_pb2_grpc.MasterWorkerServicer):
    """All agents without a session. A refusal is an answer with `success` false, as they expect."""

    def __init__(self, master: Master) -> None:
        self._master = master
        self._agents: dict[str, _Agent] = {}

    def restore(self, workers: Iterable[WorkerRecord]) -> None:
        """Know the agents of an earlier run again: they may go on with heartbeats without registering."""
        for worker in workers:
            if worker.address:
                self._link(worker)

    async def close(self) -> None:
        """Hang up on every agent."""
        await asyncio.gather(*(agent.close() for agent in self._agents.values()))

    def logs(self, worker_id: str, task_id: str, user_id: str, *, follow: bool) -> AsyncIterator[str] | None:
        """Output of a task on such an agent; None when the worker is none of them."""
        agent = self._agents.get(worker_id)
        return None if agent is None else agent.logs(task_id, user_id, follow)

    async def RegisterWorker(
        self, request: cluster_pb2.WorkerInfo, context: Context
    ) -> cluster_pb2.RegisterAck:
        """Take a worker in, or again."""
        access.require_worker(request.worker_id, context)
        worker = convert.worker_record(request, address=request.worker_ip, executors=())
        try:
            _check_address(request.worker_ip)
            self._master.post(RegisterWorker(worker, None))
        except MasterError as error:
            return cluster_pb2.RegisterAck(success=False, message=str(error))
        self._link(worker)
        await self._master.durable()
        log.info("worker registered", worker_id=worker.worker_id, address=worker.address)
        return cluster_pb2.RegisterAck(success=True, message=f"registered {worker.worker_id}")

    async def SendHeartbeat(
        self, request: cluster_pb2.Heartbeat, context: Context
    ) -> cluster_pb2.HeartbeatAck:
        """Note a sign of life; false to a worker that has to register first."""
        access.require_worker(request.worker_id, context)
        try:
            self._master.post(convert.heartbeat(request.worker_id, request, claims=True))
        except MasterError:
            return cluster_pb2.HeartbeatAck(success=False)
        return cluster_pb2.HeartbeatAck(success=True)

    async def ReportTaskCompletion(
        self, request: cluster_pb2.TaskResult, context: Context
    ) -> cluster_pb2.Ack:
        """Record a result; a yes means that it is durable, and a repetition gets the same yes."""
        access.require_worker(request.worker_id, context)
        try:
            effects = await self._master.apply(convert.finished(request.worker_id, request))
            if not any(isinstance(effect, EndAttempt) for effect in effects):
                return await self._not_held(request)
        except (StoreUnavailableError, StoppingError):
            # Not a no: the agent would forget a result that the next master may record.
            raise
        except MasterError as error:
            return cluster_pb2.Ack(success=False, message=str(error))
        return cluster_pb2.Ack(success=True, message="recorded")

    async def MasterRegister(
        self, request: cluster_pb2.MasterInfo, context: Context
    ) -> cluster_pb2.RegisterAck:
        """Not served by a master."""
        raise _for_agents("MasterRegister")

    async def AssignTask(self, request: cluster_pb2.Task, context: Context) -> cluster_pb2.TaskAck:
        """Not served by a master."""
        raise _for_agents("AssignTask")

    async def CancelTask(self, request: cluster_pb2.TaskID, context: Context) -> cluster_pb2.TaskAck:
        """Not served by a master."""
        raise _for_agents("CancelTask")

    async def StreamTaskLogs(
        self, request: cluster_pb2.TaskLogRequest, context: Context
    ) -> AsyncIterator[cluster_pb2.LogChunk]:
        """Not served by a master."""
        raise _for_agents("StreamTaskLogs")
        yield cluster_pb2.LogChunk()  # pragma: no cover - makes it a generator

    async def _not_held(self, request: cluster_pb2.TaskResult) -> cluster_pb2.Ack:
        """The answer to a report of what its sender does not hold, or no longer."""
        worker_id = request.worker_id
        try:
            task = await self._master.task(request.task_id)
        except UnknownTaskError as error:
            return cluster_pb2.Ack(success=False, message=f"{error}; nothing was recorded")
        state, holder = task.status.state, task.status.worker_id
        if state.terminal and holder == worker_id:
            return cluster_pb2.Ack(success=True, message=f"task {request.task_id} is {state.value} already")
        where = f" on worker {holder}" if holder else ""
        why = f"worker {worker_id} does not hold task {request.task_id}, which is {state.value}{where}"
        return cluster_pb2.Ack(success=False, message=f"{why}; nothing was recorded")

    def _link(self, worker: WorkerRecord) -> None:
        agent = self._agents.get(worker.worker_id)
        if agent is None or agent.address != worker.address:
            if agent is not None:
                agent.lost()
            agent = _Agent(self._master, worker.worker_id, worker.address, self._forget)
            self._agents[worker.worker_id] = agent
        self._master.links[worker.worker_id] = agent

    def _forget(self, agent: _Agent) -> None:
        if self._agents.get(agent.worker_id) is agent:
            del self._agents[agent.worker_id]


def _check_address(address: str) -> None:
    try:
        host, _ = split_address(address)
    except ValueError as error:
        raise InvalidRequestError("worker_ip", f"{address[:64]!r} came; {error}") from None
    if "/" in host:
        # No host has one.
        raise InvalidRequestError("worker_ip", f"{address[:64]!r} came; host:port is allowed")


def _for_agents(method: str) -> UnsupportedError:
    return UnsupportedError(
        f"{method} is served by agents, not by a master; clients use rtscore.v1.SchedulerService"
    )
