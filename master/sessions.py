"""WorkerSession: one stream per worker; what is ready for it goes down together in one message."""

from __future__ import annotations

import asyncio
import codecs
from collections.abc import AsyncIterator

import structlog

from master import convert
from master.errors import (
    InvalidRequestError,
    ReplacedError,
    StoppingError,
    TooSlowError,
    UnknownWorkerIdError,
    WorkerUnreachableError,
)
from master.events import Assign, AttemptId, AttemptRefused, RegisterWorker, WorkerLeft, WorkerSilent
from master.interceptors import Context
from master.runner import Master
from rtscore.rpc import scheduler_pb2, scheduler_pb2_grpc

log = structlog.get_logger(__name__)

# Items waiting for one worker; one that lets this many gather is not reading and has to connect anew.
BACKLOG = 100_000
HELLO_TIMEOUT_S = 10.0
LOG_TIMEOUT_S = 10.0


class _Session:
    """The way down to one connected worker, as a `WorkerLink`."""

    def __init__(self, worker_id: str) -> None:
        self.worker_id = worker_id
        self.left = False
        self._update = scheduler_pb2.MasterUpdate()
        self._waiting = 0
        self._wake = asyncio.Event()
        self._end: Exception | None = None
        self._closed = False
        self._logs: dict[AttemptId, list[asyncio.Queue[scheduler_pb2.LogOutput]]] = {}

    def welcome(self, master_id: str, heartbeat_interval_s: float) -> None:
        """Greet; the first message carries it."""
        self._update.welcome.master_id = master_id
        self._update.welcome.heartbeat_interval_s = heartbeat_interval_s
        self._put()

    def assign(self, effect: Assign) -> None:
        """Send a task."""
        self._update.assignments.append(convert.assignment(effect.spec, effect.worker_id, effect.attempt))
        self._put()

    def cancel(self, attempt: AttemptId) -> None:
        """Ask for the end of an attempt."""
        self._update.cancels.append(convert.attempt_ref(attempt))
        self._put()

    def recorded(self, attempt: AttemptId) -> None:
        """Say that a result is durable."""
        self._update.recorded.append(convert.attempt_ref(attempt))
        self._put()

    def lost(self) -> None:
        """The core has given the worker up."""
        self.close(UnknownWorkerIdError(f"worker {self.worker_id} was silent too long; register again"))

    def close(self, error: Exception | None) -> None:
        """End the stream: with an error, or (None) after what is waiting has been sent."""
        self._end = error
        self._closed = True
        self._wake.set()

    async def updates(self) -> AsyncIterator[scheduler_pb2.MasterUpdate]:
        """Messages down, until closed."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._end is not None:
                raise self._end
            if self._waiting:
                update, self._update, self._waiting = self._update, scheduler_pb2.MasterUpdate(), 0
                yield update
            if self._closed and not self._waiting:
                return

    async def logs(self, attempt: AttemptId) -> AsyncIterator[str]:
        """What a running attempt has printed so far, in pieces.

        Raises
        ------
        WorkerUnreachableError
            When the worker does not answer.
        """
        queue: asyncio.Queue[scheduler_pb2.LogOutput] = asyncio.Queue()
        readers = self._logs.setdefault(attempt, [])
        readers.append(queue)
        if len(readers) == 1:
            self._update.log_requests.append(convert.attempt_ref(attempt))
            self._put()
        # A character may be cut in two between pieces.
        decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        try:
            last = False
            while not last:
                piece = await asyncio.wait_for(queue.get(), LOG_TIMEOUT_S)
                last = piece.last
                yield decode(piece.content, last)
        except TimeoutError:
            raise WorkerUnreachableError(
                f"worker {self.worker_id} sent no output within {LOG_TIMEOUT_S:g} s"
            ) from None
        finally:
            if queue in readers:
                readers.remove(queue)
            if not readers:
                self._logs.pop(attempt, None)

    @property
    def readers(self) -> int:
        """How many wait for output."""
        return sum(map(len, self._logs.values()))

    def log_output(self, piece: scheduler_pb2.LogOutput) -> None:
        """Pass a piece on to whoever asked for it."""
        for queue in self._logs.get(convert.attempt_id(piece.attempt), ()):
            queue.put_nowait(piece)

    def unsent(self) -> list[AttemptId]:
        """Attempts whose assignment has not gone down."""
        return [AttemptId(task.task_id, task.attempt) for task in self._update.assignments]

    def _put(self) -> None:
        self._waiting += 1
        if self._waiting > BACKLOG:
            self.close(TooSlowError(f"worker {self.worker_id} does not read; {BACKLOG} items wait for it"))
        self._wake.set()


class Sessions(scheduler_pb2_grpc.WorkerServiceServicer):
    """All connected workers."""

    def __init__(self, master: Master, master_id: str, heartbeat_interval_s: float) -> None:
        self._master = master
        self._master_id = master_id
        self._heartbeat_interval_s = heartbeat_interval_s
        self._sessions: dict[str, _Session] = {}
        self._closed = False

    async def WorkerSession(  # type: ignore[override]
        self, request_iterator: AsyncIterator[scheduler_pb2.WorkerUpdate], context: Context
    ) -> None:
        """Serve one worker until either side ends it.

        A coroutine that writes, not a generator: when the call is cancelled its `finally` runs at once.
        """
        session = await self._greet(request_iterator)
        reader = asyncio.create_task(self._read(session, request_iterator))
        try:
            async for update in session.updates():
                await context.write(update)
        finally:
            reader.cancel()
            self._forget(session)

    def logs(self, worker_id: str, attempt: AttemptId) -> AsyncIterator[str] | None:
        """Output of an attempt on a connected worker; None when it is not connected."""
        session = self._sessions.get(worker_id)
        return None if session is None else session.logs(attempt)

    def readers(self, worker_id: str) -> int:
        """How many wait for output of a worker's attempts."""
        session = self._sessions.get(worker_id)
        return 0 if session is None else session.readers

    def close(self) -> None:
        """End every session after what waits for it has been sent; later ones are refused."""
        self._closed = True
        for session in self._sessions.values():
            session.close(None)

    async def _greet(self, updates: AsyncIterator[scheduler_pb2.WorkerUpdate]) -> _Session:
        if self._closed:
            raise StoppingError("the master is stopping; try again")
        hello = await self._hello(updates)
        worker = convert.worker_record(hello.info, address="", executors=hello.executors)
        # Registered first: a hello that is refused must not take the place of a session that works.
        self._master.post(RegisterWorker(worker, tuple(convert.attempt_id(ref) for ref in hello.live)))
        session = _Session(worker.worker_id)
        if (old := self._sessions.get(worker.worker_id)) is not None:
            old.close(ReplacedError(f"a newer session of worker {worker.worker_id} took over"))
        self._sessions[worker.worker_id] = self._master.links[worker.worker_id] = session
        try:
            await self._master.durable()
        except BaseException:
            self._forget(session)
            raise
        session.welcome(self._master_id, self._heartbeat_interval_s)
        log.info("worker connected", worker=worker.worker_id, live=len(hello.live))
        return session

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
        for started in update.started:
            post(convert.started(worker_id, started))
        for result in update.finished:
            post(convert.finished(worker_id, result))
        for refused in update.refused:
            post(convert.refused(worker_id, refused))
        if update.HasField("heartbeat"):
            # A session says at its start what it runs; a heartbeat may cross an assignment.
            post(convert.heartbeat(worker_id, update.heartbeat, claims=False))
        for piece in update.logs:
            session.log_output(piece)

    def _forget(self, session: _Session) -> None:
        """After the end of a session, unless a newer one has taken over."""
        worker_id = session.worker_id
        if self._sessions.get(worker_id) is not session:
            return
        del self._sessions[worker_id]
        if self._master.links.get(worker_id) is session:
            del self._master.links[worker_id]
        log.info("worker disconnected", worker=worker_id, left=session.left)
        if session.left:
            return
        try:
            self._master.post(WorkerSilent(worker_id))
            for attempt in session.unsent():
                self._master.post(AttemptRefused(worker_id, attempt, "the connection to the worker broke"))
        except UnknownWorkerIdError:
            # It was declared lost, which is why the session ended.
            pass
