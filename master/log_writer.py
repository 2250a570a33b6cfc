"""Writes a task's output to one reader as chunks of text, and knows how far that reader is."""

from __future__ import annotations

import codecs
from collections.abc import Awaitable, Callable

from master.log_feed import PIECE_BYTES
from master.records import StoredTask
from rtscore.rpc import cluster_pb2

Write = Callable[[cluster_pb2.LogChunk], Awaitable[None]]


class LogWriter:
    """One reader of one task.

    Parameters
    ----------
    request : TaskLogRequest
        With what the reader has already.
    write : callable
        Returns when the reader may be given more.
    clock : callable
        Unix seconds.

    Attributes
    ----------
    attempt, position : int
        Of what attempt the reader has how many bytes, those that are missing included.
    """

    def __init__(self, request: cluster_pb2.TaskLogRequest, write: Write, clock: Callable[[], float]) -> None:
        self.attempt = request.attempt
        self.position = request.offset
        self._task_id = request.task_id
        self._write = write
        self._clock = clock
        # A character may be cut in two between pieces.
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    async def begin(self, attempt: int) -> None:
        """Turn to an attempt; another one's output begins anew."""
        if attempt != self.attempt:
            await self._flush()
            self.attempt, self.position = attempt, 0

    async def put(self, missed: int, content: bytes) -> None:
        """Give the reader the next bytes, after a number of bytes that it does not get."""
        if missed:
            await self._flush()
            self.position += missed
        for begin in range(0, len(content), PIECE_BYTES):
            piece = content[begin : begin + PIECE_BYTES]
            self.position += len(piece)
            text = self._decoder.decode(piece)
            if text or missed:
                await self._chunk(text, missed=missed)
                missed = 0
        if missed:
            await self._chunk("", missed=missed)

    async def tell(self, task: StoredTask) -> None:
        """Tell the reader where the task stands."""
        await self._chunk("", status=task.status.state.value)

    async def end(self, task: StoredTask) -> None:
        """Tell the reader that this was all."""
        await self._flush()
        await self._chunk("", status=task.status.state.value, is_complete=True)

    async def _flush(self) -> None:
        if text := self._decoder.decode(b"", final=True):
            await self._chunk(text)

    async def _chunk(
        self, content: str, *, missed: int = 0, status: str = "", is_complete: bool = False
    ) -> None:
        pending, _ = self._decoder.getstate()
        await self._write(
            cluster_pb2.LogChunk(
                task_id=self._task_id,
                content=content,
                timestamp=int(self._clock()),
                is_complete=is_complete,
                status=status,
                attempt=self.attempt,
                offset=self.position - len(pending),
                missed=missed,
            )
        )
