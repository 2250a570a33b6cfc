"""The master's end of a database process: starts it, asks one thing after the other, replaces a dead one."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
from collections import deque
from pathlib import Path
from typing import Any

import msgspec

from master.children import environment
from master.errors import StoreUnavailableError
from master.store.base import StoreConflictError, StoreOpenError
from master.store.rows import plain

_EXIT_S = 10.0
_DEATHS_PER_REQUEST = 2
_STARTS = 3
"""For a process that is killed again while it starts."""


_encoder = msgspec.msgpack.Encoder(enc_hook=plain)
_decoder = msgspec.msgpack.Decoder()


class _Request:
    """A request without its answer yet; `number` is 0 for one that may be repeated, or left, without harm."""

    __slots__ = ("answer", "deaths", "frame", "number", "parts", "unwanted")

    def __init__(self, frame: bytes, number: int, answer: asyncio.Future[list[Any]]) -> None:
        self.frame = frame
        self.number = number
        self.answer = answer
        self.parts: list[Any] = []
        self.deaths = 0
        self.unwanted = False

    def left(self, told: asyncio.Future[list[Any]]) -> None:
        """Whoever asked waits no longer."""
        self.unwanted = told.cancelled() and not self.number


class Channel:
    """Requests to one database process, one after the other, so that at most one outcome is ever in doubt.

    A process that dies (killed, out of memory) is replaced and what had no answer is sent again. The file
    holds the number of the last commit, so one that was made just before the death is not made twice. A
    request under which two processes died is given up.

    Parameters
    ----------
    path
        The database file.
    role
        "write" or "read".
    lock
        Descriptor of the lock that the process shares, so that no other master starts while it lives.
    """

    def __init__(self, path: Path, role: str, lock: int) -> None:
        self._arguments = (role, str(path))
        self._lock = lock
        self._waiting: deque[_Request] = deque()
        self._connection: _Connection | None = None
        self._restart: asyncio.Task[None] | None = None
        self.number = 0

    async def open(self) -> None:
        """Start the process; raises StoreOpenError with its sentence when it refuses."""
        self._connection = await self._start()
        self.number = self._connection.number

    async def close(self) -> None:
        """Wait for every answer, then for the end of the process."""
        while self._waiting:
            await asyncio.wait([self._waiting[-1].answer])
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.close()

    def request(self, operation: str, *arguments: Any, number: int = 0) -> asyncio.Future[list[Any]]:
        """Queue a request; the future has the parts of its answer, or the error that it was answered with.

        Cancelling the future recalls a request that has no number and is not under way.
        """
        body = _encoder.encode((operation, *arguments))
        request = _Request(
            len(body).to_bytes(4, "little") + body, number, asyncio.get_running_loop().create_future()
        )
        self._waiting.append(request)
        if self._connection is None:
            if self._restart is None:
                self._restart = asyncio.create_task(self._replace())
        elif len(self._waiting) == 1:
            self._connection.send(request.frame)
        told = asyncio.shield(request.answer)
        told.add_done_callback(request.left)
        return told

    async def _start(self) -> _Connection:
        ours, theirs = socket.socketpair()
        with theirs:
            process = self._spawn(theirs.fileno())
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(lambda: _Connection(self, process), sock=ours)
        try:
            await connection.opened
        except BaseException:
            await connection.close()
            raise
        return connection

    def _spawn(self, descriptor: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "master.store.sqlite_process", str(descriptor), *self._arguments],
            stdin=subprocess.DEVNULL,
            pass_fds=(descriptor, self._lock),
            env=environment(),
        )

    def answered(self, outcome: str, payload: list[Any]) -> None:
        """Give the oldest request its answer, or a part of it."""
        if outcome == "part":
            self._waiting[0].parts.append(payload)
            return
        request = self._waiting.popleft()
        while self._waiting and self._waiting[0].unwanted:
            self._waiting.popleft().answer.cancel()
        if self._waiting and self._connection is not None:
            self._connection.send(self._waiting[0].frame)
        if outcome == "done":
            request.answer.set_result(request.parts)
        elif outcome == "conflict":
            request.answer.set_exception(StoreConflictError(*payload))
        elif outcome == "value":
            request.answer.set_exception(ValueError(*payload))
        else:
            request.answer.set_exception(StoreUnavailableError(f"the store answers: {payload[0]}"))

    def lost(self, connection: _Connection) -> None:
        """Replace a process that ended, unless nothing waits for it: the next request will."""
        if self._connection is not connection:
            return
        self._connection = None
        if self._waiting:
            self._waiting[0].deaths += 1
            self._waiting[0].parts.clear()
            self._restart = asyncio.create_task(self._replace())

    async def _start_again(self) -> _Connection:
        for _ in range(_STARTS - 1):
            with contextlib.suppress(OSError, StoreOpenError):
                return await self._start()
        return await self._start()

    async def _replace(self) -> None:
        try:
            connection = await self._start_again()
        except (OSError, StoreOpenError) as error:
            for request in self._waiting:
                doubt = "; whether the last commit was made is not known" if request.deaths else ""
                request.answer.set_exception(
                    StoreUnavailableError(f"the store's process cannot be started: {error}{doubt}")
                )
            self._waiting.clear()
        else:
            self._connection = connection
            oldest = self._waiting[0]
            if 0 < oldest.number <= connection.number:
                self.answered("done", [])
            elif oldest.deaths >= _DEATHS_PER_REQUEST:
                self.answered("unavailable", [f"its process died {oldest.deaths} times under this request"])
            else:
                connection.send(oldest.frame)
        finally:
            self._restart = None


class _Connection(asyncio.Protocol):
    """Frames in and out of one process."""

    def __init__(self, channel: Channel, process: subprocess.Popen[bytes]) -> None:
        self._channel = channel
        self._process = process
        self._received = bytearray()
        self._reaper: asyncio.Future[asyncio.Future[None]] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.number = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def send(self, frame: bytes) -> None:
        self._transport.write(frame)

    def data_received(self, data: bytes) -> None:
        received = self._received
        received += data
        start = 0
        while len(received) >= start + 4:
            end = start + 4 + int.from_bytes(received[start : start + 4], "little")
            if len(received) < end:
                break
            outcome, *payload = _decoder.decode(memoryview(received)[start + 4 : end])
            start = end
            if outcome == "opened":
                (self.number,) = payload
                self.opened.set_result(None)
            elif outcome == "refused":
                self.opened.set_exception(StoreOpenError(*payload))
            else:
                self._channel.answered(outcome, payload)
        del received[:start]

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        if not self.opened.done():
            self.opened.set_exception(StoreOpenError("its process ended before it had opened the file"))
        self._reaper.set_result(asyncio.get_running_loop().run_in_executor(None, self._reap))
        self._channel.lost(self)

    def _reap(self) -> None:
        try:
            self._process.wait(_EXIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    async def close(self) -> None:
        self._transport.write_eof()
        await (await self._reaper)
