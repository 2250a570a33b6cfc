"""Asks the master in threads, so that no key waits for an answer and no interrupt meets gRPC."""

from __future__ import annotations

import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import TypeVar

from master.cli.top.picture import Picture, Wanted, look
from rtscore.client import ClientError, MasterClient

T = TypeVar("T")

# Of the time that the last look took, and at most so many seconds: a large cluster is looked at less often.
PAUSE_FACTOR = 4.0
LONGEST_PAUSE_S = 5.0

# A picture that has been waited for so long is late.
LATE_S = 2.0


class Poller:
    """The newest picture, and answers to single questions.

    Attributes
    ----------
    picture : Picture or None
    error : ClientError or None
        Why there is none newer.
    asked_at : float or None
        When the look that is under way began, on the monotonic clock.
    """

    def __init__(self, client: MasterClient, interval_s: float, wanted: Callable[[], Wanted]) -> None:
        self.picture: Picture | None = None
        self.error: ClientError | None = None
        self.asked_at: float | None = None
        self._client = client
        self._interval_s = interval_s
        self._wanted = wanted
        self._wake = Event()
        self._left = False
        self._answers: SimpleQueue[Callable[[], None]] = SimpleQueue()

    def start(self) -> None:
        """Begin to look."""
        Thread(target=self._run, name="top", daemon=True).start()

    def leave(self) -> None:
        """Ask nothing more: the client is about to be closed."""
        self._left = True
        self._wake.set()

    def hurry(self) -> None:
        """Look again soon."""
        self._wake.set()

    def ask(
        self, question: Callable[[MasterClient], T], then: Callable[[T], None], no: Callable[[str], None]
    ) -> None:
        """Ask in a thread of its own; `deliver` calls `then` with the answer, or `no` with a sentence."""

        def run() -> None:
            try:
                answer = question(self._client)
            except ClientError as error:
                said = str(error)
                self._answers.put(lambda: no(said))
            except ValueError:
                # What gRPC raises for a call on a channel that has been closed.
                if not self._left:
                    raise
            else:
                self._answers.put(lambda: then(answer))

        Thread(target=run, name="top-ask", daemon=True).start()

    def deliver(self) -> bool:
        """Hand out the answers that have come; says whether there were any."""
        some = False
        while True:
            try:
                answer = self._answers.get_nowait()
            except Empty:
                return some
            answer()
            some = True

    @property
    def late(self) -> bool:
        """Whether the picture should have been replaced by now."""
        asked_at = self.asked_at
        return self.error is not None or (asked_at is not None and time.monotonic() - asked_at > LATE_S)

    def _run(self) -> None:
        while not self._left:
            self._wake.clear()
            began = self.asked_at = time.monotonic()
            try:
                self.picture = look(self._client, self._wanted())
                self.error = None
            except ClientError as error:
                self.error = error
            except ValueError:
                if not self._left:
                    raise
                return
            self.asked_at = None
            took_s = time.monotonic() - began
            # A key that needs a newer picture shortens the interval, not what spares the master.
            spared_s = min(took_s * PAUSE_FACTOR, LONGEST_PAUSE_S) if self.error is None else 0.2
            self._wake.wait(max(self._interval_s - took_s, spared_s))
            time.sleep(max(0.0, began + took_s + spared_s - time.monotonic()))
