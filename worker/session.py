"""Keeps one session with a master open: hello and welcome, batches both ways, reconnection."""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import time
from typing import Protocol

import grpc
import structlog

from rtscore.credentials import Credentials
from rtscore.errors import CredentialsError
from rtscore.handshake import why_refused
from rtscore.rpc import scheduler_pb2, scheduler_pb2_grpc
from worker.outgoing import Outgoing

_log = structlog.get_logger("worker.session")

_WELCOME_TIMEOUT_S = 10.0
# A session that lasted this long was a good one: the next failure starts with short delays again.
_HEALTHY_AFTER_S = 5.0
_FIRST_DELAY_S = 0.2
# A master that has started waits 10 s for the workers that it knows, unless it was told otherwise.
_LONGEST_DELAY_S = 5.0

# The master will say the same thing again until somebody changes something.
_REFUSALS = frozenset(
    {
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.UNIMPLEMENTED,
    }
)

# A connection whose other end is gone without a word is noticed within 8 s: a master of default settings
# gives a silent worker up after 16 s, and without a new session by then the work is done twice. The third
# line is what counts: with the second alone gRPC 1.85 waits 60 s for the answer to a ping; without the fourth
# it puts the third ping off by another minute. The subchannel pool is the channel's own because a shared one
# would add gRPC's connection backoff to ours.
_CHANNEL_OPTIONS = (
    ("grpc.keepalive_time_ms", 4_000),
    ("grpc.keepalive_timeout_ms", 4_000),
    ("grpc.http2.ping_timeout_ms", 4_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", 16 * 1024 * 1024),
)


class SessionEndedError(Exception):
    """Why a session is over; `refused` when trying again soon is pointless."""

    def __init__(self, message: str, refused: bool = False) -> None:
        super().__init__(message)
        self.refused = refused


class SessionHandler(Protocol):
    """Whoever has something to say to the master; called on the event loop, never after `run` has ended."""

    def hello(self) -> scheduler_pb2.WorkerHello:
        """Return the introduction, with what is live at this moment."""

    def welcomed(self) -> None:
        """Add to the outgoing queue what the master may have missed."""

    def received(self, update: scheduler_pb2.MasterUpdate) -> None:
        """Act on what the master sent."""

    async def beat(self) -> None:
        """Add a heartbeat to the outgoing queue."""


class Backoff:
    """Delays that double from 0.2 s up to 5 s, each multiplied by a random fraction (full jitter)."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._failures = 0

    def reset(self) -> None:
        """Start with short delays again."""
        self._failures = 0

    def next_delay(self, refused: bool) -> float:
        """Return the seconds to wait; after a refusal between half of the longest delay and the whole."""
        if refused:
            return self._rng.uniform(0.5, 1.0) * _LONGEST_DELAY_S
        longest = min(_LONGEST_DELAY_S, _FIRST_DELAY_S * 2.0 ** min(self._failures, 30))
        self._failures += 1
        return self._rng.random() * longest


class MasterLink:
    """Holds a session with one of the masters, and finds another when it ends.

    Parameters
    ----------
    masters : tuple of str
        "host:port" of each, tried in turn.
    handler : SessionHandler
        Whom the sessions are for.
    outgoing : Outgoing
        What waits to be sent; emptied when a session begins, as the handler then says all of it again.
    heartbeat_interval_s : float
        For a master whose welcome leaves it open.
    credentials : Credentials
        What is shown to a master and trusted in it.
    """

    def __init__(
        self,
        masters: tuple[str, ...],
        handler: SessionHandler,
        outgoing: Outgoing,
        heartbeat_interval_s: float,
        credentials: Credentials,
    ) -> None:
        self._masters = masters
        self._handler = handler
        self._outgoing = outgoing
        self._heartbeat_interval_s = heartbeat_interval_s
        self._credentials = credentials
        self._backoff = Backoff(random.Random())
        self._leaving = asyncio.Event()
        self._disconnected = asyncio.Event()
        self._disconnected.set()

    async def wait_disconnected(self) -> None:
        """Return when no session with a master that has welcomed us is open."""
        await self._disconnected.wait()

    def leave(self) -> None:
        """Say goodbye and let `run` return; at once when no session is open."""
        self._outgoing.leave()
        self._leaving.set()

    async def run(self) -> None:
        """Hold sessions until `leave` is called and the master has closed the last one; cancellable."""
        for address in itertools.cycle(self._masters):
            if self._leaving.is_set():
                return
            began = time.monotonic()
            try:
                await self._session(address)
                ended = SessionEndedError("the master closed the session")
            except SessionEndedError as error:
                ended = error
            if self._leaving.is_set():
                return
            if not self._disconnected.is_set() and time.monotonic() - began > _HEALTHY_AFTER_S:
                self._backoff.reset()
            self._disconnected.set()
            # Whoever is in office must not wait longer for us because somebody else stands by.
            delay = self._backoff.next_delay(ended.refused) / len(self._masters)
            _log.log(
                logging.ERROR if ended.refused else logging.WARNING,
                "no session",
                master=address,
                reason=str(ended),
                retry_in_s=round(delay, 2),
            )
            try:
                async with asyncio.timeout(delay):
                    await self._leaving.wait()
            except TimeoutError:
                continue

    async def _session(self, address: str) -> None:
        try:
            connection = self._credentials.aio_channel(address, _CHANNEL_OPTIONS)
        except CredentialsError as error:
            raise SessionEndedError(str(error), refused=True) from None
        async with connection as channel:
            stub = scheduler_pb2_grpc.WorkerServiceStub(channel)
            call = stub.WorkerSession(metadata=self._credentials.metadata)
            try:
                await self._hold(call)
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
                # A write to a call that is over says only that; the call itself knows why.
                code, details = await call.code(), await call.details()
                refused = code in _REFUSALS
                if code is grpc.StatusCode.UNAVAILABLE:
                    # Of a TLS master, gRPC says to a plain connection only that it was closed.
                    reason = await asyncio.to_thread(why_refused, address, self._credentials.tls)
                    refused, details = bool(reason), reason or details
                raise SessionEndedError(f"{code.name}: {details}", refused) from error

    async def _hold(self, call: _Call) -> None:
        self._outgoing.clear()
        try:
            async with asyncio.timeout(_WELCOME_TIMEOUT_S):
                await call.write(scheduler_pb2.WorkerUpdate(hello=self._handler.hello()))
                first = await call.read()
        except TimeoutError:
            raise SessionEndedError(f"no welcome within {_WELCOME_TIMEOUT_S:g} s") from None
        if not isinstance(first, scheduler_pb2.MasterUpdate):
            raise SessionEndedError("the master closed the session before its welcome")
        if not first.HasField("welcome"):
            raise SessionEndedError("the master's first message has no welcome", refused=True)
        self._disconnected.clear()
        _log.info("session open", master_id=first.welcome.master_id)
        self._handler.welcomed()
        self._handler.received(first)
        interval_s = first.welcome.heartbeat_interval_s
        tasks = [
            asyncio.create_task(self._read(call)),
            asyncio.create_task(self._write(call)),
            asyncio.create_task(self._beat(interval_s if interval_s > 0 else self._heartbeat_interval_s)),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()

    async def _read(self, call: _Call) -> None:
        while isinstance(update := await call.read(), scheduler_pb2.MasterUpdate):
            self._handler.received(update)

    async def _write(self, call: _Call) -> None:
        leaving = False
        while not leaving:
            await self._outgoing.wait()
            for update in self._outgoing.take():
                await call.write(update)
                leaving = update.leaving
        await call.done_writing()
        # The session is over when the master has read all of it.
        await call.code()

    async def _beat(self, interval_s: float) -> None:
        while True:
            await self._handler.beat()
            await asyncio.sleep(interval_s)


_Call = grpc.aio.StreamStreamCall[scheduler_pb2.WorkerUpdate, scheduler_pb2.MasterUpdate]
