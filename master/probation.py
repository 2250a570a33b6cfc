"""Whether parameters that were just accepted keep what the replay promised of them."""

from __future__ import annotations

import math
from typing import Literal

NEEDED = 200
"""Finished tasks that a new set is judged by."""

_ERRORS = 2.0
"""Standard errors by which live tasks may miss the promise: one set in forty is sent back by bad luck."""

Verdict = Literal["kept its promise", "broke its promise"]


class Probation:
    """Counts the tasks that were submitted under a new set, until there are enough for a verdict.

    Parameters
    ----------
    since : float
        When the set went live, in Unix seconds; a task submitted before counts for nobody.
    promised : float
        The share of deadlines met in the replay.
    tasks : int
        How many tasks that share is of.
    """

    def __init__(self, since: float, promised: float, tasks: int) -> None:
        self.since = since
        self.promised = promised
        self.seen = 0
        self.met = 0
        # A share of 0 or 1 among few tasks is not certainty: one task is added to either side.
        smoothed = (promised * tasks + 1.0) / (tasks + 2.0)
        self.bar = _ERRORS * math.sqrt(smoothed * (1.0 - smoothed) * (1.0 / NEEDED + 1.0 / max(tasks, 1)))

    def add(self, submitted_at: float, met: bool) -> Verdict | None:
        """Count a finished task; the verdict when it was the last that was needed."""
        if submitted_at < self.since:
            return None
        self.seen += 1
        self.met += met
        if self.seen < NEEDED:
            return None
        return "broke its promise" if self.met / self.seen < self.promised - self.bar else "kept its promise"

    def __str__(self) -> str:
        share = self.met / self.seen if self.seen else math.nan
        return (
            f"{self.met} of {self.seen} tasks met their deadline ({share:.1%}); "
            f"the replay promised {self.promised:.1%} ± {self.bar:.1%}"
        )
