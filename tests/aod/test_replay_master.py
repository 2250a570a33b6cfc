"""The replay against the master's core: the same tasks go to the same places at the same times."""

from __future__ import annotations

import heapq
import itertools
from typing import Any

import numpy as np
import pytest

from aod.replay import Machines, Replay, Replayer, Workload
from aod.workloads import Pattern, make_machines, make_workload
from master.cluster import Cluster
from master.events import AttemptFinished, AttemptId, InsertAttempt, Place, RegisterWorker, Submit
from master.records import Submission, WorkerRecord
from rtscore import DEFAULT_TAU, TASK_TYPES, GAParams, RTSScheduler, WorkerTable


class FixedTau:
    """τ that does not learn, as in the replay."""

    def get_tau(self, task_type: str) -> float:
        return DEFAULT_TAU[task_type]

    def update_tau(self, task_type: str, runtime_s: float) -> None:
        pass

    def set_tau(self, task_type: str, tau: float) -> None:
        pass


def by_the_master(machines: Machines, load: Workload, params: GAParams) -> tuple[Any, Any]:
    """Worker and start of each task: arrivals and finishes as events, one pass at each instant."""
    table = WorkerTable()
    cluster = Cluster(table, RTSScheduler(table, params), FixedTau())
    index = {name: i for i, name in enumerate(load.task_ids)}
    slot = {name: j for j, name in enumerate(machines.worker_ids)}
    cluster_now = float(load.arrival[0])
    for name, (cpu, memory, gpu, storage) in zip(machines.worker_ids, machines.totals.tolist(), strict=True):
        record = WorkerRecord(
            name, cpu=cpu, memory=memory, gpu=gpu, storage=storage, registered_at=cluster_now
        )
        cluster.handle(RegisterWorker(record), cluster_now)
    worker = np.full(len(load), -1)
    start = np.full(len(load), np.nan)
    ends: list[tuple[float, int]] = []
    p = 0
    while p < len(load) or ends:
        now = min(load.arrival[p] if p < len(load) else np.inf, ends[0][0] if ends else np.inf)
        while ends and ends[0][0] <= now:
            i = heapq.heappop(ends)[1]
            done = AttemptFinished(
                machines.worker_ids[worker[i]],
                AttemptId(load.task_ids[i], 1),
                True,
                started_at=start[i],
                finished_at=now,
                runtime_s=now - start[i],
            )
            cluster.handle(done, now)
        while p < len(load) and load.arrival[p] <= now:
            submission = Submission(
                load.task_ids[p],
                command="x",
                cpu=load.cpu[p],
                memory=load.memory[p],
                gpu=load.gpu[p],
                storage=load.storage[p],
                task_type=str(TASK_TYPES[load.type[p]]),
                deadline=load.deadline[p],
            )
            cluster.handle(Submit(submission), now)
            p += 1
        for effect in cluster.handle(Place(), now):
            if isinstance(effect, InsertAttempt):
                placed = effect.record
                i, j = index[placed.task_id], slot[placed.worker_id]
                available = (placed.cpu_avail, placed.memory_avail, placed.gpu_avail)
                asked = (load.cpu[i], load.memory[i], load.gpu[i])
                stretch = 1.0 + sum(
                    t * (a / (b if b > 0.0 else 1.0))
                    for t, a, b in zip(machines.theta, asked, available, strict=False)
                )
                stretch += machines.theta[3] * placed.load_at_start
                worker[i], start[i] = j, now
                heapq.heappush(
                    ends, (now + load.base_s[i] * machines.slowdown_tw[load.type[i], j] * stretch, i)
                )
    return worker, start


def same(replay: Replay, worker: Any, start: Any) -> bool:
    return bool((replay.worker == worker).all()) and np.allclose(replay.start, start, equal_nan=True)


def learned(machines: Machines) -> GAParams:
    rng = np.random.default_rng(5)
    return GAParams(
        affinity={
            str(name): dict(zip(machines.worker_ids, rng.normal(0, 1, len(machines)).tolist(), strict=True))
            for name in TASK_TYPES
        },
        penalty=dict(zip(machines.worker_ids, rng.gamma(1.5, 0.3, len(machines)).tolist(), strict=True)),
    )


CASES = list(itertools.product((0.6, 1.5, 3.0), Pattern, (2.0, 6.0)))


@pytest.mark.parametrize(("offered", "pattern", "multiplier"), CASES)
def test_the_replay_places_as_the_master_does(offered: float, pattern: Pattern, multiplier: float) -> None:
    machines = make_machines(10, 3)
    load = make_workload(600, machines, offered, 4, pattern=pattern, sla_multiplier=multiplier, start=1e9)
    params = learned(machines)
    replay = Replayer(machines, load).run(params=params)
    worker, start = by_the_master(machines, load, params)
    assert same(replay, worker, start), np.flatnonzero(replay.worker != worker)[:5]


@pytest.mark.parametrize("seed", range(12))
def test_the_replay_places_as_the_master_does_on_random_clusters(seed: int) -> None:
    rng = np.random.default_rng(seed)
    # Above 128 workers a reservation looks at some of them in turn.
    machines = make_machines(int(rng.choice([1, 4, 20, 140])), seed)
    offered, multiplier = float(rng.choice([0.7, 1.5, 6.0])), float(rng.choice([1.2, 2.0, 12.0]))
    load = make_workload(
        1200, machines, offered, seed, pattern=list(Pattern)[seed % 4], sla_multiplier=multiplier, start=1e9
    )
    params = learned(machines)
    assert same(Replayer(machines, load).run(params=params), *by_the_master(machines, load, params))


def test_who_was_passed_over_comes_before_later_ones_when_a_reserved_worker_comes_free_in_a_pass() -> None:
    machines = Machines(
        ("left", "right"),
        np.array([[4.0, 16.0, 0.0, 1.0], [8.0, 16.0, 0.0, 1.0]]),
        np.ones((6, 2)),
        np.zeros(4),
    )
    # At 57 `large` has starved and gets the right worker, which will soon have memory. At 70 the left one
    # comes free: `first` takes it and leaves too few cores for `second`, but room for `large`. So the right
    # one is everyone's again, with three cores free: `third` asks before `second` does, and must not have it.
    rows = [
        ("on-left", 20.0, 4.0, 16.0, "gpu-training", 50.0, 500.0),
        ("on-right", 25.0, 5.0, 8.0, "memory-heavy", 1000.0, 500.0),
        ("large", 26.0, 1.0, 16.0, "cpu-light", 100.0, 700.0),
        ("event", 57.0, 0.5, 0.0, "cpu-light", 0.5, 500.0),
        ("first", 60.0, 2.0, 0.0, "cpu-light", 100.0, 500.0),
        ("second", 61.0, 3.0, 0.0, "cpu-light", 100.0, 600.0),
        ("third", 62.0, 3.0, 0.0, "cpu-light", 100.0, 800.0),
    ]
    n = len(rows)
    names, arrival, cpu, memory, types, base_s, deadline = zip(*rows, strict=True)
    load = Workload(
        names,
        arrival=np.array(arrival),
        type=np.array([list(TASK_TYPES).index(name) for name in types], np.int8),
        cpu=np.array(cpu),
        memory=np.array(memory),
        gpu=np.zeros(n),
        storage=np.zeros(n),
        tau=np.array([DEFAULT_TAU[name] for name in types]),
        deadline=np.array(deadline),
        base_s=np.array(base_s),
        sla_multiplier=np.full(n, 2.0),
    )
    replay = Replayer(machines, load).run()
    course = {name: (int(j), at) for name, j, at in zip(names, replay.worker, replay.start, strict=True)}
    assert {name: course[name] for name in ("first", "large", "second")} == {
        "first": (0, 70.0),
        "large": (0, 70.0),
        "second": (1, 70.0),
    }
    assert course["third"][1] > 70.0
    assert same(replay, *by_the_master(machines, load, GAParams.default()))
