"""Builders for clusters, tasks and the comparison with the reference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rtscore import (
    TASK_TYPES,
    GAParams,
    Risk,
    RTSScheduler,
    Source,
    Task,
    Theta,
    WorkerTable,
    reference,
)


def workers(
    cpu: Sequence[float],
    memory: Sequence[float] | None = None,
    gpu: Sequence[float] | None = None,
    storage: Sequence[float] | None = None,
    load: Sequence[float] | None = None,
) -> WorkerTable:
    """A table with one worker per element, called w0, w1, …; memory is plenty unless given."""
    table = WorkerTable()
    for i, cores in enumerate(cpu):
        table.add(
            f"w{i}",
            cpu=cores,
            memory=memory[i] if memory else 1024.0,
            gpu=gpu[i] if gpu else 0.0,
            storage=storage[i] if storage else 1024.0,
        )
        if load:
            table.set_load(f"w{i}", load[i])
    return table


def random_cluster(rng: np.random.Generator, n: int, kind: str) -> tuple[WorkerTable, GAParams]:
    """A table of n workers and parameters for it.

    Kinds: idle, busy (nine of ten have little left), tied (few distinct values), equal (all the same),
    degenerate (zeros everywhere, huge penalties and weights whose products overflow).
    """
    table = WorkerTable()
    few = kind in ("tied", "equal", "degenerate")
    for i in range(n):
        j = 0 if kind == "equal" else i
        if kind == "degenerate":
            cpu, memory, gpu = (float(rng.choice([0.0, 0.0, 1.0, 4.0])) for _ in range(3))
        elif few:
            cpu, memory, gpu = 8.0 * (1 + j % 2), 32.0, float(j % 3 == 0)
        else:
            cpu = float(rng.choice([2, 4, 8, 16, 32, 64, 96])) - float(rng.random() < 0.2) * 0.37
            memory = cpu * float(rng.choice([1, 2, 4, 8]))
            gpu = float(rng.choice([0, 0, 0, 1, 2, 4, 8]))
        table.add(f"w{i}", cpu=cpu, memory=memory, gpu=gpu, storage=float(rng.choice([0, 50, 500])))
    if kind != "equal":
        loads = rng.choice([0.0, 0.25, 0.5], n) if few else rng.random(n) * 1.5
        table.set_loads(np.arange(n), loads)
    if kind == "busy":
        for i in np.flatnonzero(rng.random(n) < 0.9):
            view = table.view(f"w{i}")
            share = float(rng.choice([0.9, 1.0]))
            table.reserve(f"w{i}", Task("fill", cpu=view.cpu_avail * share, memory=view.memory_avail * share))
    for i in np.flatnonzero(rng.random(n) < 0.05):
        table.set_schedulable(f"w{i}", False)
    return table, random_params(rng, n, kind)


def random_params(rng: np.random.Generator, n: int, kind: str) -> GAParams:
    """Parameters for workers w0 … w(n+2); sometimes default, sometimes with zeros, sometimes overflowing."""
    if rng.random() < 0.25:
        return GAParams.default()
    huge = kind == "degenerate" and rng.random() < 0.5
    theta = Theta(*(float(x) for x in rng.choice([0.0, 0.1, 0.5, 2.0], 4)))
    alpha = float(rng.choice([0.0, 1.0, 10.0, 1e308 if huge else 3.0]))
    beta = float(rng.choice([0.0, 1.0, 7.0, 1e308 if huge else 0.5]))
    coarse = kind in ("tied", "degenerate")

    def affinity() -> float:
        return float(rng.integers(-2, 3)) if coarse else float(np.clip(rng.normal(), -5, 5))

    def penalty() -> float:
        if huge and rng.random() < 0.3:
            return 1.7e308
        return float(rng.integers(0, 3)) if coarse else float(rng.random() * 2)

    known = float(rng.choice([0.01, 0.8]))  # share of workers with a history
    rows = [] if kind == "equal" else [c for c in TASK_TYPES if rng.random() < 0.7]
    return GAParams(
        theta=theta,
        risk=Risk(alpha, beta),
        affinity={c: {f"w{i}": affinity() for i in range(n + 2) if rng.random() < known} for c in rows},
        penalty={f"w{i}": penalty() for i in range(n + 2)} if rng.random() < 0.7 and kind != "equal" else {},
    )


def random_task(rng: np.random.Generator, name: str = "t", kind: str = "idle") -> Task:
    """A task that is early, late, hopeless, or (degenerate) has a runtime near the largest float."""
    kinds = [0.0, 0.0, 0.5, 1.0, 3.0, 8.0, 60.0]
    tau = float(rng.choice([1e-300, 1.0, 15.0, 1e307, 1.7e308])) if kind == "degenerate" else None
    origin = float(rng.choice([0.0, 1.7e9]))
    return Task(
        name,
        cpu=float(rng.choice(kinds)),
        memory=float(rng.choice(kinds)),
        gpu=float(rng.choice([0.0, 0.0, 0.0, 0.5, 2.0])),
        storage=float(rng.choice([0.0, 1.0, 60.0])),
        task_type=str(rng.choice(list(TASK_TYPES))),
        tau=tau,
        arrival_time=origin,
        deadline=origin + float(rng.choice([-1e6, -3.0, 5.0, 15.0, 20.0, 31.0, 1e6])),
    )


def assert_as_reference(scheduler: RTSScheduler, task: Task, now: float | None = None) -> None:
    """The kernel's decision is the reference's, to the last bit; so is the reason when there is none."""
    columns = reference.columns_of(scheduler.table, scheduler.params, task.task_type)
    slot, risk = reference.select(task, columns, scheduler.params, now)
    decision = scheduler.select_worker(task, now)
    if slot >= 0:
        assert (decision.source, decision.slot, decision.risk) == (Source.RTS, slot, risk)
        assert decision.worker_id == scheduler.table.id(slot)
    elif reference.terms(task, columns, scheduler.params, now).feasible.any():
        assert decision.source == Source.ROUND_ROBIN
    else:
        assert decision.source == Source.NONE
