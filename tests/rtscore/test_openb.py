"""A production trace placed from end to end with every invariant checked."""

from __future__ import annotations

import heapq

import numpy as np
import pytest
from cluster_makers import assert_as_reference

from benchmarks import openb
from rtscore import RTSScheduler, Task

FOLDER = openb.folder()
pytestmark = pytest.mark.skipif(
    FOLDER is None, reason="the openb trace is absent: set RTS_OPENB_DIR to the folder with its two csv files"
)


def test_every_pod_is_placed_or_told_why_and_the_table_ends_as_it_began() -> None:
    assert FOLDER is not None
    table, pods = openb.load_nodes(FOLDER), openb.load_pods(FOLDER)
    assert (len(table), len(pods)) == (1523, 8152)
    scheduler = RTSScheduler(table)
    before = {name: column.copy() for name, column in table.columns().items()}
    running: list[tuple[float, int, str, Task]] = []
    placed = refused = 0
    for number, (task, end) in enumerate(pods):
        while running and running[0][0] <= task.arrival_time:
            _, _, worker, done = heapq.heappop(running)
            table.release(worker, done)
        if number % 40 == 0:
            assert_as_reference(scheduler, task)
        decision = scheduler.select_worker(task)
        if decision.worker_id is None:
            assert "fits" in decision.reason
            refused += 1
            continue
        table.reserve(decision.worker_id, task)
        heapq.heappush(running, (end, number, decision.worker_id, task))
        placed += 1
        assert scheduler.policy.verify()
        if number % 100 == 0:
            table.check()
            columns = table.columns()
            for name in ("cpu", "memory", "gpu"):
                assert np.all(columns[f"{name}_allocated"] <= columns[f"{name}_total"])
    print(f"{placed} placed, {refused} refused, at most {len(running)} at the end")
    assert placed + refused == 8152
    assert placed > 8000
    while running:
        _, _, worker, done = heapq.heappop(running)
        table.release(worker, done)
    table.check()
    for name, column in table.columns().items():
        assert column.tobytes() == before[name].tobytes(), name


def test_a_stuffed_cluster_refuses_without_over_committing() -> None:
    assert FOLDER is not None
    table, pods = openb.load_nodes(FOLDER), openb.load_pods(FOLDER)
    scheduler = RTSScheduler(table)
    # Nothing ends: all pods of the trace at once, three times over.
    tasks = [
        Task(f"{pod.task.id}-{copy}", cpu=pod.task.cpu, memory=pod.task.memory, gpu=pod.task.gpu)
        for copy in range(3)
        for pod in pods
    ]
    decisions = scheduler.select_many(tasks)
    table.check()
    refused = [(t, d) for t, d in zip(tasks, decisions, strict=True) if d.worker_id is None]
    print(f"{len(tasks) - len(refused)} placed, {len(refused)} refused")
    assert 0 < len(refused) < len(tasks)
    for task, _ in refused[:200]:
        assert_as_reference(scheduler, task)
