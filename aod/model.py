"""The runtime model of a history as the master uses it: seconds and quantiles instead of multiples of τ."""

from __future__ import annotations

import numpy as np

from aod._njit import F64
from aod.history import History
from aod.residuals import freedom
from aod.theta import ThetaFit
from aod.transport import stretch_of
from rtscore.runtime_model import PERCENTS, RuntimeModel, TypeRuntime
from rtscore.tasks import TASK_TYPES

_MIN_SPARE = 10
_PSEUDO_OBSERVATIONS = 5.0
# A residual of e^10 is no residual any more.
_LIMIT = 10.0


def runtime_model(history: History, fit: ThetaFit) -> RuntimeModel | None:
    """The model of every type with enough records; None when the fit has no estimate.

    Base and residuals are measured in seconds, at the speeds and sensitivities of the fit, and not against
    each record's τ: τ moves while it learns, and what it moved is no luck of the tasks.

    Parameters
    ----------
    history : History
        The one that `fit` is of; rows that cannot be used are left out.
    """
    if fit.reason:
        return None
    part = history.take(history.usable().mask)
    code = {name: j for j, name in enumerate(fit.worker_ids)}
    worker = np.array([code[name] for name in part.worker_ids], np.int64)[part.worker]
    runs = part.succeeded & fit.enough_t[part.type]
    log_runtime = np.log(part.actual_runtime_s)
    log_s = np.log(part.actual_runtime_s / (fit.slowdown_tw[part.type, worker] * stretch_of(part, fit)))
    success_t = _success(part)
    residuals: dict[int, F64] = {}
    base_t: dict[int, float] = {}
    for t in range(len(TASK_TYPES)):
        found = log_s[runs & (part.type == t)]
        if len(found):
            base_t[t] = float(np.median(found))
            residuals[t] = np.clip(found - base_t[t], -_LIMIT, _LIMIT)
    spare_t = fit.count_tw.sum(axis=1) - (fit.count_tw > 0).sum(axis=1)
    pooled = np.concatenate([np.empty(0), *residuals.values()])
    types = {}
    for t, own in residuals.items():
        enough = spare_t[t] >= _MIN_SPARE
        # One effect per pair was fitted to the residuals, so they look smaller than those to come.
        widen = freedom(fit.count_tw[t] if enough else fit.count_tw)
        quantiles = np.percentile(own if enough else pooled, PERCENTS) * widen
        known = np.flatnonzero(fit.count_tw[t])
        types[str(TASK_TYPES[t])] = TypeRuntime(
            base_s=float(np.exp(base_t[t])),
            success=float(success_t[t]),
            quantiles=_rounded(quantiles),
            anywhere=_rounded(
                np.percentile(
                    np.clip(log_runtime[runs & (part.type == t)] - base_t[t], -_LIMIT, _LIMIT), PERCENTS
                )
            ),
            slowdown={fit.worker_ids[j]: float(f"{fit.slowdown_tw[t, j]:.6g}") for j in known},
            records=len(own),
        )
    theta = fit.theta
    return RuntimeModel((theta.theta1, theta.theta2, theta.theta3, theta.theta4), types)


def _rounded(values: F64) -> tuple[float, ...]:
    return tuple(np.round(values, 6).tolist())


def _success(part: History) -> F64:
    """Share of runs that did their work, per type, shrunk toward that of all."""
    ran = np.bincount(part.type, minlength=len(TASK_TYPES))
    did = np.bincount(part.type, weights=part.succeeded, minlength=len(TASK_TYPES))
    overall = did.sum() / max(ran.sum(), 1)
    share: F64 = (did + _PSEUDO_OBSERVATIONS * overall) / (ran + _PSEUDO_OBSERVATIONS)
    return share
