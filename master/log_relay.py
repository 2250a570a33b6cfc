"""Passes the output of running attempts from one worker's session to those who asked for it."""

from __future__ import annotations

import asyncio
import codecs
from collections import deque
from collections.abc import AsyncIterator, Callable

from master import convert
from master.errors import WorkerUnreachableError
from master.events import AttemptId
from rtscore.rpc import scheduler_pb2

TIMEOUT_S = 10.0

Piece = scheduler_pb2.LogOutput | None


class _Answer:
    """What the worker sends for one request; who asks before it begins shares it."""

    def __init__(self) -> None:
        self.begun = False
        self.readers: list[asyncio.Queue[Piece]] = []


class LogRelay:
    """Requests down, pieces up; the worker answers the requests for an attempt in their order.

    Parameters
    ----------
    worker_id : str
    request : callable
        Sends a request for an attempt's output to the worker.
    """

    def __init__(self, worker_id: str, request: Callable[[AttemptId], None]) -> None:
        self._worker_id = worker_id
        self._request = request
        self._answers: dict[AttemptId, deque[_Answer]] = {}

    @property
    def readers(self) -> int:
        """How many wait for output."""
        return sum(len(answer.readers) for answers in self._answers.values() for answer in answers)

    @property
    def begun(self) -> bool:
        """Whether an answer is under way."""
        return any(answer.begun for answers in self._answers.values() for answer in answers)

    async def read(self, attempt: AttemptId) -> AsyncIterator[str]:
        """What an attempt has printed so far, in pieces.

        Raises
        ------
        WorkerUnreachableError
            When the worker does not answer, or its session ends first.
        """
        answer = self._join(attempt)
        queue: asyncio.Queue[Piece] = asyncio.Queue()
        answer.readers.append(queue)
        # A character may be cut in two between pieces.
        decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        try:
            last = False
            while not last:
                piece = await asyncio.wait_for(queue.get(), TIMEOUT_S)
                if piece is None:
                    raise WorkerUnreachableError(f"the connection to worker {self._worker_id} broke")
                last = piece.last
                yield decode(piece.content, last)
        except TimeoutError:
            self._drop(attempt, answer)
            raise WorkerUnreachableError(
                f"worker {self._worker_id} sent no output within {TIMEOUT_S:g} s"
            ) from None
        finally:
            answer.readers.remove(queue)

    def take(self, piece: scheduler_pb2.LogOutput) -> None:
        """Pass a piece on; one that nobody asked for is dropped."""
        attempt = convert.attempt_id(piece.attempt)
        answers = self._answers.get(attempt)
        if not answers:
            return
        answers[0].begun = True
        for queue in answers[0].readers:
            queue.put_nowait(piece)
        if piece.last:
            self._drop(attempt, answers[0])

    def end(self) -> None:
        """The session is over: whoever still waits is told."""
        for answers in self._answers.values():
            for answer in answers:
                for queue in answer.readers:
                    queue.put_nowait(None)
        self._answers.clear()

    def _join(self, attempt: AttemptId) -> _Answer:
        answers = self._answers.setdefault(attempt, deque())
        if not answers or answers[-1].begun:
            answers.append(_Answer())
            self._request(attempt)
        return answers[-1]

    def _drop(self, attempt: AttemptId, answer: _Answer) -> None:
        answers = self._answers.get(attempt)
        if answers and answer in answers:
            answers.remove(answer)
            if not answers:
                del self._answers[attempt]
