"""What a queued task is told of what goes first and of what each worker lacks."""

from __future__ import annotations

import pytest
from core_world import World

from master.errors import NotAllowedError
from master.events import Drain, Propose, WorkerSilent, WorkerStopping
from master.waiting import ROWS, Waiting


def waits(world: World, task_id: str) -> Waiting:
    task = world.cluster.task(task_id)
    assert task is not None
    found = world.cluster.explain(task, world.now).waiting
    assert found is not None
    return found


def test_a_queued_task_says_what_is_ahead_of_it() -> None:
    world = World()
    world.worker("w1", cpu=4.0)
    for i in range(8):
        world.submit(f"t{i}", cpu=100.0, user_id=f"u{i}")
        world.now += 1.0
    world.place()
    found = waits(world, "t6")
    assert found.ahead == 6
    assert found.first == tuple((f"t{i}", f"u{i}") for i in range(5))
    assert not found.hopeless
    assert waits(world, "t0").first == ()


def test_the_nearest_to_fitting_are_listed_first_and_all_are_counted() -> None:
    world = World()
    world.worker("tiny", cpu=1.0)
    world.worker("near", cpu=7.5)
    world.worker("forgetful", cpu=16.0, memory=2.0)
    world.worker("drained", cpu=7.75)
    world.drain("drained")
    world.submit("a", cpu=8.0, memory=4.0)
    world.place()
    found = waits(world, "a")
    assert [(lack.worker_id, lack.missing, lack.why) for lack in found.lacks] == [
        ("near", (0.5, 0.0, 0.0, 0.0), ""),
        ("forgetful", (0.0, 2.0, 0.0, 0.0), ""),
        ("tiny", (7.0, 0.0, 0.0, 0.0), ""),
        ("drained", (0.25, 0.0, 0.0, 0.0), "draining"),
    ]
    assert (found.workers, found.lacking, found.closed) == (4, (3, 1, 0, 0), 1)


def test_each_reason_why_a_worker_takes_nothing_is_named() -> None:
    world = World()
    for name in ("silent", "stops"):
        world.worker(name, executors=("container",))
    world.worker("plain", executors=("process",))
    world.wait(7.0, "stops", "plain")
    world.stopping("stops")
    world.submit("a", docker_image="alpine")
    world.place()
    assert {lack.worker_id: lack.why for lack in waits(world, "a").lacks} == {
        "plain": "has no container executor",
        "silent": "inactive",
        "stops": "stopping",
    }


def test_everybody_is_told_the_same_of_a_worker_that_is_silent_stops_and_was_drained_too() -> None:
    world = World()
    world.worker("w")
    world.submit("a")
    version = world.cluster.planner_state(0, world.now).version
    for event, state in (
        (Drain("w", True), "draining"),
        (WorkerStopping("w"), "stopping"),
        (WorkerSilent("w"), "inactive"),
        (Drain("w", False), "inactive"),
    ):
        world.do(event)
        assert world.worker_state("w") == state
        assert world.cluster.overview(world.now).workers == {state: 1}
        assert world.why("a") == f"no worker that could run it takes tasks now: 1 {state}"
        assert [lack.why for lack in waits(world, "a").lacks] == [state]
        with pytest.raises(NotAllowedError, match=f"worker w is {state}"):
            world.do(Propose("a", "w", version))


def test_the_worker_that_is_kept_for_a_task_is_named_to_it_and_closed_to_others() -> None:
    world = World(heartbeat_interval_s=1000.0)
    world.worker("w1", cpu=4.0)
    world.running("runs", "w1", cpu=2.0)
    world.submit("large", cpu=4.0)
    world.place()
    world.now += 1000.0
    world.place()
    world.submit("other", cpu=3.0)
    world.place()
    assert waits(world, "large").reserved_worker == "w1"
    assert [lack.why for lack in waits(world, "large").lacks] == [""]
    assert waits(world, "large").hopeless
    assert waits(world, "other").reserved_worker == ""
    assert [lack.why for lack in waits(world, "other").lacks] == ["kept free for another task"]


def test_a_worker_that_refused_a_task_is_named() -> None:
    world = World()
    world.worker("w1")
    world.submit("a")
    world.place()
    world.refuse("a")
    world.place()
    assert [lack.why for lack in waits(world, "a").lacks] == ["refused it"]


def test_of_many_workers_the_nearest_are_listed() -> None:
    world = World()
    world.check = lambda: None  # type: ignore[method-assign]
    for i in range(3 * ROWS):
        world.worker(f"w{i}", cpu=1.0 + i)
    world.submit("a", cpu=1000.0)
    world.place()
    found = waits(world, "a")
    assert [lack.worker_id for lack in found.lacks] == [
        f"w{i}" for i in range(3 * ROWS - 1, 2 * ROWS - 1, -1)
    ]
    assert (found.workers, found.lacking[0]) == (3 * ROWS, 3 * ROWS)


def test_only_a_queued_task_waits() -> None:
    world = World()
    world.worker("w1")
    world.running("a", "w1")
    task = world.cluster.task("a")
    assert task is not None
    assert world.cluster.explain(task, world.now).waiting is None
