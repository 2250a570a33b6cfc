"""A worker that ends what it runs and takes nothing new, and how that differs from a drain."""

from __future__ import annotations

from core_world import World, kinds

from master.records import TaskState


def test_nothing_is_placed_on_a_worker_that_stops_and_what_runs_there_ends() -> None:
    world = World()
    world.worker("w")
    world.running("a", "w")
    assert world.stopping("w") == []
    assert world.worker_state("w") == "stopping"
    world.submit("b")
    assert world.placed() == []
    assert world.why("b") == "no worker that could run it takes tasks now: 1 stopping"
    world.finish("a")
    assert world.state("a") is TaskState.COMPLETED
    assert world.placed() == []
    assert world.status("b").attempt == 0, "waiting costs no attempt"


def test_what_crossed_the_news_is_refused_and_goes_elsewhere_at_once() -> None:
    world = World()
    world.worker("w1")
    world.worker("w2", cpu=0.5)
    world.submit("a")
    assert world.placed() == [("a", "w1")]
    world.stopping("w1")
    world.refuse("a", "the worker is stopping")
    world.worker("w3")
    assert world.placed() == [("a", "w3")]


def test_a_worker_that_registers_anew_takes_tasks_again_unless_it_still_stops() -> None:
    world = World()
    world.worker("w")
    world.stopping("w")
    world.worker("w", stopping=True)
    world.submit("a")
    assert world.placed() == []
    world.heartbeat("w")
    assert world.placed() == []
    world.worker("w")
    assert world.placed() == [("a", "w")]


def test_taking_back_a_drain_opens_no_worker_that_stops_and_the_other_way_round() -> None:
    world = World()
    world.worker("w")
    world.drain("w")
    world.stopping("w")
    world.drain("w", False)
    assert world.worker_state("w") == "stopping"
    world.submit("a")
    assert world.placed() == []
    world.drain("w")
    world.worker("w")
    assert world.worker_state("w") == "draining"
    assert world.placed() == []
    world.drain("w", False)
    assert world.placed() == [("a", "w")]


def test_a_worker_that_stops_is_kept_for_nobody() -> None:
    world = World()
    world.worker("w", cpu=2.0)
    world.running("small", "w", deadline=world.now + 1e6)
    world.submit("large", cpu=2.0)
    world.wait(60.0, "w")
    world.place()
    assert world.reserved() == {"large": "w"}
    world.stopping("w")
    assert world.reserved() == {}
    world.wait(60.0, "w")
    world.place()
    assert world.reserved() == {}


def test_stopping_is_not_stored_and_a_restarted_master_is_told_again() -> None:
    world = World()
    world.worker("w")
    assert kinds(world.stopping("w")) == []
    world.boot()
    world.worker("w", stopping=True)
    world.submit("a")
    assert world.placed() == []
