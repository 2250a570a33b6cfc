"""θ and the pair speeds, estimated together from finished attempts; the residual spread around them.

The runtime model, in logarithms, for an attempt of type c on worker j::

    log(runtime/τ) = log scale_c + log slowdown_cj + log(1 + θ·x) + residual
    x = (C/C_avail, M/M_avail, G/G_avail, L) at placement

A slow worker cannot pass for a loaded one: θ is learned only from differences within a pair.

Normalisation: a constant per type could sit in τ, in the slowdowns or in both. The count-weighted geometric
mean of the slowdowns of a type is 1, and `scale` holds the rest: the factor by which τ, which may have been
learned from loaded workers, differs from the runtime on an average idle worker.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aod._njit import BINS, F64, I64
from aod.history import History, count_reasons
from aod.regression import REASONS, Records, estimate
from aod.residuals import spread
from rtscore.params import Theta
from rtscore.tasks import TASK_TYPES

MIN_RECORDS = 10
PSEUDO_OBSERVATIONS = 5.0


@dataclass(frozen=True, slots=True, eq=False)
class ThetaFit:
    """The runtime model and how well it fits.

    Parameters
    ----------
    theta : Theta
        The defaults when `reason` is not empty.
    reason : str
        Why there is no estimate; empty when there is one.
    used, left_out : int, mapping of reason to int
        Records that were used, and those that were not.
    used_t, enough_t : int64 and bool, shape (6,)
        Records used per type, and whether they are enough; a type with too few keeps scale and slowdowns 1.
    r2 : float
        Share of the variance of log(runtime/τ) that the model explains; 0 when nothing varies.
    sigma_t : float64, shape (6,)
        Robust standard deviation of the log residual.
    residual_tp : float64, shape (6, 99)
        Quantiles of the log residual at `aod.residuals.PERCENTS`, within ±10: they show the stragglers
        that `sigma_t` ignores.
    scale_t : float64, shape (6,)
        Runtime on an average idle worker as a multiple of τ.
    slowdown_tw, count_tw : float64 and int64, shape (6, workers)
        Runtime of the pair as a multiple of the type's average, shrunk toward 1 with 5 pseudo-observations,
        and the records behind it. A pair without records has 1.
    passes, converged : int, bool
        Passes over the records, and whether the last step was smaller than the tolerance.
    """

    theta: Theta
    reason: str
    used: int
    left_out: Mapping[str, int]
    used_t: I64
    enough_t: NDArray[np.bool_]
    r2: float
    sigma_t: F64
    residual_tp: F64
    scale_t: F64
    worker_ids: tuple[str, ...]
    slowdown_tw: F64
    count_tw: I64
    passes: int
    converged: bool

    def report(self) -> dict[str, Any]:
        """What an operator wants to know, ready for JSON."""
        return {
            "theta": [self.theta.theta1, self.theta.theta2, self.theta.theta3, self.theta.theta4],
            "reason": self.reason,
            "used": self.used,
            "left_out": dict(self.left_out),
            "r2": self.r2,
            "passes": self.passes,
            "converged": self.converged,
            "types": {
                str(name): {
                    "used": int(self.used_t[t]),
                    "enough": bool(self.enough_t[t]),
                    "sigma": float(self.sigma_t[t]),
                    "scale": float(self.scale_t[t]),
                }
                for t, name in enumerate(TASK_TYPES)
            },
        }


def train_theta(history: History, *, defaults: Theta | None = None) -> ThetaFit:
    """The runtime model of a history.

    Parameters
    ----------
    history : History
        Records that cannot be used are left out and counted. Rearranging the records changes the estimate by
        less than 1e-5.
    defaults : Theta, optional
        The centre of the prior, and the answer when fewer than 10 records can be used.
    """
    prior = _theta_array(defaults or Theta())
    n_workers = max(len(history.worker_ids), 1)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        records = Records.read(history, n_workers, pool)
        used_t = records.count_g.reshape(-1, n_workers).sum(axis=1).astype(np.int64)
        used = int(used_t.sum())
        if used < MIN_RECORDS:
            return _unfitted(history, records, defaults or Theta(), used_t)
        theta, u_g, last, passes, converged = estimate(records, prior)
    count_tw = records.count_g.reshape(-1, n_workers)[:, : len(history.worker_ids)].astype(np.int64)
    enough_t = used_t >= MIN_RECORDS
    scale_t, slowdown_tw = _normalised(u_g.reshape(-1, n_workers)[:, : count_tw.shape[1]], count_tw, enough_t)
    sigma_t, residual_tp = spread(last.hist, count_tw, enough_t)
    return ThetaFit(
        theta=Theta(*theta.tolist()),
        reason="",
        used=used,
        left_out=count_reasons(records.reason, REASONS),
        used_t=used_t,
        enough_t=enough_t,
        r2=_r2(records.total, last.squares),
        sigma_t=sigma_t,
        residual_tp=residual_tp,
        scale_t=scale_t,
        worker_ids=history.worker_ids,
        slowdown_tw=slowdown_tw,
        count_tw=count_tw,
        passes=passes,
        converged=converged,
    )


def _normalised(u_tw: F64, count_tw: I64, enough_t: NDArray[np.bool_]) -> tuple[F64, F64]:
    """Scale and shrunk slowdowns of pair effects, (6,) and (6, workers)."""
    n_t = np.maximum(count_tw.sum(axis=1), 1)
    mean_t = np.where(enough_t, (u_tw * count_tw).sum(axis=1) / n_t, 0.0)
    shrunk = (u_tw - mean_t[:, None]) * count_tw / (count_tw + PSEUDO_OBSERVATIONS)
    # Shrinking moves the mean of unequally known pairs; it belongs to the scale.
    moved_t = (shrunk * count_tw).sum(axis=1) / n_t
    known = enough_t[:, None] & (count_tw > 0)
    slowdown_tw = np.where(known, np.exp(np.where(known, shrunk - moved_t[:, None], 0.0)), 1.0)
    return np.where(enough_t, np.exp(mean_t + np.where(enough_t, moved_t, 0.0)), 1.0), slowdown_tw


def _r2(total: F64, squares: float) -> float:
    n = total[0]
    variance = total[2] / n - (total[1] / n) ** 2
    return 1.0 - squares / (n * variance) if variance > 1e-12 else 0.0


def _theta_array(theta: Theta) -> F64:
    return np.array([theta.theta1, theta.theta2, theta.theta3, theta.theta4])


def _unfitted(history: History, records: Records, defaults: Theta, used_t: I64) -> ThetaFit:
    used, shape = int(used_t.sum()), (len(TASK_TYPES), len(history.worker_ids))
    counts = records.count_g.reshape(len(TASK_TYPES), -1)[:, : shape[1]].astype(np.int64)
    sigma_t, residual_tp = spread(np.zeros((shape[0], BINS), np.int64), counts, np.zeros(6, np.bool_))
    return ThetaFit(
        theta=defaults,
        reason=f"{used} records can be used; {MIN_RECORDS} are needed",
        used=used,
        left_out=count_reasons(records.reason, REASONS),
        used_t=used_t,
        enough_t=np.zeros(shape[0], np.bool_),
        r2=0.0,
        sigma_t=sigma_t,
        residual_tp=residual_tp,
        scale_t=np.ones(shape[0]),
        worker_ids=history.worker_ids,
        slowdown_tw=np.ones(shape),
        count_tw=counts,
        passes=0,
        converged=False,
    )
