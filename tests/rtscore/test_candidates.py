"""The best few workers are the first rows of the reference's ranking, to the last bit and in its order."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from cluster_makers import random_cluster, random_params, random_task, workers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rtscore import Candidate, RTSScheduler, Source, Task
from rtscore._kernel.selector import simd, simd_available
from rtscore.errors import InvalidTaskError

KINDS = ("idle", "busy", "tied", "equal", "degenerate")


@pytest.fixture(params=simd_available())
def instruction_set(request: pytest.FixtureRequest) -> Iterator[str]:
    before = simd()
    simd(request.param)
    yield request.param
    simd(before)


def assert_as_ranked(scheduler: RTSScheduler, task: Task, now: float | None, limit: int) -> None:
    ranking = scheduler.explain(task, now).ranking(limit)
    wanted = [
        Candidate(r.worker_id, r.runtime_s, r.lateness_s, r.load, r.affinity, r.penalty, r.risk)
        for r in ranking
    ]
    found = scheduler.candidates(task, now, limit)
    assert found == wanted
    decision = scheduler.select_worker(task, now)
    if decision.source is Source.RTS:
        assert (found[0].worker_id, found[0].risk) == (decision.worker_id, decision.risk)
    else:
        assert not found


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32),
    n=st.integers(1, 500),
    kind=st.sampled_from(KINDS),
    limit=st.sampled_from([1, 2, 8, 64, 10_000]),
)
def test_candidates_are_the_head_of_the_references_ranking(
    instruction_set: str, seed: int, n: int, kind: str, limit: int
) -> None:
    rng = np.random.default_rng(seed)
    table, params = random_cluster(rng, n, kind)
    scheduler = RTSScheduler(table, params)
    for _ in range(5):
        task = random_task(rng, kind=kind)
        now = None if rng.random() < 0.5 else task.deadline + float(rng.choice([-30.0, 0.0, 4.0, 100.0]))
        assert_as_ranked(scheduler, task, now, limit)
        if (chosen := scheduler.select_worker(task, now)).worker_id is not None:
            table.reserve(chosen.worker_id, task)
        if rng.random() < 0.2:
            scheduler.params = random_params(rng, n, kind)


# Leaves hold 64 workers, groups begin beyond 96 leaves.
@pytest.mark.parametrize("n", [55, 64, 65, 5377, 7169])
@pytest.mark.parametrize("kind", KINDS)
def test_candidates_are_exact_at_the_borders_of_leaves_and_groups(n: int, kind: str) -> None:
    rng = np.random.default_rng(n)
    table, params = random_cluster(rng, n, kind)
    scheduler = RTSScheduler(table, params)
    for _ in range(4):
        assert_as_ranked(scheduler, random_task(rng, kind=kind), None, 8)


def test_identical_workers_are_ranked_by_slot() -> None:
    table = workers(cpu=[8] * 300)
    table.set_schedulable("w0", False)
    found = RTSScheduler(table).candidates(Task("t", cpu=1), limit=4)
    assert [c.worker_id for c in found] == ["w1", "w2", "w3", "w4"]
    assert len({c.risk for c in found}) == 1


def test_there_are_no_candidates_where_nothing_fits() -> None:
    assert RTSScheduler(workers(cpu=[2, 4])).candidates(Task("t", cpu=8)) == []
    assert RTSScheduler(workers(cpu=[])).candidates(Task("t", cpu=8)) == []


def test_asking_for_candidates_changes_nothing() -> None:
    rng = np.random.default_rng(5)
    table, params = random_cluster(rng, 200, "busy")
    scheduler = RTSScheduler(table, params)
    before = table.version, {name: column.copy() for name, column in table.columns().items()}
    scheduler.candidates(random_task(rng))
    assert table.version == before[0]
    assert all(np.array_equal(table.columns()[name], column) for name, column in before[1].items())


def test_what_cannot_be_asked_is_refused() -> None:
    scheduler = RTSScheduler(workers(cpu=[2]))
    with pytest.raises(ValueError, match="limit is 0; at least 1"):
        scheduler.candidates(Task("t", cpu=1), limit=0)
    with pytest.raises(InvalidTaskError, match="now is nan"):
        scheduler.candidates(Task("t", cpu=1), float("nan"))
    with pytest.raises(TypeError, match="takes a Task, not str"):
        scheduler.candidates("t")  # type: ignore[arg-type]


def test_fit_counts_who_takes_a_task_and_what_the_others_lack() -> None:
    table = workers(cpu=[2, 4, 8, 8, 8], memory=[8, 2, 8, 64, 64], storage=[9, 9, 9, 9, 0])
    table.set_schedulable("w3", False)
    found = RTSScheduler(table).fit(Task("t", cpu=4, memory=4, storage=1))
    assert found == (5, 1, 1, (1, 1, 0, 1))
