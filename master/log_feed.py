"""What the master holds of one attempt's output while somebody reads it: its last bytes, for all readers."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

# For all readers of one attempt together, however many they are and however far behind.
KEEP_BYTES = 256 * 1024
# What is asked of a worker at once, and given to a reader at once.
READ_BYTES = 128 * 1024
PIECE_BYTES = 64 * 1024
# Every gap begins another run of bytes; so many are kept at most.
KEEP_RUNS = 64


class Piece(NamedTuple):
    """Consecutive bytes of an output, and how many bytes are missing before them."""

    missed: int
    content: bytes
    end: int


class Feed:
    """Asks the worker for the next bytes when a reader has read the last ones.

    So the fastest reader sets the pace, one that falls more than `KEEP_BYTES` behind it is told what it
    missed, and when all of them stand still nothing more comes.

    Parameters
    ----------
    ask : callable
        Sends a read to the worker: its number, the offset, whether to wait for something to be printed. False
        when the worker is not connected.
    numbers : iterator of int
        Numbers for reads; never 0.
    """

    def __init__(self, ask: Callable[[int, int, bool], bool], numbers: Iterator[int]) -> None:
        self._ask = ask
        self._numbers = numbers
        self._runs: deque[tuple[int, bytearray]] = deque()
        self._kept = 0
        self._asked = 0
        self._waits = False
        # The wake-up calls of those who read.
        self.readers: set[asyncio.Event] = set()
        self.end = 0
        self.answers = 0
        # How much the worker had, by its last answer.
        self.printed = 0
        self.ended = False
        # The worker has nothing of it: it has not begun, or is over and recorded.
        self.unknown = False

    def want(self, *, wait: bool) -> None:
        """Ask for what comes after the last bytes, unless that is under way."""
        if not self._asked or (self._waits and not wait):
            number = next(self._numbers)
            if self._ask(number, self.end, wait):
                self._asked, self._waits = number, wait

    def disconnected(self) -> None:
        """Expect no answer any more; readers ask again when the worker is back."""
        self._asked = 0
        self.wake()

    def wake(self) -> None:
        """Let every reader look again."""
        for event in self.readers:
            event.set()

    def take(
        self, number: int, offset: int, content: bytes, *, printed: int, ended: bool, unknown: bool
    ) -> None:
        """Add an answer; one to a read that is no longer waited for is dropped."""
        if number != self._asked:
            return
        self._asked = 0
        self.answers += 1
        self.printed = max(printed, offset + len(content))
        self.ended, self.unknown = ended, unknown
        if content:
            self._append(offset, content)
        self.wake()

    def after(self, position: int) -> Piece | None:
        """Return what follows a position, as far as it has come; None: nothing yet."""
        for start, run in self._runs:
            if start + len(run) > position:
                begin = max(start, position)
                content = bytes(run[begin - start : begin - start + PIECE_BYTES])
                return Piece(begin - position, content, begin + len(content))
        return None

    def _append(self, offset: int, content: bytes) -> None:
        if self._runs and offset == self.end and len(self._runs[-1][1]) < PIECE_BYTES:
            self._runs[-1][1].extend(content)
        else:
            self._runs.append((offset, bytearray(content)))
        self.end = offset + len(content)
        self._kept += len(content)
        while self._kept > KEEP_BYTES or len(self._runs) > KEEP_RUNS:
            self._kept -= len(self._runs.popleft()[1])
