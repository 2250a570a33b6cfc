"""Histories of which the truth is known: θ, slow workers, an unreliable worker, noise and stragglers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aod.history import History
from rtscore.tasks import DEFAULT_TAU, TASK_TYPES


@dataclass(frozen=True)
class Planted:
    """A history and what it was made of."""

    history: History
    theta: NDArray[np.float64]
    slowdown_tw: NDArray[np.float64]
    unreliable: int | None


def planted_history(
    n: int,
    n_workers: int,
    seed: int,
    *,
    theta: tuple[float, float, float, float] = (0.6, 0.4, 0.8, 0.5),
    noise: float = 0.1,
    stragglers: float = 0.0,
    unreliable: int | None = None,
    slow_and_busy: bool = False,
) -> Planted:
    """n attempts over all six types, runtime = τ · slowdown · (1 + θ·x) · lognormal noise.

    Parameters
    ----------
    stragglers : float
        Share of runs that take 5 to 20 times as long.
    unreliable : int, optional
        A worker on which half of the runs fail.
    slow_and_busy : bool
        Slow workers carry more load, so that a regression without pair speeds blames the load.
    """
    rng = np.random.default_rng(seed)
    slowdown_tw = np.exp(rng.uniform(-1.0, 1.0, n_workers))[None, :] * np.exp(
        rng.normal(0.0, 0.1, (len(TASK_TYPES), n_workers))
    )
    type_ = rng.integers(0, len(TASK_TYPES), n).astype(np.int8)
    worker = rng.integers(0, n_workers, n).astype(np.int32)
    gpu_task = np.isin(type_, (3, 4))
    available = np.column_stack([rng.uniform(4, 64, n), rng.uniform(8, 256, n), rng.integers(1, 9, n)])
    share = rng.uniform(0.02, 1.0, (n, 3))
    share[~gpu_task, 2] = 0.0
    load = rng.uniform(0.0, 1.0, n)
    if slow_and_busy:
        slowest = slowdown_tw[type_, worker] / slowdown_tw.max()
        load = 0.5 * slowest + rng.uniform(0.0, 0.5, n)
    x = np.column_stack([share, load])
    tau = np.array([DEFAULT_TAU[t] for t in TASK_TYPES])[type_]
    runtime = tau * slowdown_tw[type_, worker] * (1.0 + x @ np.array(theta)) * np.exp(rng.normal(0, noise, n))
    runtime *= np.where(rng.random(n) < stragglers, rng.uniform(5.0, 20.0, n), 1.0)
    succeeded = np.ones(n, np.bool_)
    if unreliable is not None:
        succeeded[(worker == unreliable) & (rng.random(n) < 0.5)] = False
    runtime[~succeeded] = 0.5
    arrival = np.sort(rng.uniform(0.0, 86_400.0, n))
    deadline = arrival + 2.0 * tau
    finish = arrival + runtime
    history = History(
        task_ids=tuple(f"t{i}" for i in range(n)),
        worker_ids=tuple(f"w{j:05d}" for j in range(n_workers)),
        task=np.arange(n, dtype=np.int32),
        worker=worker,
        type=type_,
        arrival=arrival,
        deadline=deadline,
        actual_start=arrival,
        actual_finish=finish,
        actual_runtime_s=runtime,
        sla_success=succeeded & (finish <= deadline),
        cpu_used=share[:, 0] * available[:, 0],
        memory_used=share[:, 1] * available[:, 1],
        gpu_used=share[:, 2] * available[:, 2],
        storage_used=np.zeros(n),
        load_at_start=load,
        tau=tau,
        sla_multiplier=np.full(n, 2.0),
        cpu_available=available[:, 0],
        memory_available=available[:, 1],
        gpu_available=available[:, 2],
        succeeded=succeeded,
    )
    return Planted(history, np.array(theta), slowdown_tw, unreliable)
