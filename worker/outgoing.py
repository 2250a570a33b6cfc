"""What waits to be sent in a session, handed out as few messages of bounded size."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator

from rtscore.rpc import cluster_pb2, scheduler_pb2
from worker.convert import from_key, result_key
from worker.executors.base import AttemptKey

# Far below the 4 MiB that gRPC accepts by default, far above what one result holds.
_MESSAGE_BYTES = 1 << 20
_LOG_PIECE_BYTES = 64 * 1024


class Outgoing:
    """The queue of one session: what is added while a message is being written goes into the next one."""

    def __init__(self) -> None:
        self._ready = asyncio.Event()
        self._leaving = False
        self.clear()

    def clear(self) -> None:
        """Drop what waits, except a goodbye."""
        self._heartbeat: cluster_pb2.Heartbeat | None = None
        self._started: dict[AttemptKey, float] = {}
        self._finished: dict[AttemptKey, cluster_pb2.TaskResult] = {}
        self._refused: dict[AttemptKey, str] = {}
        self._logs: deque[scheduler_pb2.LogOutput] = deque()

    def heartbeat(self, heartbeat: cluster_pb2.Heartbeat) -> None:
        """Send a heartbeat; one that is not sent yet is replaced."""
        self._heartbeat = heartbeat
        self._ready.set()

    def started(self, key: AttemptKey, started_at: float) -> None:
        """Send that a command runs."""
        self._started[key] = started_at
        self._ready.set()

    def finished(self, result: cluster_pb2.TaskResult) -> None:
        """Send a result."""
        self._finished[result_key(result)] = result
        self._ready.set()

    def refused(self, key: AttemptKey, reason: str) -> None:
        """Send that an attempt does not run here."""
        self._refused[key] = reason
        self._ready.set()

    def logs(self, key: AttemptKey, content: bytes) -> None:
        """Send what an attempt has printed, in pieces."""
        for start in range(0, max(1, len(content)), _LOG_PIECE_BYTES):
            end = start + _LOG_PIECE_BYTES
            self._logs.append(
                scheduler_pb2.LogOutput(
                    attempt=from_key(key), content=content[start:end], last=end >= len(content)
                )
            )
        self._ready.set()

    def leave(self) -> None:
        """Send a goodbye after everything else."""
        self._leaving = True
        self._ready.set()

    async def wait(self) -> None:
        """Return when something waits to be sent."""
        await self._ready.wait()

    def take(self) -> Iterator[scheduler_pb2.WorkerUpdate]:
        """Remove what waits and yield it: starts before results, a goodbye last, near 1 MiB a message."""
        self._ready.clear()
        update = scheduler_pb2.WorkerUpdate()
        if self._heartbeat is not None:
            update.heartbeat.CopyFrom(self._heartbeat)
            self._heartbeat = None
        started, self._started = self._started, {}
        for key, started_at in started.items():
            update.started.add(attempt=from_key(key), started_at=started_at)
        refused, self._refused = self._refused, {}
        for key, reason in refused.items():
            update.refused.add(attempt=from_key(key), reason=reason)
        finished, self._finished = self._finished, {}
        logs, self._logs = self._logs, deque()
        size = update.ByteSize()
        messages: list[cluster_pb2.TaskResult | scheduler_pb2.LogOutput] = [*finished.values(), *logs]
        for message in messages:
            size += message.ByteSize()
            if size > _MESSAGE_BYTES:
                yield update
                update = scheduler_pb2.WorkerUpdate()
                size = message.ByteSize()
            if isinstance(message, cluster_pb2.TaskResult):
                update.finished.append(message)
            else:
                update.logs.append(message)
        update.leaving = self._leaving
        yield update
