"""What a placement was chosen from is kept as it was at that moment, and only where something was ranked."""

from __future__ import annotations

import numpy as np
import pytest
from core_world import RankedWorld, World
from hypothesis import given, settings
from hypothesis import strategies as st

from master.decisions import COUNTED, KEPT, Choice, choice
from master.events import Propose
from master.jobs import task_of
from rtscore import GAParams, Risk, RoundRobinScheduler
from rtscore.explain import Explanation


def kept(world: World, task_id: str, number: int = 1) -> Choice:
    """What the store holds of a placement's choice."""
    record = world.store.attempts[task_id, number]
    assert record.decision is not None
    found = choice(record.decision)
    assert found is not None
    return found


def explained(world: World, task_id: str) -> Explanation:
    task = world.cluster.task(task_id)
    assert task is not None
    ranking = world.cluster.explain(task, world.now).ranking
    assert ranking is not None
    return ranking


def random_params(rng: np.random.Generator, n: int) -> GAParams:
    """Affinities and penalties of some workers, few distinct ones."""
    scores = {f"w{i}": float(rng.integers(-2, 3)) for i in range(n) if rng.random() < 0.5}
    return GAParams(
        risk=Risk(float(rng.choice([0.5, 10.0])), float(rng.choice([0.0, 1.0]))),
        affinity={"cpu-light": scores},
        penalty={worker_id: abs(score) for worker_id, score in scores.items()},
    )


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), n=st.integers(1, 20))
def test_a_placement_keeps_the_head_of_the_ranking_of_its_moment(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    world = RankedWorld()
    world.cluster.params_version = 7
    for i in range(n):
        world.worker(f"w{i}", cpu=float(rng.choice([1.0, 4.0, 16.0])), memory=float(rng.choice([1.0, 64.0])))
    world.scheduler.params = random_params(rng, n)
    for i in range(6):
        name = f"t{i}"
        multiplier = float(rng.choice([0.5, 1.01, 4.0]))
        world.submit(name, cpu=float(rng.choice([0.5, 2.0])), memory=0.5, sla_multiplier=multiplier)
        before, fit = explained(world, name), world.scheduler.fit(before_task(world, name))
        placed = dict(world.placed())
        if name not in placed:
            continue
        found, weights = kept(world, name), world.scheduler.params.risk
        assert found.candidates[0].worker_id == placed[name]
        assert [
            (c.worker_id, c.runtime_s, found.lateness_s(c), c.load, c.affinity, c.penalty, c.risk)
            for c in found.candidates
        ] == [
            (r.worker_id, r.runtime_s, r.lateness_s, r.load, r.affinity, r.penalty, r.risk)
            for r in before.ranking(KEPT)
        ]
        assert (found.workers, found.fit, found.fitting) == (n, fit, fit.fitting)
        assert (found.alpha, found.beta, found.params_version) == (weights.alpha, weights.beta, 7)
        assert found.slack_s == before.task.deadline - world.now
        assert found.tau == before.task.tau
        world.now += 1.0


def before_task(world: World, task_id: str) -> object:
    task = world.cluster.task(task_id)
    assert task is not None
    return task_of(task.spec)


def test_an_instant_and_weights_of_numpy_are_kept_as_numbers() -> None:
    world = RankedWorld(now=np.float64(1000.0))
    world.worker("w1")
    world.scheduler.params = GAParams(risk=Risk(np.float64(3.0), np.float64(0.5)))
    world.submit("a")
    world.place()
    found = kept(world, "a")
    assert (found.slack_s, found.alpha, found.beta) == (10.0, 3.0, 0.5)


def test_only_workers_that_could_have_the_task_are_kept() -> None:
    world = RankedWorld()
    world.worker("plain", executors=("process",))
    world.worker("boxes", executors=("process", "container"))
    world.worker("more-boxes", executors=("container",))
    world.submit("a", docker_image="alpine")
    assert world.placed() == [("a", "boxes")]
    assert [c.worker_id for c in kept(world, "a").candidates] == ["boxes", "more-boxes"]


def test_a_worker_that_refused_the_task_is_not_among_those_that_it_was_chosen_from() -> None:
    world = RankedWorld()
    world.worker("w1")
    world.worker("w2")
    world.submit("a")
    assert world.placed() == [("a", "w1")]
    world.refuse("a")
    assert world.placed() == [("a", "w2")]
    assert [c.worker_id for c in kept(world, "a", 2).candidates] == ["w2"]


def test_round_robin_keeps_nothing() -> None:
    class Turns(World):
        policy = RoundRobinScheduler

    world = Turns()
    world.worker("w1")
    world.submit("a")
    assert world.placed() == [("a", "w1")]
    assert world.store.attempts["a", 1].decision is None


def test_a_fallback_keeps_nothing() -> None:
    world = RankedWorld()
    world.worker("w1")
    world.scheduler.params = GAParams(risk=Risk(1.0, 1e308), penalty={"w1": 1.7e308})
    world.scheduler.table.set_load("w1", 1e30)
    world.submit("a")
    assert world.placed() == [("a", "w1")]
    record = world.store.attempts["a", 1]
    assert (record.source, record.decision) == ("round-robin", None)


def test_what_a_planner_proposed_keeps_nothing() -> None:
    world = RankedWorld()
    world.worker("w1")
    world.submit("a")
    version = world.cluster.planner_state(9, world.now).version
    world.do(Propose("a", "w1", version))
    record = world.store.attempts["a", 1]
    assert (record.source, record.decision) == ("planner", None)


@pytest.mark.parametrize(("fitting", "known"), [(KEPT - 1, KEPT - 1), (KEPT, None)])
def test_many_workers_are_not_counted(fitting: int, known: int | None) -> None:
    world = RankedWorld()
    world.check = lambda: None  # type: ignore[method-assign]
    for i in range(COUNTED + 1):
        world.worker(f"w{i}", cpu=8.0 if i < fitting else 1.0)
    world.submit("a", cpu=4.0)
    world.place()
    found = kept(world, "a")
    assert (found.workers, found.fit, found.fitting) == (COUNTED + 1, None, known)
    assert len(found.candidates) == fitting


def test_eight_candidates_take_a_few_hundred_bytes() -> None:
    world = RankedWorld()
    for i in range(20):
        world.worker(f"worker-{i}")
    world.scheduler.params = GAParams(
        affinity={"cpu-light": {f"worker-{i}": 0.1 * i for i in range(20)}},
        penalty={f"worker-{i}": 0.01 * i for i in range(20)},
    )
    world.submit("a")
    world.place()
    assert len(kept(world, "a").candidates) == KEPT
    assert len(world.store.attempts["a", 1].decision or b"") < 600


@pytest.mark.parametrize("bytes_", [b"", b"\xc1", b"\x91\x01", b"not msgpack"])
def test_what_another_version_kept_is_nothing(bytes_: bytes) -> None:
    assert choice(bytes_) is None
