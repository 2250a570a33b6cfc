"""The kernel gives the reference's decision to the last bit, on whatever cluster."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import pytest
from cluster_makers import assert_as_reference, random_cluster, random_params, random_task
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rtscore import RTSScheduler, Task
from rtscore._kernel.selector import simd, simd_available

KINDS = ("idle", "busy", "tied", "equal", "degenerate")
# 1,000,000 for the long run; the default keeps the suite quick.
CASES = int(os.environ.get("RTS_EXACT_CASES", "6000"))


@pytest.fixture(params=simd_available())
def instruction_set(request: pytest.FixtureRequest) -> Iterator[str]:
    before = simd()
    simd(request.param)
    yield request.param
    simd(before)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), n=st.integers(1, 400), kind=st.sampled_from(KINDS))
def test_every_decision_is_the_references(instruction_set: str, seed: int, n: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    table, params = random_cluster(rng, n, kind)
    scheduler = RTSScheduler(table, params)
    for _ in range(8):
        task = random_task(rng, kind=kind)
        now = None if rng.random() < 0.5 else task.deadline + float(rng.choice([-30.0, 0.0, 4.0, 100.0]))
        assert_as_reference(scheduler, task, now)


# 56 and 64 are a full leaf as built and as split, 96 leaves are where groups begin, 32 leaves a group.
@pytest.mark.parametrize("n", [1, 55, 56, 57, 63, 64, 65, 1791, 1793, 5375, 5377, 7169, 20_000])
@pytest.mark.parametrize("kind", KINDS)
def test_sizes_at_the_borders_of_leaves_and_groups_are_exact(n: int, kind: str) -> None:
    rng = np.random.default_rng(n)
    table, params = random_cluster(rng, n, kind)
    scheduler = RTSScheduler(table, params)
    for _ in range(6):
        assert_as_reference(scheduler, random_task(rng, kind=kind))


def test_a_long_run_of_random_cases_is_exact() -> None:
    seed = int(os.environ.get("RTS_SEED", "20240229"))
    print(f"seed {seed}, {CASES} cases")
    rng = np.random.default_rng(seed)
    done = 0
    while done < CASES:
        kind = KINDS[int(rng.integers(len(KINDS)))]
        n = int(np.exp(rng.uniform(0, np.log(3000))))
        table, params = random_cluster(rng, n, kind)
        scheduler = RTSScheduler(table, params)
        for _ in range(min(200, CASES - done)):
            task = random_task(rng, kind=kind)
            assert_as_reference(scheduler, task)
            placed = scheduler.select_worker(task)
            if placed.worker_id is not None and rng.random() < 0.5:
                table.reserve(placed.worker_id, task)
            if rng.random() < 0.02:
                scheduler.params = random_params(rng, n, kind)
            done += 1


def test_all_instruction_sets_give_the_same_bits() -> None:
    before = simd()
    rng = np.random.default_rng(7)
    try:
        for kind in KINDS:
            table, params = random_cluster(rng, 3000, kind)
            tasks = [random_task(rng, f"t{i}", kind) for i in range(50)]
            answers = []
            for name in simd_available():
                assert simd(name) == name
                answers.append(RTSScheduler(table, params).select_many(tasks, reserve=False))
            assert all(answer == answers[0] for answer in answers)
    finally:
        simd(before)


def test_an_instruction_set_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'mmx'.*baseline"):
        simd("mmx")


def test_equal_risks_choose_the_lowest_slot_in_a_cluster_larger_than_a_group() -> None:
    rng = np.random.default_rng(3)
    table, params = random_cluster(rng, 9000, "equal")
    for i in range(9000):
        table.set_schedulable(f"w{i}", i >= 4567)
    assert RTSScheduler(table, params).select_worker(Task("t", cpu=1)).slot == 4567
