"""Seeded clusters and tasks on which decisions are checked and timed.

The kinds, all with heterogeneous workers and learned parameters unless said otherwise:

========== =================================================================================================
idle       most workers could take a task, and would finish it in time
busy       nine workers in ten are full of cpu or of memory
late       the idle cluster, and every task would miss its deadline everywhere
no-fit     the busy cluster, and every task asks for more of one resource than any worker has
identical  the first minute of a fresh cluster: equal empty workers, nothing learned, every risk equal
fragmented no worker fits, but each has plenty of something: no summary of several workers can tell
========== =================================================================================================

The first four are the clusters that the figures are promised for; the last two are the worst cases known for
an index over groups of workers, and are measured beside them.

Everything is a function of (size, seed): the same numbers in every process. Append new draws at the end of a
function, or the figures of older commits describe other clusters.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtscore import DEFAULT_TAU, TASK_TYPES, GAParams, RTSScheduler, Task, WorkerTable
from rtscore.params import AFFINITY_BOUND

PROMISED = ("idle", "busy", "late", "no-fit")
WORST = ("identical", "fragmented")
KINDS = PROMISED + WORST
PLACEABLE = ("idle", "busy", "late", "identical")  # where something fits

# cpu cores, memory GiB, gpu devices, storage GiB; and how common each machine is
SHAPES = np.array(
    [
        [8, 32, 0, 250],
        [16, 64, 0, 500],
        [32, 128, 0, 1000],
        [64, 256, 0, 2000],
        [32, 256, 0, 1000],
        [32, 192, 2, 1000],
        [64, 512, 4, 2000],
        [96, 768, 8, 4000],
    ],
    dtype=np.float64,
)
SHARES = np.array([0.18, 0.25, 0.20, 0.12, 0.10, 0.06, 0.05, 0.04])
SHAPES_LIST: list[list[float]] = SHAPES.tolist()
IDENTICAL = SHAPES_LIST[6]

# type: share of the tasks, then (low, high) of cpu, memory, gpu, storage
REQUESTS: dict[str, tuple[float, tuple[tuple[float, float], ...]]] = {
    "cpu-light": (0.35, ((0.25, 2.0), (0.5, 4.0), (0.0, 0.0), (0.0, 10.0))),
    "cpu-heavy": (0.20, ((4.0, 8.0), (1.0, 8.0), (0.0, 0.0), (0.0, 20.0))),
    "memory-heavy": (0.15, ((1.0, 4.0), (8.0, 24.0), (0.0, 0.0), (0.0, 50.0))),
    "gpu-inference": (0.12, ((1.0, 4.0), (2.0, 8.0), (0.25, 1.0), (0.0, 20.0))),
    "gpu-training": (0.08, ((4.0, 8.0), (16.0, 32.0), (1.0, 2.0), (10.0, 100.0))),
    "mixed": (0.10, ((0.5, 4.0), (1.0, 8.0), (0.0, 0.0), (0.0, 50.0))),
}
NOON = 1_760_000_000.0  # Unix seconds: deadlines must keep their precision at real times
SHARE_SAMPLE = 50  # tasks that the infeasible share is taken over
EIGHTHS_FREE = 4  # a worker that is not full has given away 0 to 3 eighths of each resource


@dataclass(frozen=True, slots=True)
class Cluster:
    """A table, a scheduler on it and the tasks to decide there.

    Attributes
    ----------
    affinity_tw : array, shape (6, workers)
        The learned score of each type on each slot, as the scheduler has it.
    penalty : array, shape (workers,)
    infeasible : float
        Share of (task, worker) pairs that do not fit, over the first tasks.
    """

    kind: str
    table: WorkerTable
    scheduler: RTSScheduler
    affinity_tw: NDArray[np.float64]
    penalty: NDArray[np.float64]
    tasks: list[Task]
    infeasible: float


def make_clusters(kinds: tuple[str, ...], size: int, tasks: int, seed: int) -> Iterator[Cluster]:
    """The clusters of these kinds at one size, one after the other.

    Kinds that differ only in their tasks share the table, and all share the parameters, because a million
    workers take seconds to make. So leave a cluster as it was when asking for the next.
    """
    affinity_tw, penalty = learned_scores(size, seed)
    params = params_of(affinity_tw, penalty)
    fills = [{"late": "idle", "no-fit": "busy"}.get(kind, kind) for kind in kinds]
    for fill in dict.fromkeys(fills):
        table = make_table(fill, size, seed)
        learned = fill != "identical"
        scheduler = RTSScheduler(table, params=params if learned else GAParams.default())
        scores = (affinity_tw, penalty) if learned else (np.zeros_like(affinity_tw), np.zeros_like(penalty))
        for kind in (kind for kind, of in zip(kinds, fills, strict=True) if of == fill):
            chosen = make_tasks(kind, tasks, seed)
            yield Cluster(
                kind, table, scheduler, *scores, chosen, infeasible_share(table, chosen[:SHARE_SAMPLE])
            )


def make_cluster(kind: str, size: int, tasks: int, seed: int) -> Cluster:
    """One cluster of its own."""
    return next(make_clusters((kind,), size, tasks, seed))


def worker_ids(size: int) -> list[str]:
    """The ids of a cluster, in slot order."""
    return [f"worker-{i:07d}" for i in range(size)]


def learned_scores(size: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Affinity (type × slot) and penalty (slot) of a cluster with a history of every pair."""
    rng = np.random.default_rng([seed, size, 1])
    return (
        rng.normal(0.0, 0.6, (len(TASK_TYPES), size)).clip(-AFFINITY_BOUND, AFFINITY_BOUND),
        rng.gamma(1.5, 0.3, size),
    )


def params_of(affinity_tw: NDArray[np.float64], penalty: NDArray[np.float64]) -> GAParams:
    """Parameters that give these scores to `worker_ids`."""
    ids = worker_ids(len(penalty))
    return GAParams(
        affinity={
            task_type: dict(zip(ids, row, strict=True))
            for task_type, row in zip(TASK_TYPES, affinity_tw.tolist(), strict=True)
        },
        penalty=dict(zip(ids, penalty.tolist(), strict=True)),
    )


def make_tasks(kind: str, count: int, seed: int) -> list[Task]:
    """Tasks of the six types in a realistic mix; too late or too large where the kind says so."""
    rng = np.random.default_rng([seed, count, 2])
    names = list(REQUESTS)
    chosen = rng.choice(len(names), size=count, p=[REQUESTS[name][0] for name in names])
    unit = rng.random((count, 4))
    spread = rng.random(count)
    which = rng.integers(0, 4, count)
    most = SHAPES.max(axis=0)
    made = []
    for i in range(count):
        task_type = names[chosen[i]]
        bounds = np.array(REQUESTS[task_type][1])
        amounts = bounds[:, 0] + unit[i] * (bounds[:, 1] - bounds[:, 0])
        if kind == "no-fit":
            amounts[which[i]] = most[which[i]] * (1.0 + spread[i]) + 1.0
        arrival = NOON + 0.01 * i
        # Late: from half of tau after the decision to as much before it, so even an idle worker misses it.
        offset = DEFAULT_TAU[task_type] * (spread[i] - 0.5 if kind == "late" else 2.0)
        cpu, memory, gpu, storage = amounts.tolist()
        made.append(
            Task(
                f"task-{i:06d}",
                cpu=cpu,
                memory=memory,
                gpu=gpu,
                storage=storage,
                task_type=task_type,
                arrival_time=arrival,
                deadline=arrival + offset,
            )
        )
    return made


def infeasible_share(table: WorkerTable, tasks: list[Task]) -> float:
    """The share of (task, worker) pairs in which the worker is short of something."""
    columns = table.columns()
    short = 0
    for task in tasks:
        fits = table.schedulable()
        for name in ("cpu", "memory", "gpu", "storage"):
            fits &= columns[f"{name}_avail"] >= getattr(task, name)
        short += len(fits) - int(np.count_nonzero(fits))
    return short / (len(tasks) * len(table))


def make_table(fill: str, size: int, seed: int) -> WorkerTable:
    """Workers with what they have promised reserved on them, and the load that they report."""
    rng = np.random.default_rng([seed, size, 3])
    shapes = rng.choice(len(SHAPES), size=size, p=SHARES)
    taken = rng.integers(0, EIGHTHS_FREE, (size, 4))
    loads = rng.random(size) * 0.3
    busy = rng.random(size) < 0.9
    short_of = rng.integers(0, 2, size)
    table = WorkerTable()
    ids = worker_ids(size)
    if fill == "identical":
        cpu, memory, gpu, storage = IDENTICAL
        for worker in ids:
            table.add(worker, cpu=cpu, memory=memory, gpu=gpu, storage=storage)
        return table
    if fill == "fragmented":
        busy[:] = True
        taken[:] = 0
    full = np.flatnonzero(busy) if fill in ("busy", "fragmented") else np.empty(0, dtype=np.intp)
    taken[full, short_of[full]] = 8
    promises = _promises()
    for worker, shape, eighths in zip(ids, shapes.tolist(), taken.tolist(), strict=True):
        cpu, memory, gpu, storage = SHAPES_LIST[shape]
        table.add(worker, cpu=cpu, memory=memory, gpu=gpu, storage=storage)
        table.reserve(worker, promises[shape, tuple(eighths[:2]), eighths[2]])
    table.set_loads(np.arange(size), np.where(busy & (fill != "idle"), 0.6, 0.0) + loads)
    return table


def _promises() -> dict[tuple[int, tuple[int, int], int], Task]:
    """One task per shape and eighths of cpu, memory and gpu: a million workers share a thousand of them."""
    made = {}
    for shape, (cpu, memory, gpu, storage) in enumerate(SHAPES_LIST):
        for a in (*range(EIGHTHS_FREE), 8):
            for b in (*range(EIGHTHS_FREE), 8):
                for c in range(EIGHTHS_FREE):
                    made[shape, (a, b), c] = Task(
                        f"promise-{shape}-{a}{b}{c}",
                        cpu=cpu * a / 8,
                        memory=memory * b / 8,
                        gpu=gpu * c / 8,
                        storage=storage / 8,
                        arrival_time=NOON,
                    )
    return made
