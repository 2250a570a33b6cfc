"""From a history to what a replay needs: the recorded tasks with runtimes that fit any worker.

The observed runtime, divided by the modelled time of the worker that the task had, at the load that it found
there, is the task's base: its runtime on an average idle worker with its own luck in it. The replay
multiplies that by the modelled time of the worker that it chooses. The model is the regression's, never the
candidate's: what θ a candidate believes in changes where tasks go, not how long they take.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from aod._njit import F64
from aod.components import PSEUDO_OBSERVATIONS
from aod.history import History
from aod.replay import Machines, Workload
from aod.stats import sum_by
from aod.theta import ThetaFit
from rtscore.tasks import DEFAULT_SLA_MULTIPLIER, DEFAULT_TAU, MAX_AMOUNT, TASK_TYPES

Totals = Mapping[str, tuple[float, float, float, float]]
"""Per worker id its cores, GiB, devices and GiB of storage."""

_LONGEST_S = 1e9


def totals_seen(history: History) -> dict[str, tuple[float, float, float, float]]:
    """What each worker of a usable history has at least: the most that was available or used there at once.

    Storage is not recorded; every worker is taken to have enough. A worker without a name is none.
    """
    n = len(history.worker_ids)
    most = np.zeros((n, 3))
    for k, name in enumerate(("cpu", "memory", "gpu")):
        used, available = getattr(history, f"{name}_used"), getattr(history, f"{name}_available")
        known = (available >= used) & (available <= MAX_AMOUNT)
        np.maximum.at(most[:, k], history.worker, np.clip(np.where(known, available, used), 0.0, MAX_AMOUNT))
    ran = np.bincount(history.worker, minlength=n) > 0
    return {
        history.worker_ids[j]: (*map(float, most[j]), MAX_AMOUNT)  # type: ignore[misc]
        for j in np.flatnonzero(ran)
        if history.worker_ids[j]
    }


def machines_of(workers: Totals, fit: ThetaFit) -> Machines:
    """The workers as the regression knows them, in order of id; one that it does not know is average."""
    ids = tuple(sorted(workers))
    code = {name: j for j, name in enumerate(fit.worker_ids)}
    slowdown_tw = np.ones((len(TASK_TYPES), len(ids)))
    for j, name in enumerate(ids):
        if name in code:
            slowdown_tw[:, j] = fit.slowdown_tw[:, code[name]]
    theta = fit.theta
    return Machines(
        ids,
        np.array([workers[name] for name in ids], np.float64).reshape(len(ids), 4),
        slowdown_tw,
        np.array([theta.theta1, theta.theta2, theta.theta3, theta.theta4]),
    )


def workload_of(history: History, fit: ThetaFit) -> Workload:
    """The tasks of a usable history with transportable runtimes, in order of arrival.

    A run that failed says nothing of how long its work takes: its base is its type's mean. Where the state of
    the worker at placement is not known the mean of those known stands for it.
    """
    part = history.take(np.argsort(history.arrival, kind="stable"))
    code = {name: j for j, name in enumerate(fit.worker_ids)}
    worker = np.array([code.get(name, -1) for name in part.worker_ids], np.int64)[part.worker]
    slowdown = (
        np.where(worker >= 0, fit.slowdown_tw[part.type, worker], 1.0) if len(code) else np.ones(len(part))
    )
    default_tau = np.array([DEFAULT_TAU[name] for name in TASK_TYPES])[part.type]
    tau = np.where((part.tau > 0.0) & (part.tau <= _LONGEST_S), part.tau, default_tau)
    modelled = fit.scale_t[part.type] * tau
    base_s = np.where(part.succeeded, part.actual_runtime_s / (slowdown * stretch_of(part, fit)), modelled)
    k = part.sla_multiplier
    return Workload(
        task_ids=tuple(part.task_ids[i] for i in part.task),
        arrival=part.arrival,
        type=part.type,
        cpu=part.cpu_used,
        memory=part.memory_used,
        gpu=part.gpu_used,
        storage=part.storage_used,
        tau=tau,
        deadline=part.deadline,
        base_s=base_s,
        sla_multiplier=np.where(k > 0.0, k, DEFAULT_SLA_MULTIPLIER),
    )


def failure_w(history: History, worker_ids: tuple[str, ...]) -> F64:
    """Share of runs that fail on each worker, shrunk toward that of all with 5 pseudo-observations."""
    n = len(history.worker_ids)
    failed = sum_by(history.worker, (~history.succeeded).astype(np.float64), n)
    ran = np.bincount(history.worker, minlength=n)
    overall = float(failed.sum() / max(ran.sum(), 1))
    share = (failed + PSEUDO_OBSERVATIONS * overall) / (ran + PSEUDO_OBSERVATIONS)
    known = dict(zip(history.worker_ids, share.tolist(), strict=True))
    return np.array([known.get(name, overall) for name in worker_ids], np.float64)


def stretch_of(part: History, fit: ThetaFit) -> F64:
    """1 + θ·x of each run as it was placed."""
    theta = fit.theta
    stretch = 1.0 + theta.theta4 * part.load_at_start
    for weight, name in ((theta.theta1, "cpu"), (theta.theta2, "memory"), (theta.theta3, "gpu")):
        used, available = getattr(part, f"{name}_used"), getattr(part, f"{name}_available")
        ratio = used / np.where(available > 0.0, available, 1.0)
        stretch = stretch + weight * np.where(used <= available, ratio, np.nan)
    known = np.isfinite(stretch) & (stretch >= 1.0)
    return np.where(known, stretch, float(stretch[known].mean()) if known.any() else 1.0)
