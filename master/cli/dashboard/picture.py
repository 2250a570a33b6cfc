"""What the dashboard knows of the cluster: each question is asked once a period, however many pages look."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, Generic, TypeVar

from rtscore.client import CallTimeoutError, MasterUnreachableError, RequestError

T = TypeVar("T")

PERIOD_S = 2.0

# What nobody has answered is asked again after so long at most, however seldom it is asked otherwise.
_AGAIN_S = 15.0

# So many questions are under way at once, or a hundred open pages would be a hundred calls in one moment.
_AT_ONCE = 8

_log = logging.getLogger("rts.dashboard")


class Topic(Generic[T]):
    """A question that somebody looks at, with its last answer.

    `value` is None until the first answer; `refused` is the master's sentence where the last answer was a no,
    or why there is no first answer yet from a master that answers others. A master that does not answer
    leaves both as they are.
    """

    def __init__(self, ask: Callable[[], Awaitable[T]], period_s: float) -> None:
        self.ask = ask
        self.period_s = period_s
        self.value: T | None = None
        self.refused = ""
        self.settled = asyncio.Event()
        self.again = asyncio.Event()
        self.uses: dict[Look, Callable[[Topic[T]], None]] = {}
        self.task: asyncio.Task[None] | None = None


class Look:
    """One page's interest in a topic, until it is closed."""

    def __init__(self, picture: Picture, key: Hashable, topic: Topic[Any]) -> None:
        self._picture = picture
        self._key = key
        self._topic = topic

    async def settled(self, patience_s: float = 1.0) -> None:
        """Return when there is an answer, or patience has ended."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._topic.settled.wait(), patience_s)

    def close(self) -> None:
        """Look away; calling it again does nothing. A topic that nobody looks at is not asked for."""
        if self._topic.uses.pop(self, None) is not None and not self._topic.uses:
            self._picture._forget(self._key, self._topic)


class Picture:
    """The topics that open pages look at, and whether a master answers.

    `silent_since` is the Unix time of the first call in a row that nobody answered, None when the last one
    was answered; `silence` is its error. A call that ran out of time while others were answered is slow, and
    no silence.
    """

    def __init__(self) -> None:
        self.silent_since: float | None = None
        self.silence = ""
        self._heard_at = -math.inf
        self._topics: dict[Hashable, Topic[Any]] = {}
        self._turns = asyncio.Semaphore(_AT_ONCE)

    def look(
        self,
        key: Hashable,
        ask: Callable[[], Awaitable[T]],
        use: Callable[[Topic[T]], None],
        period_s: float = PERIOD_S,
    ) -> Look:
        """Call `use` with the topic of this key now, if it has been answered, and after every later call.

        Pages with the same key share the calls; `ask` must mean the same for all of them.
        """
        topic = self._topics.get(key)
        if topic is None:
            topic = self._topics[key] = Topic(ask, period_s)
            topic.task = asyncio.create_task(self._keep(topic))
        look = Look(self, key, topic)
        topic.uses[look] = use
        if topic.settled.is_set():
            use(topic)
        return look

    @property
    def watched(self) -> int:
        """How many topics somebody looks at."""
        return len(self._topics)

    def ask_again(self) -> None:
        """Ask everything now: somebody has changed something."""
        for topic in self._topics.values():
            topic.again.set()

    async def close(self) -> None:
        """Stop asking; calling it again does nothing."""
        tasks = [topic.task for topic in self._topics.values() if topic.task is not None]
        self._topics.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _forget(self, key: Hashable, topic: Topic[Any]) -> None:
        if self._topics.get(key) is topic:
            del self._topics[key]
        if topic.task is not None:
            topic.task.cancel()

    async def _keep(self, topic: Topic[Any]) -> None:
        while True:
            topic.again.clear()
            async with self._turns:
                answered = await self._ask(topic)
            for use in list(topic.uses.values()):
                try:
                    use(topic)
                except Exception:
                    # One page that cannot be drawn must not hold up the others.
                    _log.exception("a page could not be drawn")
            with contextlib.suppress(TimeoutError):
                pause_s = topic.period_s if answered else min(topic.period_s, _AGAIN_S)
                await asyncio.wait_for(topic.again.wait(), pause_s)

    async def _ask(self, topic: Topic[Any]) -> bool:
        """Ask once; says whether a master answered."""
        asked_at = time.monotonic()
        try:
            topic.value = await topic.ask()
            topic.refused = ""
        except RequestError as error:
            topic.refused = str(error)
        except (MasterUnreachableError, CallTimeoutError) as error:
            if isinstance(error, CallTimeoutError) and self._heard_at > asked_at:
                if topic.value is None:
                    topic.refused = "The master answers, but not this in time; it is asked again."
                return False
            if self.silent_since is None:
                self.silent_since = time.time()
            self.silence = str(error)
            return False
        except Exception as error:
            # A question that cannot be put must not end the asking: its pages would stand still for ever.
            _log.exception("a question could not be asked")
            topic.refused = f"This cannot be asked: {error}"
            topic.settled.set()
            return True
        topic.settled.set()
        self.silent_since = None
        self._heard_at = time.monotonic()
        return True
