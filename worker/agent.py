"""The worker agent: puts the parts together, and starts and stops them in order."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import time
import uuid
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import structlog

from rtscore.rpc import cluster_pb2, scheduler_pb2
from worker.attempts import Attempts
from worker.config import WorkerConfig
from worker.containers import container_executor
from worker.convert import from_key, from_running, to_assignment, to_key
from worker.executors.base import Executor, Usage
from worker.executors.process import ProcessExecutor
from worker.log_reads import LogReads
from worker.outbox import Outbox
from worker.outgoing import Outgoing
from worker.probe import Totals, UsageMeter, machine_totals
from worker.session import MasterLink

_log = structlog.get_logger("worker.agent")

# For a master that read a result and does not answer; a guess, long against a commit.
_REPEAT_AFTER_S = 30.0
_SWEEP_INTERVAL_S = 10.0
_RECORDED_WAIT_S = 5.0
_GOODBYE_WAIT_S = 2.0


class WorkDirInUseError(RuntimeError):
    """Another agent works in the directory."""


async def run(config: WorkerConfig) -> None:
    """Run a worker agent until SIGTERM, SIGINT or cancellation, and stop it cleanly.

    The stop, in this order; each further signal or cancellation ends the step that is under way:

    1. the master is told, and nothing more is started; what runs has `drain_timeout_s` to finish, heartbeats
       and results go on;
    2. what still runs gets SIGTERM, and SIGKILL after `kill_grace_s`, to its whole process group. It has no
       result: the goodbye gives it back to the master;
    3. results that are not recorded wait up to five seconds for the master's answer; they stay on disk;
    4. the master is told goodbye, the session is closed, and processes that left their group are killed.

    It returns after step 4 when a signal came, and raises CancelledError after step 4 when it was cancelled.
    It must be called in the main thread, for the signals; a program that has its own uses `Agent`.

    Raises
    ------
    WorkDirInUseError
        When another agent works in the directory; nothing was started.
    OSError
        When the directory cannot be used, or what an earlier agent left cannot be ended.
    NoEngineError
        When the engine that the settings name for containers cannot be used.
    """
    agent = Agent(config)
    loop = asyncio.get_running_loop()
    signals = (signal.SIGTERM, signal.SIGINT)
    for number in signals:
        loop.add_signal_handler(number, agent.stop)
    try:
        await agent.run()
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


class Agent:
    """One worker agent; `run` runs it once."""

    def __init__(self, config: WorkerConfig) -> None:
        self._config = config
        self._directory = config.directory()
        self._stopping = asyncio.Event()
        self._stop_step: asyncio.Task[None] | None = None
        self._repeated_at = 0.0
        self._instance = uuid.uuid4().hex
        self._reads = LogReads()
        self._outgoing = Outgoing(self._reads)

    def stop(self) -> None:
        """Begin the clean stop that `run` of this module describes; again: end the step under way."""
        if not self._stopping.is_set():
            self._begin_stop()
        elif self._stop_step is not None:
            self._stop_step.cancel()

    async def run(self) -> None:
        """Run until `stop` or cancellation; as the module's `run`, except that no signal is handled."""
        structlog.contextvars.bind_contextvars(worker_id=self._config.worker_id)
        lock = _lock(self._directory)
        try:
            await self._prepare()
            self._background = [
                asyncio.create_task(self._link.run()),
                asyncio.create_task(self._sweep_forever()),
            ]
            stopping = asyncio.create_task(self._stopping.wait())
            cancelled: asyncio.CancelledError | None = None
            try:
                # A background task ends only by an error, which is raised when the stop is through.
                await asyncio.wait({*self._background, stopping}, return_when=asyncio.FIRST_COMPLETED)
            except asyncio.CancelledError as error:
                cancelled = error
            self._begin_stop()
            for step in (self._drain, self._give_up, self._kill, self._goodbye, self._end_background):
                self._stop_step = asyncio.create_task(step())
                try:
                    await asyncio.wait({self._stop_step})
                except asyncio.CancelledError as error:
                    cancelled = error
                    self._stop_step.cancel()
                    await asyncio.wait({self._stop_step})
                if not self._stop_step.cancelled() and (failure := self._stop_step.exception()) is not None:
                    _log.error("stop step failed", step=step.__name__, exc_info=failure)
            for task in self._background:
                if not task.cancelled():
                    task.result()
            if cancelled is not None:
                raise cancelled
        finally:
            os.close(lock)

    # ---- what a session asks for ----

    def hello(self) -> scheduler_pb2.WorkerHello:
        """Return the introduction, with what is live at this moment."""
        return scheduler_pb2.WorkerHello(
            info=cluster_pb2.WorkerInfo(
                worker_id=self._config.worker_id,
                total_cpu=self._totals.cpu,
                total_memory=self._totals.memory,
                total_storage=self._totals.storage,
                total_gpu=self._totals.gpu,
            ),
            live=[from_key(key) for key in self._attempts.known()],
            executors=[executor.name for executor in self._executors],
            version=_version(),
            instance=self._instance,
            draining=self._stopping.is_set(),
        )

    def welcomed(self) -> None:
        """Tell again what the master may have missed."""
        self._attempts.repeat_all()
        self._repeated_at = time.monotonic()

    def received(self, update: scheduler_pb2.MasterUpdate) -> None:
        """Act on what the master sent."""
        if update.recorded:
            self._attempts.recorded([to_key(ref) for ref in update.recorded])
        for task in update.assignments:
            if self._stopping.is_set():
                # It crossed what tells the master that nothing may be placed here: that one is ahead of this.
                self._attempts.refuse(to_assignment(task), "the worker is stopping")
            else:
                self._attempts.take(to_assignment(task))
        for ref in update.cancels:
            self._attempts.cancel(to_key(ref))
        for read in update.log_reads:
            self._reads.ask(read)

    async def beat(self) -> None:
        """Add a heartbeat to the outgoing queue."""
        usages = self._meter.sample(await asyncio.to_thread(self._usage), time.monotonic())
        self._outgoing.heartbeat(
            cluster_pb2.Heartbeat(
                worker_id=self._config.worker_id,
                cpu_usage=usages.cpu,
                memory_usage=usages.memory,
                storage_usage=usages.storage,
                gpu_usage=usages.gpu,
                running_tasks=[from_running(assignment) for assignment in self._attempts.running()],
            )
        )
        if time.monotonic() - self._repeated_at > _REPEAT_AFTER_S:
            self.welcomed()

    def _usage(self) -> Usage:
        usages = [executor.usage() for executor in self._executors]
        return Usage(sum(usage.cpu_seconds for usage in usages), sum(usage.memory_gib for usage in usages))

    # ---- start ----

    async def _prepare(self) -> None:
        config, directory = self._config, self._directory
        machine = machine_totals(directory)
        self._totals = Totals(
            *(
                found if (given := getattr(config, name)) is None else given
                for name, found in zip(Totals._fields, machine, strict=True)
            )
        )
        self._executors: list[Executor] = [
            ProcessExecutor(config.worker_id, directory, config.log_limit_bytes, config.kill_grace_s)
        ]
        if (containers := await asyncio.to_thread(container_executor, config, directory)) is not None:
            self._executors.append(containers)
        for executor in self._executors:
            killed = await asyncio.to_thread(executor.clean)
            if killed:
                _log.warning("left by an earlier agent and ended", executor=executor.name, count=killed)
        self._meter = UsageMeter(self._totals, directory)
        self._outbox = Outbox(directory / "outbox")
        self._attempts = Attempts(
            config.worker_id, self._totals, self._executors, self._outbox, self._outgoing, self._reads
        )
        self._link = MasterLink(
            config.masters, self, self._outgoing, config.heartbeat_interval_s, config.credentials
        )
        _log.info("worker agent starts", **self._totals._asdict())

    async def _sweep_forever(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_INTERVAL_S)
            await self._sweep()

    async def _sweep(self) -> None:
        for executor in self._executors:
            if killed := await executor.sweep():
                _log.warning("outlived their attempt and ended", executor=executor.name, count=killed)

    # ---- stop ----

    def _begin_stop(self) -> None:
        # Together: from the first assignment on that is refused for it the master knows that this one stops.
        self._stopping.set()
        self._outgoing.drain()

    async def _drain(self) -> None:
        _log.info("worker agent stops", running=len(self._attempts.running()))
        with suppress(TimeoutError):
            async with asyncio.timeout(self._config.drain_timeout_s):
                await self._attempts.wait_idle()

    async def _give_up(self) -> None:
        await self._attempts.give_up()

    async def _kill(self) -> None:
        self._attempts.kill()
        await self._attempts.wait_idle()

    async def _goodbye(self) -> None:
        answers = [
            asyncio.create_task(self._outbox.wait_empty()),
            asyncio.create_task(self._link.wait_disconnected()),
        ]
        await asyncio.wait(answers, timeout=_RECORDED_WAIT_S, return_when=asyncio.FIRST_COMPLETED)
        for answer in answers:
            answer.cancel()
        self._link.leave()
        await asyncio.wait({self._background[0]}, timeout=_GOODBYE_WAIT_S)

    async def _end_background(self) -> None:
        for task in self._background:
            task.cancel()
        await asyncio.wait(self._background)
        await self._outbox.close()
        await self._sweep()


def _lock(directory: Path) -> int:
    """Take the directory for this process; a crash gives it back."""
    directory.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise WorkDirInUseError(f"work_dir: another worker agent works in {directory}") from None
    return descriptor


def _version() -> str:
    try:
        return version("rtscore")
    except PackageNotFoundError:
        return ""
