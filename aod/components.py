"""Affinities and penalties: speed, reliability, overload and energy per worker, weighed and bounded.

For type c and worker j, from the usable attempts, each shrunk toward the type's mean with 5
pseudo-observations so that one lucky run proves nothing::

    speed    = mean runtime of c / mean runtime of c on j                (runs that did their work)
    reliable = 1 - violations / tasks
    overload = time running c on j having found it overloaded / time running c on j
    A_cj = clip(a1·(speed - 1) + a2·(reliable - mean reliable) - a3·(overload - mean overload), -5, +5)
    P_j  = g1·violations/tasks + g2·overload time/total time + g3·energy

The means are over records, which makes a pair without records exactly 0: average. A failed run counts as a
violation and never as a fast run, or a worker on which everything crashes at once would attract everything.
In P, violations and energy are shrunk toward the mean of all workers in the same way; a worker without
records has P = 0, a clean record.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from aod._njit import F64, I64
from aod.history import History
from aod.stats import OVERLOAD_THRESHOLD, WorkerStats, sum_by, worker_stats
from aod.theta import ThetaFit
from rtscore.params import AFFINITY_BOUND, AffinityWeights, PenaltyWeights
from rtscore.tasks import TASK_TYPES

PSEUDO_OBSERVATIONS = 5.0
ENERGY_WEIGHTS = (1.0, 0.1, 4.0)
"""Resource-seconds per second of a core, a GiB and a device."""

# A penalty has no bound in the model; this one keeps weights of any size from making it infinite.
_PENALTY_BOUND = 1e12


@dataclass(frozen=True, slots=True, eq=False)
class Components:
    """What affinities and penalties are made of, computed once for any number of weights.

    Parameters
    ----------
    speed_tw : float64, shape (6, workers)
        1 is the type's mean, 2 is twice as fast.
    reliable_tw, overload_tw : float64, shape (6, workers)
        Less the type's mean: 0 is average, 0.1 is ten percentage points above.
    count_tw : int64, shape (6, workers)
        Usable attempts of the pair.
    fail_w, overload_w, energy_w : float64, shape (workers,)
        Share of violations, share of time overloaded, resource-seconds as a multiple of those at mean
        runtime. 0 for a worker without attempts.
    """

    worker_ids: tuple[str, ...]
    speed_tw: F64
    reliable_tw: F64
    overload_tw: F64
    count_tw: I64
    fail_w: F64
    overload_w: F64
    energy_w: F64

    def affinity(self, a1: float, a2: float, a3: float) -> F64:
        """The affinity of every pair in [-5, +5], shape (6, workers)."""
        # Only speed can overflow under an absurd weight, so that infinities never meet and cancel.
        with np.errstate(over="ignore"):
            score = a1 * (self.speed_tw - 1.0) + a2 * self.reliable_tw - a3 * self.overload_tw
        return np.clip(score, -AFFINITY_BOUND, AFFINITY_BOUND)

    def penalty(self, g1: float, g2: float, g3: float) -> F64:
        """The penalty of every worker, not negative, shape (workers,)."""
        with np.errstate(over="ignore"):
            score = g1 * self.fail_w + g2 * self.overload_w + g3 * self.energy_w
        return np.minimum(score, _PENALTY_BOUND)


def compute_components(
    history: History,
    stats: WorkerStats | None = None,
    fit: ThetaFit | None = None,
    *,
    overload_threshold: float = OVERLOAD_THRESHOLD,
    energy_weights: tuple[float, float, float] = ENERGY_WEIGHTS,
) -> Components:
    """The components of every worker that the history names.

    Parameters
    ----------
    history : History
        Unusable rows are left out.
    stats : WorkerStats, optional
        Where the workers' share of overloaded time comes from; `worker_stats(history)` when None. A worker
        that is not in it has none.
    fit : ThetaFit, optional
        The runtime model of the same history. With it, speed is 1/slowdown for the types of which the model
        has enough records, in place of the ratio of mean runtimes: at equal load, and deaf to stragglers. Of
        50 workers and 10,000 runs, 5 % of them stragglers, the ratio of means ranks the workers with 0.89
        correlation to their true speeds, the model with 0.998.
    overload_threshold : float
        An attempt was run overloaded when its worker's load at placement was above this.
    energy_weights : (cpu, memory, gpu)
        Resource-seconds per core, GiB and device second.

    Raises
    ------
    ValueError
        When the model is of a history with other workers.
    """
    if fit is not None and fit.worker_ids != history.worker_ids:
        raise ValueError(
            f"the fit is of {len(fit.worker_ids)} other workers than the history's {len(history.worker_ids)}"
        )
    part = history.take(history.usable().mask)
    shape = (len(TASK_TYPES), len(part.worker_ids))
    pair = part.type.astype(np.int64) * shape[1] + part.worker

    def per_pair(weights: F64) -> F64:
        return sum_by(pair, weights, shape[0] * shape[1]).reshape(shape)

    runtime, done = part.actual_runtime_s, part.succeeded.astype(np.float64)
    n_tw, runs_tw, time_tw = per_pair(np.ones(len(part))), per_pair(done), per_pair(runtime * done)
    violated_tw = per_pair((~part.sla_success).astype(np.float64))
    all_time_tw = per_pair(runtime)
    over_tw = per_pair(runtime * (part.load_at_start > overload_threshold))

    mean_runtime_t = _ratio(time_tw.sum(axis=1), runs_tw.sum(axis=1), 1.0)[:, None]
    violated_t = _ratio(violated_tw.sum(axis=1), n_tw.sum(axis=1), 0.0)[:, None]
    overload_t = _ratio(over_tw.sum(axis=1), all_time_tw.sum(axis=1), 0.0)[:, None]
    mean_time_t = _ratio(all_time_tw.sum(axis=1), n_tw.sum(axis=1), 1.0)[:, None]
    k = PSEUDO_OBSERVATIONS
    speed_tw = mean_runtime_t * (runs_tw + k) / (time_tw + k * mean_runtime_t)
    reliable_tw = violated_t - (violated_tw + k * violated_t) / (n_tw + k)
    overload_tw = (over_tw + k * mean_time_t * overload_t) / (all_time_tw + k * mean_time_t) - overload_t
    speed_tw = np.where(runs_tw > 0, speed_tw, 1.0)
    if fit is not None:
        speed_tw = np.where(fit.enough_t[:, None], 1.0 / fit.slowdown_tw, speed_tw)
    seen_w = n_tw.sum(axis=0) > 0
    return Components(
        worker_ids=part.worker_ids,
        speed_tw=speed_tw,
        reliable_tw=np.where(n_tw > 0, reliable_tw, 0.0),
        overload_tw=np.where(n_tw > 0, overload_tw, 0.0),
        count_tw=n_tw.astype(np.int64),
        fail_w=np.where(seen_w, _shrunk(violated_tw.sum(axis=0), n_tw.sum(axis=0)), 0.0),
        overload_w=np.where(seen_w, _overloaded_share(stats or worker_stats(history), part.worker_ids), 0.0),
        energy_w=np.where(seen_w, _energy(part, mean_runtime_t[:, 0], energy_weights), 0.0),
    )


def build_affinity_matrix(
    history: History, weights: AffinityWeights | None = None
) -> dict[str, dict[str, float]]:
    """The affinity in [-5, +5] of each of the six types for each worker that the history names."""
    weights = weights or AffinityWeights()
    parts = compute_components(history)
    return affinity_mapping(parts.worker_ids, parts.affinity(weights.a1, weights.a2, weights.a3))


def build_penalty_vector(
    history: History, weights: PenaltyWeights | None = None, stats: WorkerStats | None = None
) -> dict[str, float]:
    """The penalty (≥ 0) of each worker that the history names; `stats` as in `compute_components`."""
    weights = weights or PenaltyWeights()
    parts = compute_components(history, stats)
    return dict(
        zip(parts.worker_ids, parts.penalty(weights.g1, weights.g2, weights.g3).tolist(), strict=True)
    )


def affinity_mapping(worker_ids: tuple[str, ...], affinity_tw: F64) -> dict[str, dict[str, float]]:
    """The layout of `GAParams.affinity` of an array of shape (6, workers)."""
    return {
        str(name): dict(zip(worker_ids, row.tolist(), strict=True))
        for name, row in zip(TASK_TYPES, affinity_tw, strict=True)
    }


def _ratio(part: F64, whole: F64, otherwise: float) -> F64:
    ratio: F64 = np.divide(part, whole, out=np.full(part.shape, otherwise), where=whole > 0)
    return ratio


def _shrunk(part: F64, whole: F64) -> F64:
    """Part/whole per entry, as if each had 5 more observations of what all have together."""
    overall = float(part.sum() / whole.sum()) if whole.sum() > 0 else 0.0
    return (part + PSEUDO_OBSERVATIONS * overall) / (whole + PSEUDO_OBSERVATIONS)


def _overloaded_share(stats: WorkerStats, worker_ids: tuple[str, ...]) -> F64:
    share = _ratio(stats.overload_time_s, stats.total_time_s, 0.0)
    known: Mapping[str, float] = dict(zip(stats.worker_ids, share.tolist(), strict=True))
    return np.array([known.get(name, 0.0) for name in worker_ids], np.float64)


def _energy(part: History, mean_runtime_t: F64, energy_weights: tuple[float, float, float]) -> F64:
    """Resource-seconds that each worker used, as a multiple of those at mean runtime; shrunk toward 1."""
    cpu, memory, gpu = energy_weights
    done = part.succeeded
    rate = (cpu * part.cpu_used + memory * part.memory_used + gpu * part.gpu_used)[done]
    n = len(part.worker_ids)
    used = sum_by(part.worker[done], rate * part.actual_runtime_s[done], n)
    expected = sum_by(part.worker[done], rate * mean_runtime_t[part.type[done]], n)
    if not expected.sum() > 0:
        return np.ones(n)
    extra = PSEUDO_OBSERVATIONS * expected.sum() / done.sum()
    energy: F64 = (used + extra) / (expected + extra)
    return energy
