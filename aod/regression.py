"""Gauss-Newton over a history's records: θ and one effect per (type, worker) pair, in compiled passes.

Minimises Σ huber(z - u_g - log(1 + θ·x)) plus a prior on θ, within 0 ≤ θ ≤ 2; z = log(runtime/τ), g the pair.

Design
A. Logarithms, because runtimes spread by factors: the residuals are then of one size at every load, and a
   straggler of ten times the runtime is 2.3, not 9.
B. Each pass over the records accumulates the normal equations of one step. The pair effects are eliminated
   from them exactly (Schur complement), which leaves four unknowns, solved within their bounds. Rejected:
   alternating between speeds and θ, which are strongly correlated: on 5,000 records that took 301 passes, and
   487 where the slow workers were the busy ones; this takes 8.
C. Huber weights against stragglers. The scale of the residuals comes from their median absolute deviation in
   the first passes and is then fixed, so that every step lowers one objective; one that does not is halved.
D. Chunks of records run in threads, and their sums are added in order: the number of threads changes no bit.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aod import _njit
from aod._njit import F64, I8, I32, I64
from aod.history import REASONS as ROW_REASONS
from aod.history import History
from aod.residuals import freedom, mad_sigma
from rtscore.params import THETA_MAX
from rtscore.tasks import TASK_TYPES

REASONS = (*ROW_REASONS, "run failed", "no τ", "no load or available amounts", "more used than available")
"""Why a record is not used by the regression, in the order of its codes."""


# The prior of each θ: normal around its default with this standard deviation. It decides only what the
# records leave open.
_PRIOR_SD = 0.5
# Huber's constant: 95 % efficiency with normal residuals.
_HUBER = 1.345
# A smaller residual scale than this is not believed, or a few identical records would outweigh the prior.
_MIN_SCALE = 0.01
# The scale is estimated again in the first passes only: with a fixed one every step lowers one objective.
_SCALE_PASSES = 3
_MAX_PASSES = 60
# Curvature beyond Huber's clip, as a part of the secant's. 1 is iterative reweighting, which never overshoots
# but needs 10 passes where this needs 8, and with many stragglers 27 where this needs 13; 0.02 overshoots so
# often that the halving of steps costs more than it saves. Below 1 only once steps are judged.
_BEYOND = 0.2
_TOLERANCE = 1e-6
# Pairs of few records move long after θ has settled; a hundredth of a percent of a speed is nothing.
_PAIR_TOLERANCE = 1e-4
# Fixed, so that sums do not depend on how many threads ran them.
_CHUNKS = 4
_SMALL = 50_000


@dataclass(slots=True)
class Records:
    """The regression's columns; rows that cannot be used have group -1."""

    pool: ThreadPoolExecutor
    n_workers: int
    reason: I8
    group: I32
    z: F64
    x: F64
    count_g: F64
    mean_g: F64
    total: F64

    @classmethod
    def read(cls, history: History, n_workers: int, pool: ThreadPoolExecutor) -> Records:
        n, n_groups = len(history), len(TASK_TYPES) * n_workers
        reason, group = history.reasons(), np.empty(n, np.int32)
        z, x = np.empty(n), np.empty((n, 4))

        def prepare(low: int, high: int) -> tuple[F64, F64]:
            _njit.features(
                low,
                high,
                n_workers,
                history.type,
                history.worker,
                history.succeeded,
                history.actual_runtime_s,
                history.tau,
                history.cpu_used,
                history.memory_used,
                history.gpu_used,
                history.cpu_available,
                history.memory_available,
                history.gpu_available,
                history.load_at_start,
                reason,
                group,
                z,
                x,
            )
            sums, total = np.zeros((n_groups, 2)), np.zeros(3)
            _njit.group_means(low, high, group, z, sums, total)
            return sums, total

        parts = _chunked(pool, n, prepare)
        sums, total = (np.sum([part[k] for part in parts], axis=0) for k in (0, 1))
        mean_g = np.divide(sums[:, 1], sums[:, 0], out=np.zeros(n_groups), where=sums[:, 0] > 0)
        return cls(pool, n_workers, reason, group, z, x, sums[:, 0].copy(), mean_g, total)


@dataclass(slots=True)
class Pass:
    """What one pass over the records found at (θ, u)."""

    g: F64
    a: F64
    b: F64
    hist: I64
    huber: float
    squares: float

    @classmethod
    def run(cls, records: Records, theta: F64, u_g: F64, clip: float, beyond: float) -> Pass:
        def work(low: int, high: int) -> tuple[NDArray[Any], ...]:
            g, a, b = np.zeros((len(u_g), 6)), np.zeros((4, 4)), np.zeros(4)
            hist, total = np.zeros((len(TASK_TYPES), _njit.BINS), np.int64), np.zeros(2)
            _njit.accumulate(
                low,
                high,
                records.n_workers,
                records.group,
                records.z,
                records.x,
                theta,
                u_g,
                clip,
                beyond,
                g,
                a,
                b,
                hist,
                total,
            )
            return g, a, b, hist, total

        g, a, b, hist, total = (
            np.sum(parts, axis=0) for parts in zip(*_chunked(records.pool, len(records.z), work), strict=True)
        )
        return cls(g, np.triu(a) + np.triu(a, 1).T, b, hist, float(total[0]), float(total[1]))

    def step(self, theta: F64, prior: F64, ridge: float) -> tuple[F64, F64]:
        """The Gauss-Newton step (Δθ, Δu) that keeps θ in its bounds."""
        h, psi, hj = self.g[:, 0], self.g[:, 1], self.g[:, 2:]
        inverse = np.divide(1.0, h, out=np.zeros_like(h), where=h > 0)
        a = self.a - (hj * inverse[:, None]).T @ hj + ridge * np.eye(4)
        b = self.b - hj.T @ (psi * inverse) - ridge * (theta - prior)
        delta = np.empty(4)
        _njit.solve_in_box(a, b, -theta, THETA_MAX - theta, delta)
        return delta, (psi - hj @ delta) * inverse


def estimate(records: Records, prior: F64) -> tuple[F64, F64, Pass, int, bool]:
    """θ, the pair effects, the pass at exactly these, the number of passes, and whether it converged."""
    theta, u_g = prior.copy(), records.mean_g
    here, passes = Pass.run(records, theta, u_g, np.inf, 1.0), 1
    scale = ridge = best = 0.0
    while passes < _MAX_PASSES:
        if passes <= _SCALE_PASSES:
            scale = max(mad_sigma(here.hist.sum(axis=0)) * freedom(records.count_g), _MIN_SCALE)
            # The residual's variance over the prior's: what turns the prior into a ridge.
            ridge, best = (scale / _PRIOR_SD) ** 2, np.inf
        step_theta, step_u = here.step(theta, prior, ridge)
        while True:
            beyond = 1.0 if passes < _SCALE_PASSES else _BEYOND
            there = Pass.run(records, theta + step_theta, u_g + step_u, _HUBER * scale, beyond)
            passes += 1
            objective = there.huber + 0.5 * ridge * float(np.sum((theta + step_theta - prior) ** 2))
            small = np.abs(step_theta).max() < _TOLERANCE and np.abs(step_u).max() < _PAIR_TOLERANCE
            if objective <= best or small:
                break
            if passes >= _MAX_PASSES:
                return theta, u_g, here, passes, False
            step_theta, step_u = step_theta / 2.0, step_u / 2.0
        theta, u_g, here, best = theta + step_theta, u_g + step_u, there, objective
        if small and passes > _SCALE_PASSES + 1:
            return theta, u_g, here, passes, True
    return theta, u_g, here, passes, False


def _chunked(
    pool: ThreadPoolExecutor, n: int, work: Callable[[int, int], tuple[NDArray[Any], ...]]
) -> list[tuple[NDArray[Any], ...]]:
    if n < _SMALL:
        return [work(0, n)]
    edges = np.linspace(0, n, _CHUNKS + 1).astype(np.int64).tolist()
    return list(pool.map(work, edges[:-1], edges[1:]))
