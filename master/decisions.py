"""What a placement was chosen from, in a few hundred bytes: the best candidates, the sums, the weights.

Looking for the best eight workers instead of one costs about 5 µs at 10,000 workers, the encoding 2. Counting
who lacks what looks at every worker, 3.4 ns each, so it is done only where they are few; of a larger cluster
it is known how many could take the task when those were fewer than the candidates that are kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from rtscore import Decision, Fit, Source

if TYPE_CHECKING:
    from rtscore import Candidate, GAParams, Scheduler, Task, WorkerTable

# Candidates that are kept: a small cluster whole.
KEPT = 8
# More workers are not counted.
COUNTED = 500


class Ranks(Protocol):
    """A policy that places by risk."""

    @property
    def params(self) -> GAParams:
        """The weights in use."""
        ...

    @property
    def fallback(self) -> Scheduler:
        """Decides when no worker has a finite risk."""
        ...

    def candidates(self, task: Task, now: float | None = None, limit: int = KEPT) -> list[Candidate]:
        """Return the best workers."""
        ...

    def fit(self, task: Task) -> Fit:
        """Count the workers that a task fits on."""
        ...


class Term(msgspec.Struct, frozen=True, array_like=True):
    """A candidate as it is kept; its lateness follows from the slack."""

    worker_id: str
    runtime_s: float
    load: float
    affinity: float
    penalty: float
    risk: float


class Choice(msgspec.Struct, frozen=True, array_like=True):
    """What a placement was chosen from.

    Attributes
    ----------
    workers : int
        Registered ones.
    fit : Fit or None
        How many of them could take the task, and what the others lacked; None where that was not counted.
    tau, slack_s : float
        The type's expected runtime, and the time to the deadline, in seconds.
    params_version : int
        0 when the parameters have no version.
    candidates : tuple of Term
        At most `KEPT`, least risk first.
    """

    workers: int
    fit: Fit | None
    tau: float
    slack_s: float
    alpha: float
    beta: float
    params_version: int
    candidates: tuple[Term, ...]

    @property
    def fitting(self) -> int | None:
        """How many workers could take the task; None when only the best of them are known."""
        if self.fit is not None:
            return self.fit.fitting
        return len(self.candidates) if len(self.candidates) < KEPT else None

    def lateness_s(self, term: Term) -> float:
        """By how much a candidate was predicted to miss the deadline."""
        return max(0.0, term.runtime_s - self.slack_s)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Choice)


def ranking(scheduler: Scheduler) -> Ranks | None:
    """The policy as one that ranks; None when it does not."""
    return scheduler if hasattr(scheduler, "candidates") else None  # type: ignore[return-value]


class Decisions:
    """Keeps what placements are chosen from."""

    def __init__(self, table: WorkerTable, scheduler: Scheduler) -> None:
        self._table = table
        self._policy = ranking(scheduler)
        # Of the parameters in use.
        self.params_version = 0

    def keep(self, task: Task, decision: Decision, now: float) -> bytes | None:
        """What a decision was taken from, on the table as it still is; None when nothing was ranked."""
        policy = self._policy
        if policy is None or decision.source is not Source.RTS:
            return None
        weights = policy.params.risk
        workers = len(self._table)
        return _encoder.encode(
            (
                workers,
                policy.fit(task) if workers <= COUNTED else None,
                task.tau,
                # A clock or a weight may be a number of numpy, which has no msgpack.
                float(task.deadline - now),
                float(weights.alpha),
                float(weights.beta),
                self.params_version,
                # A zero takes one byte as an integer, nine as a float; most are zero at first.
                [
                    (c.worker_id, c.runtime_s, c.load or 0, c.affinity or 0, c.penalty or 0, c.risk)
                    for c in policy.candidates(task, now, KEPT)
                ],
            )
        )


def peek(scheduler: Scheduler, task: Task, now: float) -> Decision:
    """What a policy would decide; it neither counts that nor moves on, if it can be asked in another way."""
    policy = ranking(scheduler)
    if policy is None:
        asked = getattr(scheduler, "peek", scheduler.select_worker)
    else:
        best = policy.candidates(task, now, 1)
        if best:
            return Decision(best[0].worker_id, None, best[0].risk, Source.RTS)
        asked = getattr(policy.fallback, "peek", policy.fallback.select_worker)
    decision: Decision = asked(task, now)
    return decision


def choice(kept: bytes) -> Choice | None:
    """What `keep` has kept; None when it is of a master that kept something else."""
    try:
        return _decoder.decode(kept)
    except msgspec.DecodeError:
        return None
