"""The trainer's keeper: starts the process when it is first needed, asks it, and ends one that misbehaves."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from master.children import environment
from master.epochs import (
    ComparisonReply,
    ComparisonRequest,
    EpochProgress,
    EpochReply,
    EpochRequest,
)

EPOCH_LIMIT_S = 900.0
"""An epoch that takes longer is one that hangs: the most records take a fiftieth of it."""

_END_S = 2.0
# A reply holds every pair of a large cluster.
_LINE_LIMIT = 256 * 1024 * 1024

Reply = TypeVar("Reply", EpochReply, ComparisonReply)


# How msgspec begins an `EpochProgress`: only the tag tells it from a reply, which has none.
_PROGRESS = b'{"type":"progress"'


class TrainerError(Exception):
    """The trainer did not answer; the next request starts a new one."""


class Trainer:
    """One trainer process, started at the first request and again after its death.

    Parameters
    ----------
    command : sequence of str
        What to run.
    """

    def __init__(self, command: Sequence[str] = (sys.executable, "-m", "master.trainer")) -> None:
        self._command = command
        self._process: asyncio.subprocess.Process | None = None
        self._asking = asyncio.Lock()

    @property
    def pid(self) -> int | None:
        """Of the process; None when there is none."""
        return None if self._process is None else self._process.pid

    async def epoch(
        self, request: EpochRequest, progress: Callable[[EpochProgress], None] = lambda _: None
    ) -> EpochReply:
        """Ask for an epoch and return its outcome; requests are answered one after the other.

        `progress` is told of each generation of the search.

        Cancelling the call ends the process: nobody waits for what it is doing.

        Raises
        ------
        TrainerError
            When the process died, said what is no reply, or took too long; it has ended.
        """
        return await self._answer(request, EpochReply, progress)

    async def compare(self, request: ComparisonRequest) -> ComparisonReply:
        """Ask for a comparison of parameter sets; otherwise as `epoch`.

        Raises
        ------
        TrainerError
            As `epoch`, or when they cannot be compared.
        """
        reply = await self._answer(request, ComparisonReply, lambda _: None)
        if reply.failed or len(reply.sla) != len(request.sets):
            raise TrainerError(reply.failed or f"{len(reply.sla)} of {len(request.sets)} sets were compared")
        return reply

    async def _answer(
        self,
        request: EpochRequest | ComparisonRequest,
        kind: type[Reply],
        progress: Callable[[EpochProgress], None],
    ) -> Reply:
        async with self._asking:
            try:
                async with asyncio.timeout(EPOCH_LIMIT_S):
                    return await self._ask(request, kind, progress)
            except TimeoutError:
                await self.stop(grace_s=0.0)
                raise TrainerError(f"the trainer took longer than {EPOCH_LIMIT_S:.0f} s") from None
            except BaseException:
                await self.stop(grace_s=0.0)
                raise

    async def stop(self, grace_s: float = _END_S) -> None:
        """End the process, if there is one; calling it again does nothing."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(grace_s):
                await process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _ask(
        self,
        request: EpochRequest | ComparisonRequest,
        kind: type[Reply],
        progress: Callable[[EpochProgress], None],
    ) -> Reply:
        process = self._process
        if process is None or process.returncode is not None:
            process = self._process = await self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(msgspec.json.encode(request) + b"\n")
            await process.stdin.drain()
            while (line := await process.stdout.readline()).startswith(_PROGRESS):
                progress(msgspec.json.decode(line, type=EpochProgress))
        except msgspec.DecodeError as error:
            raise _nonsense(line, error) from None
        except (ConnectionError, ValueError) as error:
            raise TrainerError(f"the trainer cannot be asked: {error}") from None
        if not line.endswith(b"\n"):
            code = await process.wait()
            raise TrainerError(f"the trainer ended with code {code} before it had answered")
        try:
            return msgspec.json.decode(line, type=kind)
        except msgspec.DecodeError as error:
            raise _nonsense(line, error) from None

    async def _start(self) -> asyncio.subprocess.Process:
        try:
            return await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env=environment(),
                limit=_LINE_LIMIT,
            )
        except OSError as error:
            raise TrainerError(f"the trainer cannot be started: {error}") from None


def _nonsense(line: bytes, error: msgspec.DecodeError) -> TrainerError:
    return TrainerError(f"the trainer said {line[:80]!r}, which is no reply: {error}")
