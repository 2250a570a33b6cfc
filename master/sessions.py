"""WorkerSession: one stream per worker; what is ready for it goes down together in one message."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

import structlog

from master import access, convert
from master.errors import (
    InvalidRequestError,
    ReplacedError,
    StoppingError,
    TooSlowError,
    UnknownWorkerIdError,
    WorkerIdTakenError,
)
from master.events import (
    Assign,
    AttemptId,
    AttemptRefused,
    RegisterWorker,
    WorkerLeft,
    WorkerSilent,
    WorkerStopping,
)
from master.interceptors import Context
from master.log_feed import READ_BYTES
from master.log_relay import LogRelay
from master.members import SILENT_INTERVALS
from master.runner import Master
from rtscore.rpc import scheduler_pb2, scheduler_pb2_grpc

log = structlog.get_logger(__name__)

# A message is cut when it is larger; gRPC's limit for one is 4 MiB where nobody has raised it.
MESSAGE_BYTES = 1024 * 1024
# Full messages waiting for one worker; one that lets so many gather does not read, and has to connect anew.
BACKLOG = 64
HELLO_TIMEOUT_S = 10.0
# For the message that is under way when a session breaks.
LAST_WRITE_S = 1.0


class _Session:
    """The way down to one connected worker, as a `WorkerLink`."""

    def __init__(self, worker_id: str, instance: str) -> None:
        self.worker_id = worker_id
        self.instance = instance
        self.heard = time.monotonic()
        self.left = False
        self.draining = False
        self._update = scheduler_pb2.MasterUpdate()
        self._bytes = 0
        self._ready: deque[scheduler_pb2.MasterUpdate] = deque()
        self._wake = asyncio.Event()
        self.error: Exception | None = None
        self._broken = asyncio.Event()
        self._closed = False

    def welcome(self, master_id: str, heartbeat_interval_s: float) -> None:
        """Greet; the first message carries it."""
        self._update.welcome.master_id = master_id
        self._update.welcome.heartbeat_interval_s = heartbeat_interval_s
        self._put(self._update.welcome.ByteSize())

    def assign(self, effect: Assign) -> None:
        """Send a task."""
        task = self._update.assignments.add()
        convert.fill_assignment(task, effect.spec, effect.worker_id, effect.attempt)
        self._put(task.ByteSize())

    def cancel(self, attempt: AttemptId) -> None:
        """Ask for the end of an attempt."""
        self._put_ref(self._update.cancels, attempt)

    def recorded(self, attempt: AttemptId) -> None:
        """Say that a result is durable."""
        self._put_ref(self._update.recorded, attempt)

    def lost(self) -> None:
        """The core has given the worker up."""
        self.close(UnknownWorkerIdError(f"worker {self.worker_id} was silent too long; register again"))

    def close(self, error: Exception | None) -> None:
        """End the stream: with an error, or (None) after what is waiting has been sent."""
        self._closed = True
        self._wake.set()
        if error is not None:
            self.error = error
            self._broken.set()

    async def write(self, context: Context) -> None:
        """Send what is waiting, everything in one message, until closed; with an error that is at once."""
        while not self._broken.is_set():
            if self._ready:
                await context.write(self._ready.popleft())
            elif self._bytes:
                await context.write(self._cut())
            elif self._closed:
                return
            else:
                self._wake.clear()
                await self._wake.wait()

    async def broken(self) -> None:
        """Return when the session is closed with an error."""
        await self._broken.wait()

    def read_log(self, attempt: AttemptId, number: int, offset: int, wait: bool) -> None:
        """Ask for what an attempt has printed."""
        read = self._update.log_reads.add(read=number, offset=offset, limit=READ_BYTES, wait=wait)
        convert.fill_ref(read.attempt, attempt)
        self._put(read.ByteSize())

    def unsent(self) -> list[AttemptId]:
        """Attempts whose assignment has not gone down."""
        return [
            AttemptId(task.task_id, task.attempt)
            for update in (*self._ready, self._update)
            for task in update.assignments
        ]

    def _put(self, size: int) -> None:
        self._bytes += size
        if self._bytes > MESSAGE_BYTES:
            self._ready.append(self._cut())
            if len(self._ready) > BACKLOG:
                waiting = f"{len(self._ready)} messages wait for it"
                self.close(TooSlowError(f"worker {self.worker_id} does not read; {waiting}"))
        self._wake.set()

    def _put_ref(self, to: Any, attempt: AttemptId) -> None:
        ref = to.add()
        convert.fill_ref(ref, attempt)
        self._put(ref.ByteSize())

    def _cut(self) -> scheduler_pb2.MasterUpdate:
        update, self._update = self._update, scheduler_pb2.MasterUpdate()
        self._bytes = 0
        return update


class Sessions(scheduler_pb2_grpc.WorkerServiceServicer):
    """All connected workers."""

    def __init__(self, master: Master, master_id: str, heartbeat_interval_s: float) -> None:
        self._master = master
        self._master_id = master_id
        self._heartbeat_interval_s = heartbeat_interval_s
        self._sessions: dict[str, _Session] = {}
        self._closed = False
        self.logs = LogRelay()

    async def WorkerSession(  # type: ignore[override]
        self, request_iterator: AsyncIterator[scheduler_pb2.WorkerUpdate], context: Context
    ) -> None:
        """Serve one worker until either side ends it.

        A coroutine that writes, not a generator: when the call is cancelled its `finally` runs at once.
        """
        session = await self._greet(request_iterator, context)
        reader = asyncio.create_task(self._read(session, request_iterator))
        # An error must not wait for a write: a worker that does not read blocks it for ever.
        writer = asyncio.create_task(session.write(context))
        ends = {writer, asyncio.create_task(session.broken())}
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            # But a status that follows a write which was cancelled under way is often lost, and the worker
            # would wait for the end of a session that is over.
            await asyncio.wait([writer], timeout=LAST_WRITE_S)
            failure = writer.exception() if writer.done() else None
            if (error := session.error or failure) is not None:
                raise error
        finally:
            for task in (reader, *ends):
                task.cancel()
            self._forget(session)

    @property
    def count(self) -> int:
        """How many workers have a session."""
        return len(self._sessions)

    def close(self) -> None:
        """End every session after what waits for it has been sent; later ones are refused."""
        self._closed = True
        for session in self._sessions.values():
            session.close(None)

    async def _greet(self, updates: AsyncIterator[scheduler_pb2.WorkerUpdate], context: Context) -> _Session:
        if self._closed:
            raise StoppingError("the master is stopping; try again")
        hello = await self._hello(updates)
        access.require_worker(hello.info.worker_id, context)
        worker = convert.worker_record(hello.info, address="", executors=hello.executors)
        old = self._sessions.get(worker.worker_id)
        if old is not None:
            self._refuse_twin(old, hello.instance)
        # Registered first: a hello that is refused must not take the place of a session that works.
        live = tuple(convert.attempt_id(ref) for ref in hello.live)
        self._master.post(RegisterWorker(worker, live, hello.draining))
        session = _Session(worker.worker_id, hello.instance)
        if old is not None:
            old.close(ReplacedError(f"a newer session of worker {worker.worker_id} took over"))
        self._sessions[worker.worker_id] = self._master.links[worker.worker_id] = session
        try:
            await self._master.durable()
        except BaseException:
            self._forget(session)
            raise
        session.welcome(self._master_id, self._heartbeat_interval_s)
        self.logs.connected(worker.worker_id, session.read_log)
        log.info("worker connected", worker_id=worker.worker_id, live=len(hello.live))
        return session

    def _refuse_twin(self, old: _Session, instance: str) -> None:
        """Two processes of one id would take the worker from each other for ever, and its tasks with it.

        A process that was started anew comes in as soon as the connection of its predecessor is closed or
        silent.
        """
        silent_s = time.monotonic() - old.heard
        if old.instance != instance and silent_s < SILENT_INTERVALS * self._heartbeat_interval_s:
            raise WorkerIdTakenError(
                f"another process is worker {old.worker_id} already and was heard {silent_s:.1f} s ago; "
                "give one of the two another id"
            )

    async def _hello(self, updates: AsyncIterator[scheduler_pb2.WorkerUpdate]) -> scheduler_pb2.WorkerHello:
        try:
            first = await asyncio.wait_for(anext(updates), HELLO_TIMEOUT_S)
        except (TimeoutError, StopAsyncIteration):
            raise InvalidRequestError(
                "hello", f"nothing came within {HELLO_TIMEOUT_S:g} s; a session begins with it"
            ) from None
        if not first.HasField("hello"):
            raise InvalidRequestError("hello", "it is missing; the first message of a session carries it")
        return first.hello

    async def _read(self, session: _Session, updates: AsyncIterator[scheduler_pb2.WorkerUpdate]) -> None:
        try:
            async for update in updates:
                self._take(session, update)
                if update.leaving:
                    session.left = True
                    await self._master.apply(WorkerLeft(session.worker_id))
                    break
        except Exception as error:
            session.close(error)
        else:
            session.close(None)

    def _take(self, session: _Session, update: scheduler_pb2.WorkerUpdate) -> None:
        worker_id, post = session.worker_id, self._master.post
        session.heard = time.monotonic()
        if update.draining and not session.draining:
            session.draining = True
            post(WorkerStopping(worker_id))
            log.info("worker stopping", worker_id=worker_id)
        for started in update.started:
            post(convert.started(worker_id, started))
        for result in update.finished:
            post(convert.finished(worker_id, result))
        for refused in update.refused:
            post(convert.refused(worker_id, refused))
        if update.HasField("heartbeat"):
            # A session says at its start what it runs; a heartbeat may cross an assignment.
            post(convert.heartbeat(worker_id, update.heartbeat, claims=False))
        for output in update.logs:
            self.logs.take(worker_id, output)

    def _forget(self, session: _Session) -> None:
        """After the end of a session, unless a newer one has taken over."""
        worker_id = session.worker_id
        self.logs.disconnected(worker_id, session.read_log)
        if self._sessions.get(worker_id) is not session:
            return
        del self._sessions[worker_id]
        if self._master.links.get(worker_id) is session:
            del self._master.links[worker_id]
        log.info("worker disconnected", worker_id=worker_id, left=session.left)
        if session.left:
            return
        try:
            self._master.post(WorkerSilent(worker_id))
            for attempt in session.unsent():
                self._master.post(AttemptRefused(worker_id, attempt, "the connection to the worker broke"))
        except UnknownWorkerIdError:
            # It was declared lost, which is why the session ended.
            pass
