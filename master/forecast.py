"""When a task will probably start and finish, and with which chance by its deadline.

Of a placed task the worker is known: the runtime model gives the distribution of its runtime there, and what
has already passed is taken into account. Of a waiting task the start is predicted from the work ahead: what
the tasks before it ask for and is not free must be released by what runs, at the rate at which that is
expected to end. This leaves out much (fragmentation, later tasks with earlier deadlines, workers that come
and go), so each prediction is kept, and compared with the wait that came of it; the spread of their ratio,
per task type, is part of the next prediction. Where the task will run is not known either: its runtime is
distributed as that of its type was, wherever it was placed.

Looking at the queue and at all that runs costs some 2 µs for each of them, so it is done again only after a
part of them has changed, or after a while.
"""

from __future__ import annotations

import math
from collections import deque

import msgspec
import numpy as np

from master.jobs import Attempt, Job
from master.line import Line
from master.members import NO_ROOM, Members, amounts_of, as_amounts, covers
from master.queue import TaskQueue
from rtscore.runtime_model import RuntimeModel, TypeRuntime, quantile, share_above, share_below

# Waits whose ratio to their prediction is remembered per type, and how many there must be to be believed.
REMEMBERED = 300
BELIEVED = 20
# The ratio's quantiles are taken at the middles of so many equal shares, anew after so many waits.
SHARES = 10
RENEWED_AFTER = 10
# A wait is compared after adding this: of short ones the ratio means nothing.
_SHORT_S = 1.0
# Before anything is known of the ratio: a factor of e either way, which is a guess.
_UNKNOWN = (-1.64, -1.04, -0.67, -0.39, -0.13, 0.13, 0.39, 0.67, 1.04, 1.64)
_PER_SECOND = 10_000.0


class Prediction(msgspec.Struct, frozen=True):
    """Instants in Unix seconds, 0 when nothing is known; the chance is None before the type was learned."""

    start_at: float = 0.0
    finish_at: float = 0.0
    chance: float | None = None


class _Waits:
    """Log ratios of waits to their predictions, the last ones, and their quantiles."""

    def __init__(self) -> None:
        self._ratios: deque[float] = deque(maxlen=REMEMBERED)
        self._fresh = 0
        self.quantiles: tuple[float, ...] = _UNKNOWN

    def add(self, ratio: float) -> None:
        self._ratios.append(ratio)
        self._fresh += 1
        if len(self._ratios) >= BELIEVED and self._fresh >= RENEWED_AFTER:
            self._fresh = 0
            known = sorted(self._ratios)
            self.quantiles = tuple(known[int(len(known) * (k + 0.5) / SHARES)] for k in range(SHARES))


class _Room:
    """What the cluster has free, and how fast more becomes so, per second."""

    def __init__(self, members: Members, forecast: Forecast, now: float) -> None:
        self.at = now
        self.size = members.live + len(members)
        everyone = list(members.by_id.values())
        open_now = np.array([member.schedulable for member in everyone], np.bool_)
        self.free = as_amounts(members.rooms()[open_now].sum(axis=0))
        # Of each resource the most that any worker has, empty, that takes tasks.
        totals = [NO_ROOM, *(member.totals for member in everyone if member.takes)]
        self.largest = as_amounts(np.max(totals, axis=0))
        attempts = [attempt for member in everyone for attempt in member.attempts.values()]
        per_s = np.array([1.0 / max(forecast.typical_s(attempt), 1e-3) for attempt in attempts])
        asked = np.array([amounts_of(attempt.job.task) for attempt in attempts]).reshape(-1, 4)
        self.rate = as_amounts(per_s @ asked)

    def stale(self, members: Members, now: float) -> bool:
        """Whether so much has changed, or so long ago, that it should be looked at anew."""
        changed = abs(members.live + len(members) - self.size)
        return changed > self.size // 8 or not 0.0 <= now - self.at <= max(1.0, self.size / _PER_SECOND)


class Forecast:
    """Predicts, and learns from what became of its predictions of waits."""

    def __init__(self, members: Members, queue: TaskQueue) -> None:
        self._members = members
        self._queue = queue
        self._waits: dict[str, _Waits] = {}
        self._line: Line | None = None
        self._room: _Room | None = None
        self.model: RuntimeModel | None = None

    def factor(self, attempt: Attempt) -> float | None:
        """By how much its worker, in the state that it found, makes a run longer than on an average idle one.

        None when there is no model of the type.
        """
        if self.model is None:
            return None
        record, task = attempt.record, attempt.job.task
        return self.model.factor(
            attempt.job.spec.task_type,
            record.worker_id,
            (task.cpu, task.memory, task.gpu),
            (record.cpu_avail, record.memory_avail, record.gpu_avail),
            record.load_at_start,
        )

    def typical_s(self, attempt: Attempt) -> float:
        """How long an attempt typically runs; τ while nothing better is known."""
        factor = self.factor(attempt)
        if factor is None or self.model is None:
            return attempt.job.spec.tau
        return self.model.types[attempt.job.spec.task_type].base_s * factor

    def placed(self, job: Job, now: float) -> None:
        """A job got its worker: a prediction of its wait is compared with what it was."""
        if job.foreseen is None:
            return
        at, wait_s = job.foreseen
        job.foreseen = None
        waits = self._waits.setdefault(job.spec.task_type, _Waits())
        waits.add(math.log((max(now - at, 0.0) + _SHORT_S) / (wait_s + _SHORT_S)))

    def if_placed(self, attempt: Attempt, now: float) -> Prediction:
        """What would become of an attempt that is not made."""
        attempt.expected_finish = now + self.typical_s(attempt)
        return self._of_attempt(attempt, self._known(attempt.job), now)

    def of(self, job: Job, now: float) -> Prediction:
        """What will probably become of a job that has not finished."""
        known = self._known(job)
        if job.attempt is not None:
            return self._of_attempt(job.attempt, known, now)
        if job.group is None or not len(self._members):
            return Prediction()
        return self._of_waiting(job, known, now)

    def _known(self, job: Job) -> TypeRuntime | None:
        return None if self.model is None else self.model.types.get(job.spec.task_type)

    def _of_attempt(self, attempt: Attempt, known: TypeRuntime | None, now: float) -> Prediction:
        job, typical_s = attempt.job, self.typical_s(attempt)
        start = job.status.started_at or attempt.record.assigned_at
        if known is None:
            return Prediction(start, attempt.predicted_finish(now))
        left = share_above(known.quantiles, _log(now - start, typical_s))
        finish = start + typical_s * math.exp(quantile(known.quantiles, 1.0 - 0.5 * left))
        chance = 0.0
        if now <= job.deadline:
            late = share_above(known.quantiles, _log(job.deadline - start, typical_s))
            # Where none of its kind ran as long it ends any moment.
            chance = known.success * (max(0.0, 1.0 - late / left) if left > 0.0 else 1.0)
        return Prediction(start, max(finish, now), chance)

    def _of_waiting(self, job: Job, known: TypeRuntime | None, now: float) -> Prediction:
        wait_s = self._wait_s(job, now)
        if not math.isfinite(wait_s):
            return Prediction()
        if job.foreseen is None:
            job.foreseen = now, wait_s
        waits = self._waits.get(job.spec.task_type)
        ratios = _UNKNOWN if waits is None else waits.quantiles
        starts = [max(0.0, (wait_s + _SHORT_S) * math.exp(ratio) - _SHORT_S) for ratio in ratios]
        start = now + 0.5 * (starts[SHARES // 2 - 1] + starts[SHARES // 2])
        if known is None:
            return Prediction(start, start + job.spec.tau)
        slack_s, base_s = job.deadline - now, known.base_s
        chance = sum(share_below(known.anywhere, _log(slack_s - wait, base_s)) for wait in starts) / SHARES
        typical_s = base_s * math.exp(quantile(known.anywhere, 0.5))
        return Prediction(start, start + typical_s, chance * known.success)

    def _wait_s(self, job: Job, now: float) -> float:
        """Until a queued job has room; infinite when no worker takes it, or nothing runs that makes some."""
        if self._room is None or self._room.stale(self._members, now):
            self._room = _Room(self._members, self, now)
        if not covers(self._room.largest, amounts_of(job.task)):
            return math.inf
        if self._line is None or self._line.stale(self._queue):
            self._line = Line(self._queue)
        ahead, free, rate = self._line.ahead(job), self._room.free, self._room.rate
        wait_s = 0.0
        for k, asked in enumerate(amounts_of(job.task)):
            if asked > 0.0:
                # It waits though there may seem to be room: as much as it asks for must become free at least.
                lacking = max(ahead[k] + asked - free[k], asked)
                wait_s = max(wait_s, lacking / rate[k] if rate[k] > 0.0 else math.inf)
        return wait_s


def _log(seconds: float, typical_s: float) -> float:
    return math.log(seconds / typical_s) if seconds > 0.0 else -math.inf
