"""A plan is what a submission would become, and leaves no trace."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from core_world import RankedWorld, World
from hypothesis import given, settings
from hypothesis import strategies as st

from master.decisions import choice
from master.errors import InvalidRequestError, LimitReachedError
from master.plans import Plan, Verdict
from master.records import Submission
from rtscore import RoundRobinScheduler


class Turns(World):
    """A world that places in turn."""

    policy = RoundRobinScheduler


def plan(world: World, **fields: Any) -> Plan:
    return world.cluster.plan(Submission("planned", **({"cpu": 1.0} | fields)), world.now)


def state(world: World) -> Any:
    """Everything of a cluster that decides what it does next."""
    cluster = world.cluster
    jobs = {
        job.task_id: (job.standing, job.turn, job.seq, job.status, job.avoid, job.retry_at, job.foreseen)
        for job in cluster._book.jobs.values()
    }
    groups = {key: (g.size, g.blocked, g.first()) for key, g in cluster._queue.groups.items()}
    columns = {name: column.tolist() for name, column in world.table.columns().items()}
    rest = (
        *(world.reserved(), cluster.counts(), cluster._seq, cluster._queue.moves, len(cluster._queue.fresh)),
        *(list(cluster._members.grown), cluster._members.version, cluster.workers()),
        world.table.schedulable().tolist(),
    )
    return jobs, groups, columns, rest


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), policy=st.sampled_from([RankedWorld, Turns]))
def test_a_plan_changes_nothing_and_says_where_a_submission_goes(seed: int, policy: type[World]) -> None:
    rng = np.random.default_rng(seed)
    world = policy()
    for i in range(int(rng.integers(0, 6))):
        executors = [("process",), ("container",), ("process", "container"), ()][int(rng.integers(4))]
        world.worker(
            f"w{i}", cpu=float(rng.choice([2.0, 4.0])), gpu=float(rng.choice([0, 1])), executors=executors
        )
    for i in range(12):
        fields: dict[str, Any] = {
            "cpu": float(rng.choice([0.5, 1.0, 3.0, 9.0])),
            "docker_image": "alpine" if rng.random() < 0.3 else "",
        }
        before = state(world)
        planned = plan(world, **fields)
        assert state(world) == before
        world.cluster.check()
        world.submit(f"t{i}", **fields)
        placed = dict(world.placed())
        if planned.attempt is None:
            assert f"t{i}" not in placed
            assert planned.waiting is not None
            assert planned.waiting.why == world.why(f"t{i}")
        else:
            record = world.store.attempts[f"t{i}", 1]
            assert placed == {f"t{i}": planned.attempt.worker_id}
            assert (record.source, record.risk) == (planned.attempt.source, planned.attempt.risk)
            assert record.decision == planned.attempt.decision
            assert planned.task.spec.deadline == world.store.specs[f"t{i}"].deadline
            predicted = world.cluster.predict(f"t{i}", world.now)
            assert predicted == planned.prediction
        world.now += float(rng.choice([0.0, 1.0]))
        running = [t for t, s in world.store.statuses.items() if s.state.value == "assigned"]
        if running and rng.random() < 0.3:
            world.finish(running[0])
            world.place()


def test_a_plan_is_behind_those_that_wait_for_the_same() -> None:
    world = RankedWorld()
    world.worker("w1", cpu=4.0)
    world.running("runs", "w1", cpu=3.0)
    world.submit("first", cpu=2.0)
    world.place()
    found = plan(world, cpu=2.0)
    assert found.attempt is None
    assert found.waiting is not None
    assert (found.waiting.ahead, found.waiting.first) == (1, (("first", ""),))
    assert found.summary == (
        "would be queued behind 1 task: waits for room: 1 worker could run it when it has room"
    )
    assert found.prediction.start_at > world.now
    assert plan(world, cpu=1.0).attempt is not None


@pytest.mark.parametrize(
    ("fields", "verdict"),
    [
        ({}, Verdict.MEETS),
        ({"deadline": 1001.0}, Verdict.MISSES),
        ({"cpu": 64.0}, Verdict.NEVER),
        ({"docker_image": "alpine"}, Verdict.NEVER),
    ],
)
def test_a_plan_says_whether_the_task_would_make_it(fields: dict[str, Any], verdict: Verdict) -> None:
    world = RankedWorld()
    world.worker("w1", cpu=4.0, executors=("process",))
    found = plan(world, **fields)
    assert found.verdict is verdict
    assert (found.prediction.finish_at > 0.0) == (verdict is not Verdict.NEVER)


def test_a_wait_for_a_silent_or_missing_worker_has_no_known_end() -> None:
    world = RankedWorld()
    assert plan(world).verdict is Verdict.UNKNOWN
    world.worker("w1")
    world.wait(7.0)
    assert plan(world).verdict is Verdict.UNKNOWN


def test_a_wait_for_a_drained_worker_has_no_known_end_while_others_run() -> None:
    world = RankedWorld()
    world.worker("large", cpu=16.0)
    world.worker("small", cpu=4.0)
    world.drain("large")
    world.running("runs", "small", cpu=4.0)
    found = plan(world, cpu=8.0, deadline=world.now + 1000.0)
    assert (found.verdict, found.prediction.start_at) == (Verdict.UNKNOWN, 0.0)
    assert plan(world, cpu=32.0).verdict is Verdict.NEVER
    world.worker("other", cpu=32.0, executors=("container",))
    assert plan(world, cpu=8.0, deadline=world.now + 1000.0).verdict is Verdict.UNKNOWN


def test_a_wait_beyond_the_deadline_misses_it() -> None:
    world = RankedWorld()
    world.worker("w1", cpu=1.0)
    world.running("runs", "w1")
    assert plan(world, deadline=world.now + 1000.0).verdict is Verdict.MEETS
    assert plan(world, deadline=world.now + 1.0).verdict is Verdict.MISSES


def test_a_plan_infers_what_a_submission_would() -> None:
    world = RankedWorld()
    world.worker("w1", cpu=8.0)
    found = plan(world, cpu=6.0).task
    assert (found.spec.task_type, found.spec.tau, found.spec.deadline) == (
        "cpu-heavy",
        15.0,
        world.now + 30.0,
    )
    assert found.spec.submission.command == ""
    assert world.cluster.task("planned") is None


def test_a_plan_keeps_what_it_was_chosen_from() -> None:
    world = RankedWorld()
    world.worker("w1")
    world.worker("w2")
    attempt = plan(world).attempt
    assert attempt is not None
    assert attempt.decision is not None
    found = choice(attempt.decision)
    assert found is not None
    assert [c.worker_id for c in found.candidates] == ["w1", "w2"]


def test_round_robin_does_not_move_on_for_a_plan() -> None:
    world = Turns()
    for name in ("w1", "w2"):
        world.worker(name)
    for _ in range(3):
        attempt = plan(world).attempt
        assert attempt is not None
        assert (attempt.worker_id, attempt.decision) == ("w1", None)


def test_what_would_be_refused_is_refused() -> None:
    world = RankedWorld(max_queued_per_user=1)
    with pytest.raises(InvalidRequestError, match=r"cpu: -1\.0 came"):
        plan(world, cpu=-1.0)
    world.submit("a", user_id="u")
    with pytest.raises(LimitReachedError):
        plan(world, user_id="u")
    plan(world, user_id="v")
