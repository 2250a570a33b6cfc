"""What waits to be sent in a session, handed out as few messages of bounded size."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from rtscore.rpc import cluster_pb2, scheduler_pb2
from worker.convert import from_key, result_key
from worker.executors.base import AttemptKey
from worker.log_reads import LogReads

# Far below the 4 MiB that gRPC accepts by default, far above what one result holds.
_MESSAGE_BYTES = 1 << 20


class Outgoing:
    """The queue of one session: what is added while a message is being written goes into the next one.

    Parameters
    ----------
    reads : LogReads
        Asked for output when a message is made: output itself is never queued.
    """

    def __init__(self, reads: LogReads) -> None:
        self._ready = asyncio.Event()
        self._leaving = False
        self._draining = False
        self._reads = reads
        reads.on_ready = self._ready.set
        self.clear()

    def clear(self) -> None:
        """Drop what waits, except that this worker stops."""
        self._heartbeat: cluster_pb2.Heartbeat | None = None
        self._started: dict[AttemptKey, float] = {}
        self._finished: dict[AttemptKey, cluster_pb2.TaskResult] = {}
        self._refused: dict[AttemptKey, str] = {}
        self._reads.clear()

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

    def drain(self) -> None:
        """Send, from now on with everything, that this worker takes nothing new."""
        self._draining = True
        self._ready.set()

    def leave(self) -> None:
        """Send a goodbye after everything else."""
        self._leaving = True
        self._ready.set()

    async def wait(self) -> None:
        """Return when something waits to be sent."""
        await self._ready.wait()

    def take(self) -> Iterator[scheduler_pb2.WorkerUpdate]:
        """Remove what waits and yield it, near 1 MiB a message: starts before results, a goodbye last."""
        self._ready.clear()
        update = scheduler_pb2.WorkerUpdate(draining=self._draining)
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
        size = update.ByteSize()
        for result in finished.values():
            size += result.ByteSize()
            if size > _MESSAGE_BYTES:
                yield update
                update = scheduler_pb2.WorkerUpdate()
                size = result.ByteSize()
            update.finished.append(result)
        update.logs.extend(self._reads.answers())
        update.leaving = self._leaving
        yield update
