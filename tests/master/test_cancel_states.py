"""Cancelling in every state that a task can be in, one by one."""

from __future__ import annotations

import pytest
from core_world import World, kinds, of

from master.errors import NotAllowedError, UnknownTaskError
from master.events import AttemptId, CancelAttempt, EndAttempt, InsertResult
from master.records import AttemptEnd, TaskState

RUN = AttemptId("a", 1)


def one_worker(**options: float) -> World:
    world = World(**options)
    world.worker("w")
    return world


def ended(world: World) -> None:
    """Cancelled for good: no attempt holds a worker, nothing waits, and there is no outcome."""
    assert world.state("a") is TaskState.CANCELLED
    assert world.store.open_attempts() == []
    assert world.cluster.queue_depth == 0
    assert world.placed() == []
    assert world.room("w") == 4.0
    assert world.store.results == {}
    status = world.status("a")
    assert (status.reason, status.sla_success) == ("cancelled on request", None)


def test_queued() -> None:
    world = one_worker()
    world.submit("a")
    assert kinds(world.cancel("a")) == ["UpdateTask", "TaskChanged"]
    ended(world)


def test_queued_and_impossible() -> None:
    world = one_worker()
    world.submit("a", gpu=3.0)
    world.place()
    world.cancel("a")
    ended(world)


def test_queued_with_a_worker_reserved_for_it() -> None:
    world = one_worker()
    world.running("small", "w", deadline=world.now + 1e6)
    world.submit("a", cpu=4.0)
    world.wait(60.0, "w")
    world.place()
    assert world.reserved() == {"a": "w"}
    world.cancel("a")
    assert world.reserved() == {}
    world.finish("small")
    assert world.state("a") is TaskState.CANCELLED
    world.submit("b")
    assert world.placed() == [("b", "w")], "the worker is everybody's again"


def test_assigned_and_then_refused() -> None:
    world = one_worker()
    world.submit("a")
    world.place()
    assert of(CancelAttempt, world.cancel("a")) == [CancelAttempt("w", RUN)]
    world.refuse("a", "the attempt is not known to this worker")
    ended(world)


def test_assigned_and_then_started_all_the_same() -> None:
    world = one_worker()
    world.submit("a")
    world.place()
    world.cancel("a")
    assert of(CancelAttempt, world.start("a")) == [CancelAttempt("w", RUN)]
    effects = world.finish("a", success=False, reason="cancelled")
    assert [end.end for end in of(EndAttempt, effects)] == [AttemptEnd.CANCELLED]
    ended(world)


def test_running_and_completed_before_the_cancellation_arrived() -> None:
    world = one_worker()
    world.running("a", "w")
    world.cancel("a")
    assert of(InsertResult, world.finish("a", success=True)) == []
    ended(world)


def test_running_on_a_worker_that_is_lost_then() -> None:
    world = one_worker()
    world.running("a", "w")
    world.cancel("a")
    world.leave("w")
    world.worker("w")
    ended(world)


def test_running_on_a_worker_that_is_silent_and_comes_back() -> None:
    world = one_worker()
    world.running("a", "w")
    world.wait(7.0)
    assert world.worker_state("w") == "inactive"
    world.cancel("a")
    assert of(CancelAttempt, world.worker("w", live=(RUN,))) == [CancelAttempt("w", RUN)]
    world.finish("a", success=False)
    ended(world)


def test_between_two_attempts_while_it_waits_for_another_worker() -> None:
    world = one_worker()
    world.running("a", "w")
    world.leave("w")
    assert (world.state("a"), world.status("a").attempt) == (TaskState.QUEUED, 1)
    assert of(CancelAttempt, world.cancel("a")) == [], "nobody has it"
    world.worker("w")
    ended(world)


def test_between_two_attempts_while_the_only_worker_is_left_alone_with_it() -> None:
    world = one_worker()
    world.submit("a")
    world.place()
    world.refuse("a")
    world.place()
    world.cancel("a")
    world.wait(5.0, "w")
    ended(world)


def test_between_two_attempts_while_the_worker_of_the_first_may_still_run_it() -> None:
    world = one_worker()
    world.running("a", "w")
    world.leave("w")
    world.cancel("a")
    # It was only cut off, and says what it runs: that has to end.
    assert of(CancelAttempt, world.worker("w", live=(RUN,))) == [CancelAttempt("w", RUN)]
    world.finish("a", attempt=1, worker_id="w")
    ended(world)


@pytest.mark.parametrize("success", [True, False])
def test_ended(success: bool) -> None:
    world = one_worker()
    world.running("a", "w")
    world.finish("a", success=success)
    before = world.status("a")
    with pytest.raises(NotAllowedError, match=f"a is {before.state.value}"):
        world.cancel("a")
    assert world.status("a") == before


def test_cancelled_already() -> None:
    world = one_worker()
    world.submit("a")
    world.cancel("a")
    at = world.status("a").finished_at
    world.now += 5.0
    assert world.cancel("a") == []
    assert world.status("a").finished_at == at


def test_cancelled_already_and_held_by_its_worker() -> None:
    world = one_worker()
    world.running("a", "w")
    world.cancel("a")
    assert world.cancel("a") == []
    world.finish("a", success=False)
    ended(world)


def test_unknown() -> None:
    with pytest.raises(UnknownTaskError, match="'a'"):
        one_worker().cancel("a")


def test_a_restarted_master_cancels_what_was_queued() -> None:
    world = one_worker()
    world.submit("a")
    world.boot()
    world.cancel("a")
    world.worker("w")
    ended(world)


def test_a_restarted_master_cancels_what_no_worker_has_claimed_yet() -> None:
    for then in ("claimed", "not named", "never back"):
        world = one_worker()
        world.running("a", "w")
        world.boot()
        assert of(CancelAttempt, world.cancel("a")) == [CancelAttempt("w", RUN)]
        if then == "claimed":
            # What was sent went nowhere, as nobody was connected.
            assert of(CancelAttempt, world.worker("w", live=(RUN,))) == [CancelAttempt("w", RUN)]
            world.finish("a", success=False, reason="cancelled")
        elif then == "not named":
            world.worker("w")
        else:
            world.wait(30.0)
            world.worker("w")
        ended(world)


def test_a_cancellation_survives_a_restart_between_its_commit_and_its_delivery() -> None:
    world = one_worker()
    world.running("a", "w")
    world.cancel("a")
    world.boot()
    assert world.state("a") is TaskState.CANCELLED
    assert of(CancelAttempt, world.worker("w", live=(RUN,))) == [CancelAttempt("w", RUN)]
    assert world.cancel("a") == []
    world.finish("a", success=False, reason="cancelled")
    world.cluster.check()
    assert world.store.open_attempts() == []
    assert world.room("w") == 4.0
