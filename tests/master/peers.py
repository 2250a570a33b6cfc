"""Peers of a master under test: a worker that does what the test says, an agent with a server."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, Self

import grpc

from master.config import MasterConfig
from master.server import MasterServer
from rtscore.rpc import cluster_pb2, cluster_pb2_grpc, scheduler_pb2, scheduler_pb2_grpc

PATIENCE_S = 60.0


def config(tmp_path: Any, **changes: Any) -> MasterConfig:
    """Settings of a master on a free port with its store under `tmp_path`."""
    settings: dict[str, Any] = {
        "listen": "127.0.0.1:0",
        "store": str(tmp_path / "master.db"),
        "heartbeat_interval_s": 2.0,
        "stop_grace_s": 5.0,
    }
    return MasterConfig(**{**settings, **changes})


async def until(condition: Callable[[], Any], patience_s: float = PATIENCE_S) -> Any:
    """The first true value of `condition`, which may be a coroutine function."""
    end = time.monotonic() + patience_s
    while True:
        value = condition()
        if asyncio.iscoroutine(value):
            value = await value
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not so within {patience_s} s: {condition}")
        await asyncio.sleep(0.005)


class SessionWorker:
    """One end of a WorkerSession: says what the test tells it to, and collects what comes down."""

    def __init__(self, address: str, worker_id: str = "w1", instance: str = "", **totals: float) -> None:
        self.worker_id = worker_id
        self.instance = instance
        self.totals = {"total_cpu": 8.0, "total_memory": 16.0, "total_storage": 100.0, **totals}
        self.welcome: scheduler_pb2.Welcome | None = None
        self.messages = 0
        self.assignments: list[cluster_pb2.Task] = []
        self.cancels: list[tuple[str, int]] = []
        self.recorded: list[tuple[str, int]] = []
        self.log_reads: list[scheduler_pb2.LogRead] = []
        self.ended: grpc.aio.AioRpcError | bool = False
        self._channel = grpc.aio.insecure_channel(address)
        self._stream: Any = None
        self._reader: asyncio.Task[None] | None = None

    async def connect(self, live: Iterable[tuple[str, int]] = ()) -> Self:
        """Say hello, and return once welcomed."""
        await self.open()
        await self.hello(live)
        await until(lambda: self.welcome or self.ended)
        return self

    async def hello(self, live: Iterable[tuple[str, int]] = (), draining: bool = False) -> None:
        """Introduce itself."""
        hello = scheduler_pb2.WorkerHello(
            info=cluster_pb2.WorkerInfo(worker_id=self.worker_id, **self.totals),
            live=[ref(*attempt) for attempt in live],
            executors=["process"],
            instance=self.instance,
            draining=draining,
        )
        await self.send(hello=hello)

    async def open(self, reading: bool = True) -> None:
        """Begin the stream without a word."""
        self._stream = scheduler_pb2_grpc.WorkerServiceStub(self._channel).WorkerSession()
        if reading:
            self._reader = asyncio.create_task(self._read())

    async def send(self, **fields: Any) -> None:
        """One update up."""
        await self._stream.write(scheduler_pb2.WorkerUpdate(**fields))

    async def heartbeat(self, **usage: float) -> None:
        """A sign of life."""
        await self.send(heartbeat=cluster_pb2.Heartbeat(worker_id=self.worker_id, **usage))

    async def started(self, task: cluster_pb2.Task) -> None:
        """The task's command runs."""
        message = scheduler_pb2.AttemptStarted(
            attempt=ref(task.task_id, task.attempt), started_at=time.time()
        )
        await self.send(started=[message])

    async def finished(self, task: cluster_pb2.Task, status: str = "success", **fields: Any) -> None:
        """The task's command ended."""
        await self.send(finished=[result(task, self.worker_id, status, **fields)])

    async def next_read(self) -> scheduler_pb2.LogRead:
        """Wait until output is asked for."""
        await until(lambda: self.log_reads)
        return self.log_reads.pop(0)

    async def printed(self, read: scheduler_pb2.LogRead, content: bytes, **fields: Any) -> None:
        """Answer a read: this is what stands where it asked, and all there is, unless the fields say more."""
        known = {"offset": read.offset, "printed": fields.get("offset", read.offset) + len(content)}
        output = scheduler_pb2.LogOutput(
            attempt=read.attempt, read=read.read, content=content, **{**known, **fields}
        )
        await self.send(logs=[output])

    async def next_assignment(self) -> cluster_pb2.Task:
        """Wait for a task and take it."""
        await until(lambda: self.assignments)
        return self.assignments.pop(0)

    async def close(self) -> None:
        """Break the connection."""
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self if self._stream is not None else await self.connect()

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def _read(self) -> None:
        try:
            async for update in self._stream:
                self.messages += 1
                if update.HasField("welcome"):
                    self.welcome = update.welcome
                self.assignments += update.assignments
                self.cancels += [(a.task_id, a.attempt) for a in update.cancels]
                self.recorded += [(a.task_id, a.attempt) for a in update.recorded]
                self.log_reads += update.log_reads
            self.ended = True
        except grpc.aio.AioRpcError as error:
            self.ended = error


class UnaryAgent(cluster_pb2_grpc.MasterWorkerServicer):
    """An agent of the existing cluster: its own server, and unary calls to the master."""

    def __init__(self, master: str, worker_id: str = "a1") -> None:
        self.worker_id = worker_id
        self.tasks: list[cluster_pb2.Task] = []
        self.cancelled: list[str] = []
        self.accepts = cluster_pb2.TaskAck(success=True)
        self.logs = ["some ", "output"]
        self.failures = 0
        # Cancellations are answered while it is set.
        self.answers = asyncio.Event()
        self.answers.set()
        self._channel = grpc.aio.insecure_channel(master)
        self.stub = cluster_pb2_grpc.MasterWorkerStub(self._channel)
        self._server = grpc.aio.server()
        cluster_pb2_grpc.add_MasterWorkerServicer_to_server(self, self._server)
        self._port = self._server.add_insecure_port("127.0.0.1:0")

    async def register(self, **totals: float) -> cluster_pb2.RegisterAck:
        """Introduce itself."""
        info = cluster_pb2.WorkerInfo(
            worker_id=self.worker_id,
            worker_ip=f"127.0.0.1:{self._port}",
            **{"total_cpu": 8.0, "total_memory": 16.0, **totals},
        )
        return await self.stub.RegisterWorker(info)

    async def heartbeat(self) -> bool:
        """A sign of life with the tasks that it has."""
        running = [cluster_pb2.RunningTask(task_id=task.task_id) for task in self.tasks]
        beat = cluster_pb2.Heartbeat(worker_id=self.worker_id, running_tasks=running)
        return (await self.stub.SendHeartbeat(beat)).success

    async def report(self, task_id: str, status: str = "success", **fields: Any) -> cluster_pb2.Ack:
        """A result, without attempt and times, which such an agent does not know."""
        return await self.stub.ReportTaskCompletion(
            cluster_pb2.TaskResult(task_id=task_id, worker_id=self.worker_id, status=status, **fields)
        )

    async def hang_up(self) -> None:
        """Stop serving; the master's calls fail from now on."""
        await self._server.stop(None)

    async def __aenter__(self) -> Self:
        await self._server.start()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._server.stop(None)
        await self._channel.close()

    async def AssignTask(self, request: cluster_pb2.Task, context: Any) -> cluster_pb2.TaskAck:
        if self.accepts.success:
            self.tasks.append(request)
        return self.accepts

    async def CancelTask(self, request: cluster_pb2.TaskID, context: Any) -> cluster_pb2.TaskAck:
        if self.failures:
            self.failures -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "as the test wants it")
        self.cancelled.append(request.task_id)
        self.tasks = [task for task in self.tasks if task.task_id != request.task_id]
        await self.answers.wait()
        return cluster_pb2.TaskAck(success=True)

    async def StreamTaskLogs(
        self, request: cluster_pb2.TaskLogRequest, context: Any
    ) -> AsyncIterator[cluster_pb2.LogChunk]:
        for content in self.logs:
            yield cluster_pb2.LogChunk(task_id=request.task_id, content=content)
        yield cluster_pb2.LogChunk(task_id=request.task_id, is_complete=True)

    async def MasterRegister(self, request: Any, context: Any) -> Any:
        raise NotImplementedError

    async def RegisterWorker(self, request: Any, context: Any) -> Any:
        raise NotImplementedError

    async def SendHeartbeat(self, request: Any, context: Any) -> Any:
        raise NotImplementedError

    async def ReportTaskCompletion(self, request: Any, context: Any) -> Any:
        raise NotImplementedError


def ref(task_id: str, attempt: int) -> scheduler_pb2.AttemptRef:
    """A task's attempt on the wire."""
    return scheduler_pb2.AttemptRef(task_id=task_id, attempt=attempt)


def result(
    task: cluster_pb2.Task, worker_id: str, status: str = "success", **fields: Any
) -> cluster_pb2.TaskResult:
    """A result on the wire."""
    return cluster_pb2.TaskResult(
        task_id=task.task_id, worker_id=worker_id, status=status, attempt=task.attempt, **fields
    )


@contextlib.asynccontextmanager
async def serving(settings: MasterConfig) -> AsyncIterator[tuple[MasterServer, Any]]:
    """A master and a raw stub of its client service."""
    async with (
        MasterServer(settings) as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        yield server, scheduler_pb2_grpc.SchedulerServiceStub(channel)


async def refusal(call: Any) -> grpc.aio.AioRpcError:
    """The error that a call is answered with."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error
    raise AssertionError("the call was not refused")
