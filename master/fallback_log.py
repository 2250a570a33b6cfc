"""Warns of decisions that the model left to round-robin, without a line for each of thousands a second."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

log = structlog.get_logger(__name__)

PAUSE_S = 1.0


class FallbackLog:
    """Warns of the first at once, then at most once a second of all since then.

    Parameters
    ----------
    clock : callable
        Seconds that only go forward.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next_at = 0.0
        self._untold = 0
        self._last: tuple[str, str | None] = ("", None)

    def add(self, task_id: str, worker_id: str | None) -> None:
        """Count one, and tell of all that were not told when that is due."""
        self._untold += 1
        self._last = (task_id, worker_id)
        self.flush()

    def flush(self) -> None:
        """Tell of what was counted since the last line, when one is due."""
        if self._untold and (now := self._clock()) >= self._next_at:
            task_id, worker_id = self._last
            log.warning(
                "fallback to round-robin",
                count=self._untold,
                task_id=task_id,
                worker_id=worker_id,
                reason="workers fit, but none has a finite risk",
            )
            self._untold = 0
            self._next_at = now + PAUSE_S
