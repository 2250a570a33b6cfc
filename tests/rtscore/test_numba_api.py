"""The C entry points, called from compiled code: same answers, several threads, cached."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numba as nb
import numpy as np
import pytest
from cluster_makers import random_cluster, random_task, workers

from rtscore import TASK_TYPES, GAParams, Risk, RTSScheduler, Task
from rtscore import numba_api as k


@nb.njit(parallel=True, cache=True)
def fill(tables, policies, requests, chosen):  # type: ignore[no-untyped-def]
    """Place every request, in order, on each table: one thread per table."""
    for i in nb.prange(tables.size):
        for j in range(requests.shape[0]):
            r = requests[j]
            slot = k.select(policies[i], r[0], r[1], r[2], r[3], int(r[4]), r[5], r[6])
            chosen[i, j] = slot
            if slot >= 0 and k.reserve(tables[i], slot, r[0], r[1], r[2], r[3]) != 0:
                chosen[i, j] = -100


def test_parallel_cached_code_places_as_select_many_does() -> None:
    rng = np.random.default_rng(21)
    tasks = [random_task(rng, f"t{i}") for i in range(300)]
    requests = np.array(
        [
            (
                t.cpu,
                t.memory,
                t.gpu,
                t.storage,
                TASK_TYPES.index(t.task_type),
                t.tau,
                t.deadline - t.arrival_time,
            )
            for t in tasks
        ]
    )
    made = [random_cluster(np.random.default_rng(seed), 300, "busy") for seed in (1, 2, 3, 4)]
    schedulers = [RTSScheduler(table, params) for table, params in made]
    chosen = np.empty((4, len(tasks)), np.int64)
    fill(
        np.array([s.table.handle for s in schedulers]),
        np.array([s.policy.handle for s in schedulers]),
        requests,
        chosen,
    )
    for seed, row in zip((1, 2, 3, 4), chosen, strict=True):
        table, params = random_cluster(np.random.default_rng(seed), 300, "busy")
        expected = RTSScheduler(table, params).select_many(tasks)
        assert row.tolist() == [-1 if d.slot is None else d.slot for d in expected]
    assert fill.stats.cache_hits or fill.stats.cache_misses
    for scheduler in schedulers:
        scheduler.table.check()


@nb.njit
def everything(table, policy):  # type: ignore[no-untyped-def]
    out = np.empty(24)
    out[0] = k.rows(table)
    out[1] = k.set_load(table, 0, 0.5)
    out[2] = k.load(table, 0)
    out[3] = k.reserve(table, 1, 4.0, 8.0, 0.0, 0.0)
    out[4] = k.available(table, 1, 0)
    out[5] = k.reserve(table, 1, 5.0, 0.0, 0.0, 0.0)
    out[6] = k.release(table, 1, 4.0, 8.0, 0.0, 0.0)
    out[7] = k.release(table, 1, 0.0, 1.0, 0.0, 0.0)
    out[8] = k.set_affinity(policy, 0, 1, 2.0)
    out[9] = k.select(policy, 1.0, 1.0, 0.0, 0.0, 0, 5.0, 100.0)
    out[10] = k.set_penalty(policy, 1, 3.0)
    out[11] = k.select(policy, 1.0, 1.0, 0.0, 0.0, 0, 5.0, 100.0)
    out[12] = k.set_weights(policy, 1.0, 0.0, 0.0, 0.5, 1e308, 0.0)
    out[13] = k.runtime(policy, 0, 2.0, 0.0, 0.0, 10.0)
    out[14] = k.select(policy, 1.0, 1.0, 0.0, 0.0, 0, 5.0, -1e9)
    out[15] = k.next_feasible(table, 1, 1.0, 1.0, 0.0, 0.0)
    out[16] = k.select(policy, 99.0, 0.0, 0.0, 0.0, 0, 5.0, 1.0)
    out[17] = k.set_schedulable(table, 0, 0)
    out[18] = k.next_feasible(table, 0, 1.0, 1.0, 0.0, 0.0)
    out[19] = k.clear(table)
    out[20] = k.load(table, 0)
    out[21] = k.next_feasible(table, 0, 99.0, 0.0, 0.0, 0.0)
    return out


def test_every_entry_point_does_what_its_line_says() -> None:
    table = workers([8, 8], memory=[64, 64])
    scheduler = RTSScheduler(table)
    out = everything(table.handle, scheduler.policy.handle)
    assert out[:22].tolist() == [
        2, 0, 0.5, 0, 4, 1, 0, 2, 0, 1, 0, 0, 0, 10.0 * (1 + 2 / 8 + 0.5 * 0.5), k.NO_FINITE_RISK, 1,
        k.NOTHING_FITS, 0, 1, 0, 0, k.NOTHING_FITS,
    ]  # fmt: skip
    assert scheduler.policy.scores(0, "w1") == (2.0, 3.0)
    table.check()


@nb.njit
def misuse(table, policy, out):  # type: ignore[no-untyped-def]
    nan = np.nan
    out[0] = k.select(policy, -1.0, 0.0, 0.0, 0.0, 0, 5.0, 1.0)
    out[1] = k.select(policy, nan, 0.0, 0.0, 0.0, 0, 5.0, 1.0)
    out[2] = k.select(policy, 1.0, 0.0, 0.0, 0.0, 6, 5.0, 1.0)
    out[3] = k.select(policy, 1.0, 0.0, 0.0, 0.0, 0, 0.0, 1.0)
    out[4] = k.reserve(table, 2, 1.0, 0.0, 0.0, 0.0)
    out[5] = k.reserve(table, -1, 1.0, 0.0, 0.0, 0.0)
    out[6] = k.release(table, 0, nan, 0.0, 0.0, 0.0)
    out[7] = k.set_load(table, 0, nan)
    out[8] = k.set_load(table, 9, 0.1)
    out[9] = k.set_schedulable(table, 9, 1)
    out[10] = k.set_weights(policy, -0.1, 0.0, 0.0, 0.0, 1.0, 1.0)
    out[11] = k.set_affinity(policy, 0, 5, 1.0)
    out[12] = k.set_affinity(policy, -1, 0, 1.0)
    out[13] = k.set_penalty(policy, 0, -1.0)
    out[14] = k.next_feasible(table, -1, 1.0, 0.0, 0.0, 0.0)
    out[15] = k.load(table, 7)
    out[16] = k.available(table, 0, 4)
    out[17] = k.runtime(policy, 7, 1.0, 1.0, 0.0, 5.0)


def test_bad_arguments_are_answered_and_change_nothing() -> None:
    table = workers([8, 8])
    scheduler = RTSScheduler(table)
    out = np.empty(18)
    version = table.version
    misuse(table.handle, scheduler.policy.handle, out)
    assert out[:15].tolist() == [k.BAD_ARGUMENT] * 15
    assert all(math.isnan(x) for x in out[15:])
    assert table.version == version
    table.check()


def test_what_c_released_python_does_not_release_again() -> None:
    table = workers([8])
    task = Task("t", cpu=3)
    table.reserve("w0", task)

    @nb.njit
    def release(handle):  # type: ignore[no-untyped-def]
        return k.release(handle, 0, 3.0, 0.0, 0.0, 0.0)

    assert release(table.handle) == 0
    with pytest.raises(ValueError, match="through the C entry points"):
        table.release("w0", task)
    table.check()


def test_the_policy_that_a_handle_names_outlives_a_swap_of_parameters() -> None:
    table = workers([8, 8])
    scheduler = RTSScheduler(table, GAParams(penalty={"w0": 1.0}))
    policy = scheduler.policy
    scheduler.params = GAParams(risk=Risk(1.0, 1.0))

    @nb.njit
    def choose(handle):  # type: ignore[no-untyped-def]
        return k.select(handle, 1.0, 0.0, 0.0, 0.0, 0, 5.0, 100.0)

    assert choose(policy.handle) == 1
    assert choose(scheduler.policy.handle) == 0


def test_a_second_process_uses_the_cached_code(tmp_path: Path) -> None:
    (tmp_path / "cached.py").write_text(
        textwrap.dedent(
            """
            import numba as nb
            from rtscore import RTSScheduler, WorkerTable, numba_api as k

            @nb.njit(cache=True)
            def choose(policy):
                return k.select(policy, 1.0, 1.0, 0.0, 0.0, 0, 5.0, 10.0)

            table = WorkerTable()
            for i in range(3):
                table.add(f"w{i}", cpu=i, memory=4)
            policy = RTSScheduler(table).policy
            print(choose(policy.handle), sum(choose.stats.cache_hits.values()))
            """
        )
    )
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    run = lambda: subprocess.run(  # noqa: E731
        [sys.executable, "cached.py"],
        cwd=tmp_path,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    assert run() == ["1", "0"]
    assert run() == ["1", "1"]
