"""What each worker did in a window: runs, violations, resource-seconds, and the time it was overloaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aod._njit import F64, I64
from aod.history import History

OVERLOAD_THRESHOLD = 0.9
"""Load above which a worker is overloaded. Promised load never exceeds 1: admission never over-commits."""

# Weights of memory and gpu beside cpu in the load formula: per GiB, per device.
_MEMORY_WEIGHT = 0.1
_GPU_WEIGHT = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class WorkerStats:
    """Sums per worker over the usable attempts of a window; arrays of shape (workers,).

    `total_time_s` is the length of the window, the same for every worker that ran something, and 0 for the
    others.
    """

    worker_ids: tuple[str, ...]
    tasks_run: I64
    sla_violations: I64
    total_runtime_s: F64
    cpu_core_s: F64
    memory_gib_s: F64
    gpu_device_s: F64
    overload_time_s: F64
    total_time_s: F64

    def __len__(self) -> int:
        return len(self.worker_ids)


def worker_stats(
    history: History,
    *,
    window: tuple[float, float] | None = None,
    totals: Mapping[str, tuple[float, float, float]] | None = None,
    load_samples: Mapping[str, tuple[F64, F64]] | None = None,
    overload_threshold: float = OVERLOAD_THRESHOLD,
) -> WorkerStats:
    """The statistics of every worker that the history names.

    Parameters
    ----------
    history : History
        Unusable rows are left out.
    window : (since, until), optional
        Unix seconds; the span of the usable runs when None.
    totals : mapping of worker id to (cpu, memory, gpu), optional
        Cores, GiB, devices. With them the promised load is known at every instant from the runs themselves.
    load_samples : mapping of worker id to (instants, loads), optional
        Reported loads in order of time, each valid until the next; what was reported goes before what can be
        computed from totals.
    overload_threshold : float
        A worker is overloaded while its load is above this. Of a worker without totals and samples only the
        loads at placement are known: it was overloaded while a run was on it that had found it overloaded.
    """
    part = history.take(history.usable().mask)
    n_workers = len(part.worker_ids)
    worker, runtime = part.worker, part.actual_runtime_s

    def total(weights: F64) -> F64:
        return sum_by(worker, weights, n_workers)

    tasks_run = np.bincount(worker, minlength=n_workers)
    since, until = window or _span(part)
    overload = _overload_from_runs(part, since, until, totals or {}, overload_threshold)
    code = {name: j for j, name in enumerate(part.worker_ids)}
    for name, (instants, loads) in (load_samples or {}).items():
        if name in code:
            overload[code[name]] = _overload_from_samples(instants, loads, since, until, overload_threshold)
    return WorkerStats(
        worker_ids=part.worker_ids,
        tasks_run=tasks_run,
        sla_violations=np.bincount(worker[~part.sla_success], minlength=n_workers),
        total_runtime_s=total(runtime),
        cpu_core_s=total(part.cpu_used * runtime),
        memory_gib_s=total(part.memory_used * runtime),
        gpu_device_s=total(part.gpu_used * runtime),
        overload_time_s=overload,
        total_time_s=np.where(tasks_run > 0, until - since, 0.0),
    )


def sum_by(code: NDArray[np.integer[Any]], weights: F64, n_codes: int) -> F64:
    """The sum of the weights of each code from 0 to n_codes - 1, shape (n_codes,)."""
    return np.bincount(code, weights, n_codes).astype(np.float64, copy=False)


def _span(history: History) -> tuple[float, float]:
    if not len(history):
        return 0.0, 0.0
    return float(history.actual_start.min()), float(history.actual_finish.max())


def _overload_from_runs(
    part: History,
    since: float,
    until: float,
    totals: Mapping[str, tuple[float, float, float]],
    threshold: float,
) -> F64:
    """Seconds within the window in which the runs on a worker weigh more than its limit.

    A run on a worker with totals weighs its part of the promised load; on another it weighs 1 if it found the
    worker overloaded and 0 if not, and the limit lies between.
    """
    n_workers = len(part.worker_ids)
    found_overloaded = part.load_at_start > threshold
    weight = found_overloaded.astype(np.float64)
    limit = np.full(n_workers, 0.5)
    for j, name in enumerate(part.worker_ids):
        if name in totals:
            cpu, memory, gpu = totals[name]
            limit[j] = threshold * (cpu + _MEMORY_WEIGHT * memory + _GPU_WEIGHT * gpu)
            mine = part.worker == j
            weight[mine] = (
                part.cpu_used[mine]
                + _MEMORY_WEIGHT * part.memory_used[mine]
                + _GPU_WEIGHT * part.gpu_used[mine]
            )
    instants = np.clip(np.concatenate([part.actual_start, part.actual_finish]), since, until)
    change = np.concatenate([weight, -weight])
    worker = np.concatenate([part.worker, part.worker])
    order = np.lexsort((instants, worker))
    instants, change, worker = instants[order], change[order], worker[order]
    # The sum runs on from worker to worker: what one took it gave back, but for rounding, which the
    # tolerance covers.
    held = np.cumsum(change)
    lasts = np.diff(instants, append=instants[-1:]) * (worker == np.append(worker[1:], -1))
    over = held > limit[worker] * (1.0 + 1e-9) + 1e-9
    return sum_by(worker, np.where(over, lasts, 0.0), n_workers)


def _overload_from_samples(instants: F64, loads: F64, since: float, until: float, threshold: float) -> float:
    edges = np.clip(np.append(np.asarray(instants, np.float64), until), since, until)
    return float(np.maximum(np.diff(edges), 0.0)[np.asarray(loads) > threshold].sum())
