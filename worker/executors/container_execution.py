"""One container that runs: its output, its time limit, its end, and its removal.

A thread of its own follows it, because the SDK blocks. When the engine goes away, as for an update, the
container may live on: the thread waits for its end when the engine is back. It does not read on: a container
that ended meanwhile cannot be told from one that prints nothing, and an engine may hold such a reader for
ever.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import structlog

from worker.executors.base import Assignment, Outcome
from worker.executors.cgroup import ContainerCgroup, OomWatch
from worker.executors.engine import Connection, ContainerEnd, Engine, EngineError, GoneError
from worker.executors.exits import exit_reason
from worker.executors.output import OutputTail
from worker.executors.threads import in_thread

_log = structlog.get_logger("worker.container")

_RETRY_S = 1.0
# After SIGKILL was due and could not be told to an engine that is away; the next sweep removes the container.
_GIVE_UP_S = 30.0
_CUT = b"[the container engine went away: what was printed after this was not kept]\n"


class StartedContainer:
    """A container as it was started: its connection, what it prints, and its control group if visible.

    Made in the thread that started the container, and used up by the thread that follows it.
    """

    def __init__(self, connection: Connection, container_id: str, stream: Iterator[bytes]) -> None:
        self.id = container_id
        self.stream = stream
        self.started_at = time.time()
        self.started_monotonic = time.monotonic()
        pid = connection.pid(container_id)
        self.cgroup = ContainerCgroup.of(pid, container_id) if pid else None


class ContainerExecution:
    """A running container; made on the event loop that will watch it."""

    def __init__(
        self,
        engine: Engine,
        started: StartedContainer,
        assignment: Assignment,
        log_limit_bytes: int,
        kill_grace_s: float,
    ) -> None:
        self._engine = engine
        self._started = started
        self._assignment = assignment
        self._tail = OutputTail(log_limit_bytes)
        self._kill_grace_s = kill_grace_s
        self._stop_reason = ""
        self._killed_at = 0.0
        self._finished_at = 0.0
        self._runtime_s = 0.0
        self._cut = False
        self._timers: list[asyncio.TimerHandle] = []
        self._loop = asyncio.get_running_loop()
        self._cpu_seconds = 0.0
        self.ended: asyncio.Future[Outcome] = in_thread(self._follow, f"container {started.id[:12]}")
        self.ended.add_done_callback(self._cancel_timers)
        if assignment.time_limit_s > 0:
            reason = f"ran longer than its time limit of {assignment.time_limit_s:g} s"
            self._timers.append(self._loop.call_later(assignment.time_limit_s, self.stop, reason))

    @property
    def started_at(self) -> float:
        """Unix seconds."""
        return self._started.started_at

    @property
    def cpu_seconds(self) -> float:
        """CPU time so far, as far as it is known."""
        if self._started.cgroup is not None:
            # Of a group that is gone the last count holds.
            self._cpu_seconds = self._started.cgroup.cpu_seconds() or self._cpu_seconds
        return self._cpu_seconds

    @property
    def memory_bytes(self) -> int:
        """What is resident now, as far as it is known."""
        return self._started.cgroup.memory_bytes() if self._started.cgroup is not None else 0

    @property
    def tail(self) -> OutputTail:
        """What was printed so far, as far as it is kept."""
        return self._tail

    def stop(self, reason: str) -> None:
        """Send SIGTERM to every process, and SIGKILL after the grace time; the first reason is reported."""
        if self.ended.done() or self._stop_reason:
            return
        self._stop_reason = reason
        try:
            in_thread(self._terminate, "terminate")
        except OSError as error:
            _log.warning("SIGTERM not sent", **self._named(error))
        self._timers.append(self._loop.call_later(self._kill_grace_s, self.kill))

    def kill(self) -> None:
        """Send SIGKILL to every process."""
        if not self.ended.done():
            self._killed_at = self._killed_at or time.monotonic()
            self._stop_reason = self._stop_reason or "killed by the worker"
            try:
                in_thread(self._kill, "kill")
            except OSError as error:
                _log.warning("SIGKILL not sent", **self._named(error))
                self._timers.append(self._loop.call_later(_RETRY_S, self.kill))

    async def wait(self) -> Outcome:
        """Return the outcome once the container has ended and is removed."""
        return await asyncio.shield(self.ended)

    def _cancel_timers(self, _: asyncio.Future[Outcome]) -> None:
        for timer in self._timers:
            timer.cancel()

    # ---- in threads ----

    def _terminate(self) -> None:
        try:
            with self._engine.connect() as connection:
                # The first process too: the image's own command, or the shell that then waits for the rest.
                connection.signal(self._started.id, "SIGTERM")
                if self._assignment.command:
                    connection.terminate_all(self._started.id)
        except GoneError:
            pass
        except EngineError as error:
            _log.warning("SIGTERM not sent", **self._named(error))

    def _kill(self) -> None:
        try:
            with self._engine.connect() as connection:
                connection.signal(self._started.id, "SIGKILL")
        except GoneError:
            pass
        except EngineError as error:
            _log.warning("SIGKILL not sent", **self._named(error))

    def _follow(self) -> Outcome:
        watch: OomWatch | None = None
        # Without the watch the engine may still say it.
        with suppress(OSError, RuntimeError):
            watch = OomWatch(self._started.cgroup) if self._started.cgroup is not None else None
        try:
            try:
                for piece in self._started.stream:
                    self._add(piece)
            except OSError as error:
                # Over TCP a connection may also be reset.
                self._lost(error)
            # Usually the container's end, and the group is still there.
            _ = self.cpu_seconds
            end, trouble = self._end()
            self._finished()
            return self._outcome(end, trouble, end.out_of_memory or (watch is not None and watch.seen))
        finally:
            if watch is not None:
                watch.close()

    def _end(self) -> tuple[ContainerEnd, str]:
        """Wait for the end and remove the container; how it ended, or why that is not known."""
        while True:
            try:
                with self._engine.connect() as connection:
                    end = connection.wait(self._started.id)
                    # To remove it takes an engine seconds at times, which are not the command's.
                    self._finished()
                    self._remove(connection)
                return end, ""
            except GoneError:
                return ContainerEnd(137, False, ""), "the container was removed by somebody else"
            except EngineError as error:
                killed_at = self._killed_at
                if killed_at and time.monotonic() - killed_at > _GIVE_UP_S:
                    return ContainerEnd(137, False, ""), f"the container could not be ended: {error}"
                self._lost(error)
            time.sleep(_RETRY_S)
            if self._killed_at:
                self._kill()

    def _finished(self) -> None:
        if not self._finished_at:
            self._finished_at = time.time()
            self._runtime_s = time.monotonic() - self._started.started_monotonic

    def _lost(self, error: OSError) -> None:
        if not self._cut:
            self._cut = True
            _log.warning("container not followed", **self._named(error))
            self._add(_CUT)

    def _add(self, piece: bytes) -> None:
        added = threading.Event()

        def add() -> None:
            self._tail.add(piece)
            added.set()

        # Those who read the tail are of the loop. Waiting holds a fast writer back; pieces would pile up.
        self._loop.call_soon_threadsafe(add)
        added.wait()

    def _remove(self, connection: Connection) -> None:
        try:
            connection.remove(self._started.id)
        except EngineError as error:
            _log.warning("container not removed", **self._named(error))

    def _outcome(self, end: ContainerEnd, trouble: str, out_of_memory: bool) -> Outcome:
        reason = exit_reason(end.exit_code)
        if trouble:
            reason = trouble
        elif reason and out_of_memory:
            reason = f"out of memory: its limit is {self._assignment.memory:g} GiB; {reason}"
        elif reason and end.error:
            reason = f"{reason}: {end.error}"
        offset, output = self._tail.last()
        return Outcome(
            success=not self._stop_reason and not reason,
            exit_code=end.exit_code,
            started_at=self._started.started_at,
            finished_at=self._finished_at,
            runtime_s=self._runtime_s,
            output=output,
            reason=self._stop_reason or reason,
            output_offset=offset,
        )

    def _named(self, error: OSError) -> dict[str, str | int]:
        # The fields of a line: a stop comes from a session or a timer, where the task's are not bound.
        key = self._assignment.key
        return {"task_id": key.task_id, "attempt": key.attempt, "error": str(error)}
