"""A task that an agent took and that its heartbeats no longer name: three of them, and it is lost."""

from __future__ import annotations

import pytest
from core_world import AttemptId, CancelAttempt, World, kinds, of

from master.events import Assign, Effect, Heartbeat
from master.records import AttemptEnd, TaskState


def beats(world: World, worker_id: str, *named: str) -> list[Effect]:
    """A heartbeat of an agent that lists what it runs, perhaps nothing."""
    live = tuple(AttemptId(task_id, 0) for task_id in named)
    return world.do(Heartbeat(worker_id, 0.0, 0.0, 0.0, live))


def after(world: World, seconds: float, worker_id: str, *named: str) -> list[Effect]:
    world.now += seconds
    return beats(world, worker_id, *named)


@pytest.fixture
def world() -> World:
    """One agent that runs task a, heartbeats every 2 s."""
    made = World()
    made.worker("w", live=None)
    made.running("a", "w")
    return made


def test_the_third_heartbeat_in_a_row_without_it_ends_the_attempt(world: World) -> None:
    assert after(world, 2.0, "w") == []
    assert after(world, 2.0, "w") == []
    effects = after(world, 2.0, "w")
    assert world.store.attempts["a", 1].end is AttemptEnd.LOST
    assert world.state("a") is TaskState.QUEUED
    assert "3 heartbeats in a row did not name it" in world.status("a").reason
    assert CancelAttempt("w", AttemptId("a", 1)) in effects, "it may run there all the same"
    world.worker("other")
    assert world.placed() == [("a", "other")]


def test_a_heartbeat_that_names_it_begins_the_count_anew(world: World) -> None:
    for _ in range(3):
        after(world, 2.0, "w")
        after(world, 2.0, "w")
        after(world, 2.0, "w", "a")
    assert world.state("a") is TaskState.RUNNING


def test_a_burst_of_heartbeats_counts_as_its_time(world: World) -> None:
    for _ in range(20):
        after(world, 0.1, "w")
    assert world.state("a") is TaskState.RUNNING
    after(world, 1.2, "w")
    assert world.state("a") is TaskState.QUEUED


def test_heartbeats_that_say_nothing_of_tasks_drop_none(world: World) -> None:
    for _ in range(10):
        world.now += 2.0
        world.heartbeat("w")
    assert world.state("a") is TaskState.RUNNING


def test_a_task_that_it_has_not_taken_yet_is_not_missed() -> None:
    world = World()
    world.worker("w", live=None)
    world.submit("a")
    world.place()
    for _ in range(10):
        after(world, 2.0, "w")
    assert world.state("a") is TaskState.ASSIGNED


def test_naming_a_task_says_that_it_runs() -> None:
    world = World()
    world.worker("w", live=None)
    world.submit("a")
    world.place()
    after(world, 2.0, "w", "a")
    assert world.state("a") is TaskState.RUNNING
    assert world.refuse("a") == [], "an answer that was lost on the way takes nothing back"


def test_the_last_attempt_that_is_dropped_fails_the_task() -> None:
    world = World(max_attempts=1)
    world.worker("w", live=None)
    world.running("a", "w")
    for _ in range(3):
        effects = after(world, 2.0, "w")
    assert world.state("a") is TaskState.FAILED
    assert "CancelAttempt" in kinds(effects)


def test_it_comes_back_to_the_same_agent_only_after_a_pause(world: World) -> None:
    for _ in range(3):
        after(world, 2.0, "w")
    assert of(Assign, world.place()) == []
    world.wait(3.0, "w")
    assert world.placed() == [("a", "w")]


def test_one_that_is_to_be_claimed_has_the_grace_period(world: World) -> None:
    world.worker("w", live=None)
    for _ in range(4):
        after(world, 2.0, "w")
    assert world.state("a") is TaskState.RUNNING
    after(world, 1.0, "w", "a")
    for _ in range(3):
        after(world, 2.0, "w")
    assert world.state("a") is TaskState.QUEUED


def test_a_master_that_slept_blames_nobody(world: World) -> None:
    after(world, 1e4, "w")
    beats(world, "w")
    beats(world, "w")
    assert world.state("a") is TaskState.RUNNING
