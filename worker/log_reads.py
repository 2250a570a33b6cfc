"""Answers the master's reads of output, each once there is something to say; nothing is sent unasked.

The master asks for the next bytes when somebody has read the last ones, so a reader that is slow or stands
still costs a fixed amount, and a command that prints faster than it is read is never held up: what falls out
of the tail is missing in the answer, and its offset says so.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

from rtscore.rpc import scheduler_pb2
from worker.convert import from_key, to_key
from worker.executors.base import AttemptKey
from worker.executors.output import OutputTail

# A command that prints line by line is read in batches: at most so often, and nobody sees the difference.
PACE_S = 0.01
# In one message, beside results and heartbeats that must not wait long behind output on a slow line.
MESSAGE_BYTES = 512 * 1024
# Of each attempt that is read: what is printed between two reads, at 50 MB/s and 10 ms, is not lost.
ROOM_BYTES = 1024 * 1024


class _Source:
    """What one attempt prints."""

    def __init__(self) -> None:
        self.tail: OutputTail | None = None
        self.ended = False


class LogReads:
    """The reads of one session, and where to read.

    Attributes
    ----------
    on_ready : callable
        Called when a read can be answered.
    """

    def __init__(self) -> None:
        self.on_ready: Callable[[], None] = lambda: None
        self._sources: dict[AttemptKey, _Source] = {}
        self._reads: dict[AttemptKey, scheduler_pb2.LogRead] = {}
        self._sent_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    # ---- what is printed ----

    def begin(self, key: AttemptKey) -> None:
        """Know an attempt that will print."""
        self._sources[key] = _Source()

    def started(self, key: AttemptKey, tail: OutputTail) -> None:
        """Read an attempt's output here."""
        source = self._sources[key]
        source.tail = tail
        if key in self._reads:
            self._watch(key, tail)

    def ended(self, key: AttemptKey) -> None:
        """Nothing more is printed; what was is kept until `forget`."""
        self._sources[key].ended = True
        if key in self._reads:
            self._wake()

    def forget(self, key: AttemptKey) -> None:
        """Forget an attempt's output."""
        if self._sources.pop(key, None) is not None and key in self._reads:
            self._wake()

    # ---- what is asked ----

    def ask(self, read: scheduler_pb2.LogRead) -> None:
        """Answer a read when it can be answered; an earlier one for the same attempt never is."""
        key = to_key(read.attempt)
        self._drop(key)
        self._reads[key] = read
        source = self._sources.get(key)
        if source is not None and source.tail is not None:
            self._watch(key, source.tail)
        if self._answerable(key, read):
            self._wake()

    def clear(self) -> None:
        """A new session: the master asks again for what it still wants."""
        for key in list(self._reads):
            self._drop(key)

    def answers(self) -> Iterator[scheduler_pb2.LogOutput]:
        """Yield answers for one message; what does not fit makes `on_ready` be called again."""
        size = 0
        for key, read in list(self._reads.items()):
            if not self._answerable(key, read):
                continue
            if size >= MESSAGE_BYTES:
                self._wake()
                return
            output = self._answer(key, read)
            size += len(output.content)
            self._sent_at = time.monotonic()
            self._drop(key)
            yield output

    def _answer(self, key: AttemptKey, read: scheduler_pb2.LogRead) -> scheduler_pb2.LogOutput:
        output = scheduler_pb2.LogOutput(attempt=from_key(key), read=read.read, offset=read.offset)
        source = self._sources.get(key)
        if source is None:
            output.unknown = output.ended = True
        elif source.tail is None:
            output.ended = source.ended
        else:
            output.offset, output.content = source.tail.read(read.offset, min(read.limit, MESSAGE_BYTES))
            output.printed = source.tail.end
            output.ended = source.ended and output.offset + len(output.content) == source.tail.end
        return output

    def _answerable(self, key: AttemptKey, read: scheduler_pb2.LogRead) -> bool:
        source = self._sources.get(key)
        if source is None or source.ended or not read.wait:
            return True
        return source.tail is not None and source.tail.end > read.offset

    def _watch(self, key: AttemptKey, tail: OutputTail) -> None:
        tail.widen(ROOM_BYTES)
        tail.on_add = self._wake
        if tail.end:
            self._wake()

    def _drop(self, key: AttemptKey) -> None:
        self._reads.pop(key, None)
        source = self._sources.get(key)
        if source is not None and source.tail is not None:
            source.tail.on_add = lambda: None

    def _wake(self) -> None:
        if self._timer is None:
            pause_s = max(0.0, self._sent_at + PACE_S - time.monotonic())
            self._timer = asyncio.get_running_loop().call_later(pause_s, self._now)

    def _now(self) -> None:
        self._timer = None
        self.on_ready()
