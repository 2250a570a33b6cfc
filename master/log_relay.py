"""The feeds of all attempts that somebody reads, and the sessions of the workers that print them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from master.errors import LimitReachedError
from master.events import AttemptId
from master.log_feed import Feed
from rtscore.rpc import scheduler_pb2

# Each may hold `log_feed.KEEP_BYTES` when all of them read different tasks.
MAX_READERS = 1_000
# So that no user can keep the others from reading.
MAX_READERS_OF_ONE_USER = 100

Ask = Callable[[AttemptId, int, int, bool], None]


class LogRelay:
    """Finds the feed of an attempt for readers, for answers, and for sessions that begin and end."""

    def __init__(self) -> None:
        self._sessions: dict[str, Ask] = {}
        self._feeds: dict[str, dict[AttemptId, Feed]] = {}
        self._numbers = _numbers()
        self.readers = 0
        self._readers_of = Counter[str]()

    @contextmanager
    def reader(self, user_id: str) -> Iterator[None]:
        """Count a reader of this user's tasks, or with an empty name of everyone's.

        Raises
        ------
        LimitReachedError
            When there are too many, in all or of this user's.
        """
        if self.readers >= MAX_READERS:
            raise LimitReachedError(
                f"{self.readers} readers of output are connected; at most {MAX_READERS} are allowed"
            )
        if user_id and self._readers_of[user_id] >= MAX_READERS_OF_ONE_USER:
            raise LimitReachedError(
                f"{self._readers_of[user_id]} readers of {user_id}'s output are connected; at most "
                f"{MAX_READERS_OF_ONE_USER} are allowed"
            )
        self.readers += 1
        self._readers_of[user_id] += 1
        try:
            yield
        finally:
            self.readers -= 1
            self._readers_of[user_id] -= 1
            if not self._readers_of[user_id]:
                del self._readers_of[user_id]

    @contextmanager
    def feed(self, worker_id: str, attempt: AttemptId, wake: asyncio.Event) -> Iterator[Feed]:
        """The feed of a worker's attempt, for a reader that is woken by its event."""
        feeds = self._feeds.setdefault(worker_id, {})
        feed = feeds.get(attempt)
        if feed is None:

            def ask(number: int, offset: int, wait: bool) -> bool:
                session = self._sessions.get(worker_id)
                if session is not None:
                    session(attempt, number, offset, wait)
                return session is not None

            feed = feeds[attempt] = Feed(ask, self._numbers)
        feed.readers.add(wake)
        try:
            yield feed
        finally:
            feed.readers.discard(wake)
            if not feed.readers:
                del feeds[attempt]
                if not feeds:
                    del self._feeds[worker_id]

    def is_connected(self, worker_id: str) -> bool:
        """Whether a worker has a session."""
        return worker_id in self._sessions

    def connected(self, worker_id: str, ask: Ask) -> None:
        """A session began; it takes the place of an earlier one."""
        self._sessions[worker_id] = ask
        self._expect_nothing(worker_id)

    def disconnected(self, worker_id: str, ask: Ask) -> None:
        """A session ended, unless a later one has taken its place."""
        if self._sessions.get(worker_id) == ask:
            del self._sessions[worker_id]
            self._expect_nothing(worker_id)

    def take(self, worker_id: str, output: scheduler_pb2.LogOutput) -> None:
        """Pass an answer on; one that nobody waits for is dropped."""
        feed = self._feeds.get(worker_id, {}).get(AttemptId(output.attempt.task_id, output.attempt.attempt))
        if feed is not None:
            feed.take(
                output.read,
                output.offset,
                output.content,
                printed=output.printed,
                ended=output.ended,
                unknown=output.unknown,
            )

    def _expect_nothing(self, worker_id: str) -> None:
        for feed in self._feeds.get(worker_id, {}).values():
            feed.disconnected()


def _numbers() -> Iterator[int]:
    # Not itertools.cycle, which keeps what it has counted.
    while True:
        yield from range(1, 2**32)
