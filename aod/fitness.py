"""How good weights are: the recorded tasks replayed under them, and what came of it in one number.

::

    fitness = w1·SLA + w2·utilisation - w3·energy - w4·overload

SLA is the share of tasks that meet their deadline, each counted by the chance that its run does not fail on
the worker that it is given. Energy is resource-seconds over those at the type's recorded mean runtime, and
overload as in `aod.replay.Summary`.

Utilisation is what the tasks finished between first and last arrival would have used at their type's mean
runtime, over what the cluster had; the mean over its resources. It counts work and not occupied time: by
occupied time a task that runs twice as long on a slow worker utilises twice as much, and the search, which
gained more from that than it lost in SLA, sent tasks to slow workers (at 70 % load, five times the misses).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import msgspec
import numpy as np

from aod._njit import F64
from aod.components import Components
from aod.genetic import Fitness
from aod.history import History
from aod.judged import judged
from aod.policies import Policy
from aod.replay import Replay, Replayer, Scores
from aod.stats import sum_by
from aod.theta import ThetaFit, train_theta
from aod.transport import Totals, failure_w, machines_of, totals_seen, workload_of
from rtscore.params import GAParams
from rtscore.tasks import TASK_TYPES


class FitnessWeights(msgspec.Struct, frozen=True):
    """w1 to w4 of the fitness; that of the SLA should be the largest."""

    sla: float = 3.0
    utilisation: float = 1.0
    energy: float = 0.5
    overload: float = 0.5


class Terms(msgspec.Struct, frozen=True):
    """A fitness and what it is made of; `sla_error` is the standard error of `sla` as a share of n tasks."""

    fitness: float
    sla: float
    sla_error: float
    utilisation: float
    energy: float
    overload: float
    tasks: int


class Judge:
    """Replays the tasks of one history under any weights.

    Parameters
    ----------
    history : History
        Usable records only, in order of arrival.
    fit : ThetaFit
        The runtime model by which runtimes are transported.
    workers : mapping of worker id to (cpu, memory, gpu, storage)
        The cluster to replay on.
    since : int
        The tasks from this one on are judged; those before it only fill the cluster. Without them the newer
        30 % at 200 % load were promised 85 % of their deadlines, and had met 67 %.
    """

    def __init__(
        self,
        history: History,
        fit: ThetaFit,
        workers: Totals,
        weights: FitnessWeights | None = None,
        *,
        since: int = 0,
    ) -> None:
        self._weights = weights or FitnessWeights()
        self._machines = machines_of(workers, fit)
        self._replayer = Replayer(self._machines, workload_of(history, fit))
        self._since = since
        part = history.take(slice(since, None))
        self._failure_w = failure_w(part, self._machines.worker_ids)
        self._mean_s = _mean_runtime(part)[part.type]

    def judge(self, params: GAParams | Scores) -> Terms:
        """What becomes of the tasks under one set."""
        replay = judged(self._replayer.run(Policy.RTS, params), self._since)
        n, ran = len(replay.workload), replay.ran
        succeeds = np.where(ran, 1.0 - self._failure_w[replay.worker], 0.0) if len(self._machines) else 0.0
        sla = float((replay.met * succeeds).sum() / n) if n else 0.0
        utilisation, energy, overload = self._work(replay), replay.energy(self._mean_s), replay.overload()
        w = self._weights
        return Terms(
            fitness=w.sla * sla + w.utilisation * utilisation - w.energy * energy - w.overload * overload,
            sla=sla,
            sla_error=float(np.sqrt(sla * (1.0 - sla) / n)) if n else 0.0,
            utilisation=utilisation,
            energy=energy,
            overload=overload,
            tasks=n,
        )

    def _work(self, replay: Replay) -> float:
        low, high = replay.window
        if not high > low:
            return 0.0
        done = replay.finish <= high
        work = (replay.workload.request[done, :3] * self._mean_s[done, None]).sum(axis=0)
        has = self._machines.totals[:, :3].sum(axis=0) * (high - low)
        return float((work[has > 0.0] / has[has > 0.0]).mean()) if (has > 0.0).any() else 0.0

    def judge_all(self, sets: Iterable[GAParams | Scores]) -> list[Terms]:
        """The same for many, in order, on all processors; the replays release the GIL."""
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            return list(pool.map(self.judge, sets))

    def fitness(self, components: Components) -> Fitness:
        """The fitness of weights, shape (k, 12), with the affinities and penalties that they make."""

        def of(weights: F64) -> F64:
            sets = [self.scores(row, components) for row in weights]
            return np.array([terms.fitness for terms in self.judge_all(sets)])

        return of

    def scores(self, weights: F64, components: Components) -> Scores:
        """What a policy is given under weights, shape (12,); a worker without components has 0."""
        ids = self._machines.worker_ids
        known = {name: k for k, name in enumerate(components.worker_ids)}
        at = np.array([known.get(name, -1) for name in ids], np.int64)
        affinity_tw = np.zeros((len(TASK_TYPES), len(ids)))
        penalty_w = np.zeros(len(ids))
        affinity_tw[:, at >= 0] = components.affinity(*weights[6:9].tolist())[:, at[at >= 0]]
        penalty_w[at >= 0] = components.penalty(*weights[9:12].tolist())[at[at >= 0]]
        return Scores(weights[:6], affinity_tw, penalty_w)


def compute_fitness(
    history: History,
    params: GAParams,
    workers: Totals | None = None,
    weights: FitnessWeights | None = None,
) -> Terms:
    """The fitness of one parameter set on a history.

    Parameters
    ----------
    history : History
        Records that cannot be used are left out.
    workers : mapping of worker id to (cpu, memory, gpu, storage), optional
        The cluster to replay on; when None, what the history shows of the workers that it names.
    """
    part = history.take(history.usable().mask)
    part = part.take(np.argsort(part.arrival, kind="stable"))
    return Judge(part, train_theta(part), totals_seen(part) if workers is None else workers, weights).judge(
        params
    )


def _mean_runtime(history: History) -> F64:
    """Mean runtime of the runs that did their work, per type; of all types where one has none."""
    done = history.succeeded.astype(np.float64)
    time_t = sum_by(history.type, history.actual_runtime_s * done, len(TASK_TYPES))
    runs_t = sum_by(history.type, done, len(TASK_TYPES))
    overall = time_t.sum() / runs_t.sum() if runs_t.sum() > 0 else 1.0
    return np.where(runs_t > 0, time_t / np.maximum(runs_t, 1.0), overall)
