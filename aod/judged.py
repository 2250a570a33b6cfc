"""The part of a replay that is judged: the tasks before it only fill the cluster."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from aod._njit import F64
from aod.history import History
from aod.replay import Machines, Replay
from aod.stats import worker_stats


def judged(replay: Replay, since: int) -> Replay:
    """The part of a replay from the task `since` on, in the window of its own arrivals; decisions are all."""
    if not since:
        return replay
    tasks = replay.workload.take(slice(since, None))
    window = (float(tasks.arrival[0]), float(tasks.arrival[-1]))
    columns = {name: getattr(replay, name)[since:] for name in ("worker", "start", "finish", "found")}
    busy_s = overload_s(replay.machines, replay.history(), window)
    return replace(replay, workload=tasks, window=window, overload_s=busy_s, **columns)


def overload_s(machines: Machines, history: History, window: tuple[float, float]) -> F64:
    """Seconds within a window in which each machine was overloaded, shape (workers,)."""
    totals = dict(zip(machines.worker_ids, map(tuple, machines.totals[:, :3].tolist()), strict=True))
    stats = worker_stats(history, window=window, totals=totals)
    of = dict(zip(stats.worker_ids, stats.overload_time_s.tolist(), strict=True))
    return np.array([of.get(name, 0.0) for name in machines.worker_ids], np.float64)
