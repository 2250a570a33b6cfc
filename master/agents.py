"""MasterWorker for agents that keep no session: their unary calls, and the master's calls back to them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable
from typing import Any

import grpc
import structlog

from master import access, convert
from master.errors import MasterError, StoreUnavailableError, UnsupportedError, WorkerUnreachableError
from master.events import Assign, AttemptFinished, AttemptId, AttemptRefused, AttemptStarted, RegisterWorker
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
    """The way to one agent's own server, as a `WorkerLink`."""

    def __init__(self, master: Master, worker_id: str, address: str) -> None:
        self.address = address
        self._master = master
        self._worker_id = worker_id
        self._channel = grpc.aio.insecure_channel(address)
        self._stub = cluster_pb2_grpc.MasterWorkerStub(self._channel)
        self._calls: set[asyncio.Task[None]] = set()

    def assign(self, effect: Assign) -> None:
        """Dial the agent with a task; what it does not take goes back to the queue."""
        self._spawn(self._assign(effect))

    def cancel(self, attempt: AttemptId) -> None:
        """Dial the agent with a cancellation; its yes ends the attempt."""
        self._spawn(self._cancel(attempt))

    def recorded(self, attempt: AttemptId) -> None:
        """Nothing: the answer to ReportTaskCompletion has said so."""

    def lost(self) -> None:
        """Hang up."""
        self._spawn(self._channel.close(grace=None))

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
        convert.fill_assignment(task, effect.spec, self._worker_id, effect.attempt)
        try:
            ack = await self._stub.AssignTask(task, timeout=CALL_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            self._report(AttemptRefused(self._worker_id, attempt, self._sentence(error)))
            return
        if ack.success:
            # Such an agent never says that a command runs; its yes is the nearest thing.
            self._report(AttemptStarted(self._worker_id, attempt, self._master.clock()))
        else:
            reason = ack.message or "it gave no reason"
            self._report(AttemptRefused(self._worker_id, attempt, f"the worker refused: {reason}"))

    async def _cancel(self, attempt: AttemptId) -> None:
        for attempt_number in range(CANCEL_TRIES):
            try:
                ack = await self._stub.CancelTask(
                    cluster_pb2.TaskID(task_id=attempt.task_id), timeout=CALL_TIMEOUT_S
                )
            except grpc.aio.AioRpcError as error:
                log.warning("cancellation not delivered", worker=self._worker_id, error=self._sentence(error))
                await asyncio.sleep(CANCEL_PAUSE_S * 2.0**attempt_number)
                continue
            # No: it does not run there, which ends it as well.
            reason = "cancelled" if ack.success else f"the worker does not run it: {ack.message}"
            self._report(AttemptFinished(self._worker_id, attempt, success=False, reason=reason))
            return

    def _report(self, event: AttemptRefused | AttemptStarted | AttemptFinished) -> None:
        try:
            self._master.post(event)
        except MasterError as error:
            log.warning("event refused", worker=self._worker_id, error=str(error))

    def _sentence(self, error: grpc.aio.AioRpcError) -> str:
        code, details = error.code().name, error.details()
        return f"worker {self._worker_id} at {self.address} did not answer: {code} {details}"

    def _spawn(self, call: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(call)
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)


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
            self._master.post(RegisterWorker(worker, None))
        except MasterError as error:
            return cluster_pb2.RegisterAck(success=False, message=str(error))
        self._link(worker)
        await self._master.durable()
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
        """Record a result; a yes means that it is durable."""
        access.require_worker(request.worker_id, context)
        try:
            await self._master.apply(convert.finished(request.worker_id, request))
        except StoreUnavailableError:
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

    def _link(self, worker: WorkerRecord) -> None:
        old = self._agents.get(worker.worker_id)
        if old is None or old.address != worker.address:
            if old is not None:
                old.lost()
            self._agents[worker.worker_id] = _Agent(self._master, worker.worker_id, worker.address)
        self._master.links[worker.worker_id] = self._agents[worker.worker_id]


def _for_agents(method: str) -> UnsupportedError:
    return UnsupportedError(
        f"{method} is served by agents, not by a master; clients use rtscore.v1.SchedulerService"
    )
