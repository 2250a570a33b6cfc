"""The other end of a worker session, and the agents that the tests run against it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import grpc
import msgspec

from rtscore.rpc import cluster_pb2, scheduler_pb2, scheduler_pb2_grpc
from worker.agent import Agent
from worker.config import WorkerConfig

ROOT = Path(__file__).resolve().parents[2]


async def until(condition: Callable[[], object], timeout_s: float = 60.0) -> None:
    """Return as soon as the condition holds; AssertionError when it does not in time."""
    give_up = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < give_up, "what the test waits for did not happen"
        await asyncio.sleep(0.005)


def alive(pid: int) -> bool:
    """Whether the process exists and is not a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return text.rpartition(")")[2].split()[0] not in "ZX"


def pid_in(path: Path) -> int:
    """The number that a command wrote to a file, 0 while there is none."""
    try:
        return int(path.read_text() or 0)
    except FileNotFoundError:
        return 0


class ScriptedMaster(scheduler_pb2_grpc.WorkerServiceServicer):
    """A real server that does what a test says and keeps what it reads."""

    def __init__(self) -> None:
        self.records = True
        self.welcomes = True
        self.refuses_with: grpc.StatusCode | None = None
        self.heartbeat_interval_s = 0.05
        self.hellos: list[scheduler_pb2.WorkerHello] = []
        self.heartbeats: list[cluster_pb2.Heartbeat] = []
        self.started: list[tuple[str, int]] = []
        self.finished: list[cluster_pb2.TaskResult] = []
        self.refused: dict[tuple[str, int], str] = {}
        self.logs: list[scheduler_pb2.LogOutput] = []
        self.messages = 0
        self.goodbyes = 0
        self.calls = 0
        self.reads = 0
        self.drains = 0
        self.port = 0
        self._server: grpc.aio.Server | None = None
        self._down: asyncio.Queue[scheduler_pb2.MasterUpdate | grpc.StatusCode | None] = asyncio.Queue()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen, on the same port as before."""
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        scheduler_pb2_grpc.add_WorkerServiceServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self._server.start()

    async def stop(self) -> None:
        """Go away in the middle of everything."""
        if self._server is not None:
            await self._server.stop(grace=None)
            self._server = None

    async def WorkerSession(self, requests, context):
        self.calls += 1
        if self.refuses_with is not None:
            await context.abort(self.refuses_with, "not with this master")
        first = await context.read()
        assert first.HasField("hello")
        self.hellos.append(first.hello)
        self._down = down = asyncio.Queue()
        first_down = scheduler_pb2.MasterUpdate()
        if self.welcomes:
            first_down.welcome.master_id = "m"
            first_down.welcome.heartbeat_interval_s = self.heartbeat_interval_s
        await context.write(first_down)
        reader = asyncio.create_task(self._read(context, down))
        try:
            while isinstance(update := await down.get(), scheduler_pb2.MasterUpdate):
                await context.write(update)
            if update is not None:
                await context.abort(update, "the session ends")
        finally:
            reader.cancel()

    async def _read(self, context, down) -> None:
        while (update := await context.read()) is not grpc.aio.EOF:
            assert not update.HasField("hello")
            self.messages += 1
            if update.HasField("heartbeat"):
                self.heartbeats.append(update.heartbeat)
            self.started += [(a.attempt.task_id, a.attempt.attempt) for a in update.started]
            self.refused.update({(a.attempt.task_id, a.attempt.attempt): a.reason for a in update.refused})
            self.logs += update.logs
            self.finished += update.finished
            self.goodbyes += update.leaving
            self.drains += update.draining
            if self.records and update.finished:
                down.put_nowait(recorded(*[(r.task_id, r.attempt) for r in update.finished]))
        down.put_nowait(None)

    def send(self, update: scheduler_pb2.MasterUpdate) -> None:
        self._down.put_nowait(update)

    def drop_session(self, code: grpc.StatusCode | None = None) -> None:
        """End the session: as a master that stops would, or with an error."""
        self._down.put_nowait(code)

    def assign(self, *tasks: cluster_pb2.Task) -> None:
        self.send(scheduler_pb2.MasterUpdate(assignments=tasks))

    def cancel(self, task_id: str, attempt: int = 1) -> None:
        self.send(scheduler_pb2.MasterUpdate(cancels=[ref(task_id, attempt)]))

    async def read_log(
        self, task_id: str, offset: int = 0, attempt: int = 1, limit: int = 1 << 20, wait: bool = False
    ) -> scheduler_pb2.LogOutput:
        """Ask for output and wait for the answer."""
        self.reads += 1
        number = self.reads
        read = scheduler_pb2.LogRead(
            attempt=ref(task_id, attempt), read=number, offset=offset, limit=limit, wait=wait
        )
        self.send(scheduler_pb2.MasterUpdate(log_reads=[read]))
        await until(lambda: any(output.read == number for output in self.logs))
        return next(output for output in self.logs if output.read == number)

    def results(self, task_id: str) -> list[cluster_pb2.TaskResult]:
        return [result for result in self.finished if result.task_id == task_id]

    async def result(self, task_id: str) -> cluster_pb2.TaskResult:
        """Wait for the task's result."""
        await until(lambda: self.results(task_id))
        return self.results(task_id)[0]

    def ran(self, task_id: str, attempt: int = 1) -> bool:
        return (task_id, attempt) in self.started


def ref(task_id: str, attempt: int = 1) -> scheduler_pb2.AttemptRef:
    return scheduler_pb2.AttemptRef(task_id=task_id, attempt=attempt)


def recorded(*keys: tuple[str, int]) -> scheduler_pb2.MasterUpdate:
    return scheduler_pb2.MasterUpdate(recorded=[ref(*key) for key in keys])


def task(task_id: str, command: str, attempt: int = 1, cpu: float = 1.0, **fields) -> cluster_pb2.Task:
    return cluster_pb2.Task(task_id=task_id, command=command, attempt=attempt, req_cpu=cpu, **fields)


def config(master: ScriptedMaster, work_dir: Path, **fields) -> WorkerConfig:
    values = {
        "cpu": 4.0,
        "memory": 8.0,
        "gpu": 1.0,
        "storage": 10.0,
        "kill_grace_s": 0.3,
        "drain_timeout_s": 10.0,
    }
    return WorkerConfig(
        masters=(master.address,), worker_id="w1", work_dir=str(work_dir), **(values | fields)
    )


@contextlib.asynccontextmanager
async def agent(settings: WorkerConfig) -> AsyncIterator[Agent]:
    """An agent in this process, ended with the block as fast as it can be."""
    running = Agent(settings)
    ended = asyncio.create_task(running.run())
    try:
        yield running
    finally:
        while not ended.done():
            running.stop()
            await asyncio.wait({ended}, timeout=0.2)
        ended.result()


class AgentProcess:
    """An agent in a process of its own."""

    CODE = (
        "import asyncio, sys, msgspec; from worker.agent import run; from worker.config import WorkerConfig;"
        "asyncio.run(run(msgspec.json.decode(sys.argv[1], type=WorkerConfig)))"
    )

    def __init__(self, settings: WorkerConfig) -> None:
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        text = msgspec.json.encode(settings).decode()
        self.process = subprocess.Popen([sys.executable, "-c", self.CODE, text], cwd=ROOT, env=environment)

    def kill(self) -> None:
        """SIGKILL, as a crash."""
        self.process.kill()
        self.process.wait()

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    async def exit_code(self) -> int:
        await until(lambda: self.process.poll() is not None, 30)
        return self.process.returncode
