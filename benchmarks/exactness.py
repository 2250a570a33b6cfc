"""`python -m benchmarks.exactness`: a million random decisions against the reference, bit for bit."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.random import Generator

from rtscore import TASK_TYPES, GAParams, Risk, RTSScheduler, Source, Task, Theta, WorkerTable
from rtscore.reference import columns_of, select, terms

CASES = 1_000_000
TASKS = 200  # decided on each cluster
LARGEST = 1_500  # workers; the reference's time is spent where blocks meet, not in one large cluster


def busy(rng: Generator, table: WorkerTable, size: int) -> GAParams:
    """Nine workers in ten have too little left for most tasks."""
    mixed(rng, table, size)
    for i in np.flatnonzero(rng.random(size) < 0.9).tolist():
        table.resize(f"w{i}", cpu=rng.random() * 0.5)
    return learned(rng, size)


def mixed(rng: Generator, table: WorkerTable, size: int) -> GAParams:
    """Workers of all kinds, some closed, some gone and replaced."""
    cpu, memory, gpu, storage = rng.random((4, size)) * np.array([[64.0], [256.0], [8.0], [1000.0]])
    gpu[rng.random(size) < 0.7] = 0.0
    for i in range(size):
        table.add(f"w{i}", cpu=cpu[i], memory=memory[i], gpu=gpu[i], storage=storage[i])
        table.set_load(f"w{i}", rng.random() * 1.5)
    for i in np.flatnonzero(rng.random(size) < 0.05).tolist():
        table.set_schedulable(f"w{i}", False)
    for i in np.flatnonzero(rng.random(size) < 0.03).tolist():
        table.remove(f"w{i}")
        table.add(f"w{i}", cpu=8, memory=32)
    return learned(rng, size)


def tied(rng: Generator, table: WorkerTable, size: int) -> GAParams:
    """A few kinds of equal workers: most risks are shared by many, and the lowest slot must win."""
    for i in range(size):
        table.add(
            f"w{i}", cpu=rng.choice([4, 8]), memory=rng.choice([8, 32]), gpu=rng.choice([0, 2]), storage=40
        )
        table.set_load(f"w{i}", rng.integers(0, 3) / 4)
    return GAParams(penalty={f"w{i}": float(rng.integers(0, 2)) for i in range(size)})


def degenerate(rng: Generator, table: WorkerTable, size: int) -> GAParams:
    """Zero amounts, absurd loads, weights of nothing and weights that overflow."""
    amounts = np.array([0.0, 2.0**-20, 1.0, 8.0, 2.0**32])
    for i in range(size):
        cpu, memory, gpu, storage = rng.choice(amounts, 4)
        table.add(f"w{i}", cpu=cpu, memory=memory, gpu=gpu, storage=storage)
        table.set_load(f"w{i}", rng.choice([0.0, 1.0, 1e150, 1e300, 1e308]))
    params = learned(rng, size)
    return GAParams(
        theta=Theta(*rng.choice([0.0, 0.1, 2.0], 4)),
        risk=Risk(*rng.choice([0.0, 1.0, 1e300, 1.7e308], 2)),
        affinity=params.affinity,
        penalty={**params.penalty, **{f"w{i}": 1.7e308 for i in np.flatnonzero(rng.random(size) < 0.2)}},
    )


def learned(rng: Generator, size: int) -> GAParams:
    """Affinities of some types and workers, some penalties, random weights."""
    return GAParams(
        theta=Theta(*rng.random(4) * 2.0),
        risk=Risk(rng.choice([0.0, 1.0, 10.0, 100.0]), rng.choice([0.0, 1.0, 3.0])),
        affinity={
            task_type: {f"w{i}": rng.random() * 10.0 - 5.0 for i in np.flatnonzero(rng.random(size) < 0.6)}
            for task_type in TASK_TYPES
            if rng.random() < 0.7
        },
        penalty={f"w{i}": rng.random() * 3.0 for i in np.flatnonzero(rng.random(size) < 0.5)},
    )


KINDS: tuple[Callable[[Generator, WorkerTable, int], GAParams], ...] = (mixed, busy, tied, degenerate)


def random_task(rng: Generator, number: int, kind: str) -> Task:
    """A request of any type, in time, hopeless or in between; degenerate ones ask for nothing or for all."""
    if kind == "degenerate":
        cpu, memory, gpu, storage = rng.choice(
            [0.0, 2.0**-20, 1.0, 8.0, 2.0**32], 4, p=[0.4, 0.2, 0.2, 0.1, 0.1]
        )
        tau = float(rng.choice([1e-300, 1.0, 1e300, 1.7e308]))
        arrival = float(rng.choice([0.0, 1.76e9]))
        deadline = arrival + float(rng.choice([-1e308, -1.0, 0.0, 1.0, 1e308]))
    else:
        cpu, memory, gpu, storage = rng.random(4) * np.array([8.0, 24.0, 2.0, 50.0]) * (rng.random(4) < 0.8)
        gpu *= rng.random() < 0.3
        tau = float(rng.random() * 60.0 + 0.1)
        arrival = 1.76e9 + float(rng.random() * 86_400.0)
        deadline = arrival + tau * float(rng.random() * 3.0 - 0.5)
    return Task(
        f"t{number}",
        cpu=cpu,
        memory=memory,
        gpu=gpu,
        storage=storage,
        task_type=TASK_TYPES[number % len(TASK_TYPES)],
        tau=tau,
        arrival_time=arrival,
        deadline=deadline,
    )


def compare_cluster(rng: Generator, kind: Callable[..., GAParams], wrong: list[str], wanted: int) -> int:
    """Decide random tasks on one random cluster and append what differs; return how many were decided."""
    size = int(np.exp(rng.random() * np.log(LARGEST))) + int(rng.random() < 0.9)
    table = WorkerTable()
    params = kind(rng, table, size)
    scheduler = RTSScheduler(table, params=params)
    columns = {task_type: columns_of(table, params, task_type) for task_type in TASK_TYPES}
    for number in range(wanted):
        task = random_task(rng, number, kind.__name__)
        now = task.arrival_time + float(rng.random() * task.tau) if number % 3 == 0 else None
        decision = scheduler.select_worker(task, now)
        slot, risk = select(task, columns[task.task_type], params, now)
        if slot >= 0:
            right = (decision.source, decision.slot, decision.risk) == (Source.RTS, slot, risk)
        else:
            fits = bool(terms(task, columns[task.task_type], params, now).feasible.any())
            right = decision.source is (Source.ROUND_ROBIN if fits else Source.NONE)
        if not right:
            wrong.append(
                f"{kind.__name__}, {size} workers, {task!r}, now={now}: {decision}, not {slot} {risk!r}"
            )
    return wanted


def run(cases: int, seed: int) -> tuple[int, list[str]]:
    """How many decisions were compared, and what was wrong with those that differ."""
    rng = np.random.default_rng(seed)
    wrong: list[str] = []
    done = 0
    while done < cases:
        for kind in KINDS:
            done += compare_cluster(rng, kind, wrong, min(TASKS, cases - done))
    return done, wrong


def main(argv: Sequence[str] | None = None) -> int:
    """Print the count; 1 when any decision differs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.exactness", description=__doc__)
    parser.add_argument("--cases", type=int, default=CASES, help="decisions (default %(default)s)")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 2**32, help="default: from the clock")
    options = parser.parse_args(argv)
    before = time.perf_counter()
    done, wrong = run(options.cases, options.seed)
    print(
        f"{len(wrong)} of {done:,} random decisions differ from the reference "
        f"(seed {options.seed}, {time.perf_counter() - before:.0f} s)"
    )
    print(*wrong[:10], sep="\n", end="\n" if wrong else "")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
