"""A task's output on a page: followed while the page is open, bounded however much the task prints."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterator

from nicegui import background_tasks, ui

from master.cli.dashboard import words
from master.cli.dashboard.desk import Desk
from rtscore.client import CallTimeoutError, LogPiece, MasterUnreachableError, RequestError

MAX_BYTES = 1 << 20
MAX_LINES = 5_000

# The browser gets what has come in such a time as one message, and a block whole when its end grows.
_GATHER_S = 0.2
_GATHER_BYTES = 64 << 10
_BLOCK_BYTES = 8 << 10
_PAUSE_S = 2.0


class _Block:
    """Some lines as one element of the page."""

    def __init__(self, label: ui.label) -> None:
        self.label = label
        self.bytes = 0
        self.lines = 0

    def takes(self, piece: str) -> bool:
        """Whether a piece belongs here: there is room, or it goes on in the last line."""
        amid = not self.label.text.endswith("\n")
        return self.bytes + len(piece.encode()) <= _BLOCK_BYTES * (4 if amid else 1)

    def add(self, piece: str) -> None:
        self.label.text += piece
        self.bytes += len(piece.encode())
        self.lines += piece.count("\n")


class LogView:
    """The last lines of a task; newer ones push older ones out.

    The box is drawn from its end, so it keeps to the last line by itself until one scrolls up. Reading pulls:
    while it is paused, or when the page has closed, nothing more is sent by the worker or the master.
    """

    def __init__(self, desk: Desk, task_id: str) -> None:
        self._desk = desk
        self._task_id = task_id
        self._blocks: deque[_Block] = deque()
        self._bytes = 0
        self._lines = 0
        # Whether what is shown will be sent once more, from the start.
        self._again = False
        self._goes_on = asyncio.Event()
        self._goes_on.set()
        with ui.element("div").classes("log").props('tabindex="0" role="log" aria-label="Output"'):
            self._box = ui.element("div")
        with self._box:
            self._note = ui.label("Waiting for output.").classes("note")
        client = ui.context.client
        self._task = background_tasks.create(self._read(), name="logs")
        client.on_delete(self.close)

    def close(self) -> None:
        """Stop reading; calling it again does nothing."""
        self._task.cancel()

    def follow(self, on: bool) -> None:
        """Read on, or leave the output as it is for now."""
        if on:
            self._goes_on.set()
        else:
            self._goes_on.clear()

    async def _read(self) -> None:
        while True:
            try:
                await self._read_once()
                return
            except RequestError as error:
                self._say(str(error))
                return
            except (MasterUnreachableError, CallTimeoutError):
                self._say("No master answers; what is printed will follow.")
            self._again = True
            await asyncio.sleep(_PAUSE_S)

    async def _read_once(self) -> None:
        waiting = list[LogPiece]()
        pieces = self._desk.client.log_pieces(self._task_id, follow=True)
        draining: asyncio.Task[None] | None = None

        async def drain() -> None:
            await asyncio.sleep(_GATHER_S)
            self._show(waiting)

        try:
            async for piece in pieces:
                waiting.append(piece)
                if draining is None or draining.done():
                    draining = asyncio.create_task(drain())
                if sum(len(each.text) for each in waiting) > _GATHER_BYTES:
                    await draining
                await self._goes_on.wait()
            self._show(waiting)
        finally:
            if draining is not None:
                draining.cancel()
            with contextlib.suppress(RuntimeError):
                await pieces.aclose()  # type: ignore[attr-defined]

    def _show(self, waiting: list[LogPiece]) -> None:
        pieces, waiting[:] = list(waiting), []
        if pieces and self._again:
            self._again = False
            self._clear()
        for piece in pieces:
            if piece.missed:
                self._add(f"\n[{piece.missed} bytes are missing here]\n")
            if piece.state == "running" and piece.attempt > 1 and not piece.last:
                self._add(f"\n[attempt {piece.attempt} begins]\n")
            if piece.text:
                self._add(piece.text)
            if piece.last:
                empty = not self._bytes
                self._say(f"{'Nothing was printed; t' if empty else 'T'}he task has {_ended(piece.state)}.")
            elif piece.state == "queued":
                self._say("The task is queued; what it prints will follow.")
            elif piece.state:
                self._say("")

    def _add(self, text: str) -> None:
        for piece in _cut(words.printed(text)):
            last = self._blocks[-1] if self._blocks else None
            if last is None or not last.takes(piece):
                with self._box:
                    last = _Block(ui.label("").classes("text"))
                last.label.move(target_index=len(self._blocks))
                self._blocks.append(last)
            last.add(piece)
            self._bytes += len(piece.encode())
            self._lines += piece.count("\n")
        while len(self._blocks) > 1 and (self._bytes > MAX_BYTES or self._lines > MAX_LINES):
            first = self._blocks.popleft()
            first.label.delete()
            self._bytes -= first.bytes
            self._lines -= first.lines

    def _clear(self) -> None:
        while self._blocks:
            self._blocks.pop().label.delete()
        self._bytes = self._lines = 0

    def _say(self, sentence: str) -> None:
        self._note.text = sentence
        self._note.set_visibility(bool(sentence))


def _ended(state: str) -> str:
    return {"cancelled": "been cancelled"}.get(state, state)


def _cut(text: str) -> Iterator[str]:
    """Pieces of whole lines that fill a block at most; a line that is longer is cut, too."""
    piece = ""
    for line in text.splitlines(keepends=True):
        while len(line) > _BLOCK_BYTES:
            yield piece + line[:_BLOCK_BYTES]
            piece, line = "", line[_BLOCK_BYTES:]
        if len(piece) + len(line) > _BLOCK_BYTES:
            yield piece
            piece = ""
        piece += line
    if piece:
        yield piece
