"""The attempts of this worker: admission, start, end, cancellation, and what is told of each."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import msgspec
import structlog

from rtscore.rpc import cluster_pb2
from worker.convert import from_outcome
from worker.executors.base import Assignment, AttemptKey, Execution, Executor
from worker.log_reads import LogReads
from worker.outbox import Outbox
from worker.outgoing import Outgoing
from worker.probe import Totals

_log = structlog.get_logger("worker.attempts")

# Sums of decimal amounts on both sides of the wire may differ in their last bits.
_TOLERANCE = 1e-6


class _Attempt(msgspec.Struct):
    assignment: Assignment
    starting: asyncio.Task[Execution] | None = None
    execution: Execution | None = None
    cancelled: bool = False
    # Ended by the worker's own stop: the master gives it to another worker, so it has no result.
    given_up: bool = False

    def stop(self) -> None:
        if self.execution is not None:
            self.execution.stop("cancelled" if self.cancelled else "the worker stops")
        elif self.starting is not None:
            self.starting.cancel()


class Attempts:
    """Runs what the master assigns, within the worker's totals.

    An attempt is known from its assignment until its result is recorded; the same assignment again while it
    is known only repeats what was told of it.

    Parameters
    ----------
    worker_id : str
        Named in results.
    totals : Totals
        What assignments share.
    executors : iterable of Executor
        One is called "process"; one may be called "container".
    outbox : Outbox
        Where results are kept until they are recorded.
    outgoing : Outgoing
        What is told to the master.
    reads : LogReads
        Told of what can be read.
    """

    def __init__(
        self,
        worker_id: str,
        totals: Totals,
        executors: Iterable[Executor],
        outbox: Outbox,
        outgoing: Outgoing,
        reads: LogReads,
    ) -> None:
        self._worker_id = worker_id
        self._totals = totals
        self._executors = {executor.name: executor for executor in executors}
        self._outbox = outbox
        self._outgoing = outgoing
        self._reads = reads
        self._live: dict[AttemptKey, _Attempt] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def running(self) -> list[Assignment]:
        """Return what runs now."""
        return [attempt.assignment for attempt in self._live.values()]

    def known(self) -> list[AttemptKey]:
        """Return what runs now and what has ended without being recorded."""
        return list(dict.fromkeys([*self._live, *self._outbox.pending]))

    def repeat_all(self) -> None:
        """Tell a new session of every start and every result that is not recorded."""
        for key in self.known():
            self._repeat(key)

    def take(self, assignment: Assignment) -> None:
        """Start an assignment, or refuse it with a reason."""
        key = assignment.key
        if key in self._live or key in self._outbox.pending:
            self._repeat(key)
        elif reason := self._refusal(assignment):
            self._refuse(key, reason)
        else:
            self._live[key] = attempt = _Attempt(assignment)
            self._reads.begin(key)
            task = asyncio.create_task(self._run(attempt))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def cancel(self, key: AttemptKey) -> None:
        """End an attempt; its result says that it was cancelled. One that is not known here is denied."""
        if (attempt := self._live.get(key)) is not None:
            attempt.cancelled = True
            attempt.stop()
        elif key in self._outbox.pending:
            self._repeat(key)
        else:
            self._outgoing.refused(key, "the attempt is not known to this worker")

    def recorded(self, keys: list[AttemptKey]) -> None:
        """Forget attempts of which the master has all that it wants."""
        self._outbox.forget(keys)
        for key in keys:
            if key not in self._live:
                self._reads.forget(key)

    def refuse(self, assignment: Assignment, reason: str) -> None:
        """Do not start an assignment; one that is known here is left alone."""
        key = assignment.key
        if key not in self._live and key not in self._outbox.pending:
            self._refuse(key, reason)

    async def wait_idle(self) -> None:
        """Return once nothing runs and every result is in the outbox."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def give_up(self) -> None:
        """Stop what runs, with SIGKILL after the grace time, without results; returns when nothing runs."""
        for attempt in self._live.values():
            attempt.given_up = not attempt.cancelled
            attempt.stop()
        await self.wait_idle()

    def kill(self) -> None:
        """End everything now; after `give_up`, when its grace time is not to be waited for."""
        for attempt in self._live.values():
            if attempt.execution is not None:
                attempt.execution.kill()

    async def _run(self, attempt: _Attempt) -> None:
        key = attempt.assignment.key
        structlog.contextvars.bind_contextvars(task_id=key.task_id, attempt=key.attempt)
        try:
            # A task of its own: to fetch an image takes long, and a stop must not wait for it.
            start = self._executor(attempt.assignment).start(attempt.assignment)
            attempt.starting = asyncio.ensure_future(start)
            try:
                execution = await attempt.starting
            except (OSError, ValueError) as error:
                self._reads.forget(key)
                self._refuse(key, f"the command could not be started: {error}")
                return
            except asyncio.CancelledError:
                self._reads.forget(key)
                if attempt.cancelled:
                    self._refuse(key, "cancelled before it was started")
                    return
                if attempt.given_up:
                    return
                raise
            attempt.execution = execution
            self._reads.started(key, execution.tail)
            if attempt.cancelled or attempt.given_up:
                attempt.stop()
            self._outgoing.started(key, execution.started_at)
            _log.debug("command started")
            outcome = await execution.wait()
        finally:
            # Before the result is on disk: what it held is free, and from here on it is in the outbox.
            del self._live[key]
        if attempt.given_up:
            self._reads.forget(key)
            return
        self._reads.ended(key)
        _log.debug(
            "command ended",
            success=outcome.success,
            exit_code=outcome.exit_code,
            runtime_s=outcome.runtime_s,
            reason=outcome.reason,
        )
        result = from_outcome(self._worker_id, key, outcome)
        await self._outbox.put(result)
        # A session that began meanwhile may have sent it, and the answer may be here.
        if key in self._outbox.pending:
            self._outgoing.finished(result)

    def _executor(self, assignment: Assignment) -> Executor:
        return self._executors["container" if assignment.docker_image else "process"]

    def _refusal(self, assignment: Assignment) -> str:
        if assignment.docker_image and "container" not in self._executors:
            return f"docker_image {assignment.docker_image!r}: this worker has only the process executor"
        running = self.running()
        for name in Totals._fields:
            total: float = getattr(self._totals, name)
            free = total - sum(getattr(other, name) for other in running)
            wanted: float = getattr(assignment, name)
            if wanted > free + _TOLERANCE:
                return f"{name}: {wanted:g} is needed, {max(0.0, free):g} of {total:g} is free"
        return ""

    def _refuse(self, key: AttemptKey, reason: str) -> None:
        _log.warning("assignment refused", task_id=key.task_id, attempt=key.attempt, reason=reason)
        self._outgoing.refused(key, reason)

    def _repeat(self, key: AttemptKey) -> None:
        attempt = self._live.get(key)
        result: cluster_pb2.TaskResult | None = self._outbox.pending.get(key)
        if attempt is not None and attempt.execution is not None:
            self._outgoing.started(key, attempt.execution.started_at)
        elif attempt is None and result is not None:
            self._outgoing.finished(result)
