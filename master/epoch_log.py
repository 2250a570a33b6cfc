"""What epochs of learning have come to lately, and how far the one that runs is."""

from __future__ import annotations

from collections import Counter, deque
from typing import Any

import msgspec
from msgspec.structs import replace

from master.epochs import EpochProgress, EpochReply
from master.metrics.counters import EPOCHS_S, Histogram

KEPT = 50


class RunningEpoch(msgspec.Struct):
    """An epoch that the trainer works on; it grows by a generation at a time."""

    started_at: float
    generations: int
    requested: bool
    course: list[EpochProgress]


class PastEpoch(msgspec.Struct, frozen=True, kw_only=True):
    """An epoch that is over.

    Attributes
    ----------
    started_at, duration_s : float
        Unix seconds; seconds of the master's clock, the wait for the trainer included.
    verdict, reason : str
        What became of it: of an `EpochReply`, with "kept" where a better set was held back.
    requested : bool
        Somebody asked for it; otherwise its time had come.
    params_version : int
        That it made; 0: none.
    course : tuple of EpochProgress
    reply : EpochReply or None
        Without its parameters and its model; None when the trainer gave none.
    """

    started_at: float
    duration_s: float
    verdict: str
    reason: str
    requested: bool
    params_version: int
    course: tuple[EpochProgress, ...]
    reply: EpochReply | None

    @property
    def samples(self) -> dict[str, int]:
        """The records that it learned from, by type; empty where it did not come so far."""
        types = self.evidence.get("regression", {}).get("types", {})
        return {name: of_type["used"] for name, of_type in types.items()}

    @property
    def evidence(self) -> dict[str, Any]:
        """The reply's."""
        return {} if self.reply is None else self.reply.evidence


class EpochLog:
    """The epoch that runs, the last `KEPT` that are over, and how often each verdict came.

    Attributes
    ----------
    running : RunningEpoch or None
        The trainer's present one; another may wait behind it.
    past : deque of PastEpoch
        Oldest first.
    verdicts : Counter of str
        Since the master started.
    trainer_failures : int
        Requests that had no answer, since the master started.
    durations : Histogram
        Seconds, since the master started.
    """

    def __init__(self) -> None:
        self._open: list[RunningEpoch] = []
        self.past: deque[PastEpoch] = deque(maxlen=KEPT)
        self.verdicts: Counter[str] = Counter()
        self.trainer_failures = 0
        self.durations = Histogram(EPOCHS_S)

    @property
    def running(self) -> RunningEpoch | None:
        return self._open[0] if self._open else None

    def begin(self, now: float, generations: int, *, requested: bool) -> RunningEpoch:
        """An epoch is asked for, of so many generations at most."""
        epoch = RunningEpoch(now, generations, requested, [])
        self._open.append(epoch)
        return epoch

    def end(
        self,
        running: RunningEpoch,
        now: float,
        verdict: str,
        reason: str,
        *,
        reply: EpochReply | None = None,
        params_version: int = 0,
    ) -> None:
        """An epoch is over."""
        # Not by equality: two that wait may be alike.
        self._open = [epoch for epoch in self._open if epoch is not running]
        self.verdicts[verdict] += 1
        duration_s = max(0.0, now - running.started_at)
        self.durations.add(duration_s)
        # A set and a model have a place of their own, and are large.
        kept = None if reply is None else replace(reply, params=None, model=None)
        self.past.append(
            PastEpoch(
                started_at=running.started_at,
                duration_s=duration_s,
                verdict=verdict,
                reason=reason,
                requested=running.requested,
                params_version=params_version,
                course=tuple(running.course),
                reply=kept,
            )
        )
