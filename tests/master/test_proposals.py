"""A proposal is held to the rules of our own placements, whatever it says."""

from __future__ import annotations

from typing import Any

import pytest
from core_world import World, of
from hypothesis import given, settings
from hypothesis import strategies as st

from master.errors import MasterError, NotAllowedError, UnknownTaskError, UnknownWorkerIdError
from master.events import Assign, Effect, Propose, WorkerSilent
from master.records import TaskState


def version(world: World) -> int:
    return world.cluster.planner_state(0, world.now).version


def propose(world: World, task_id: str, worker_id: str, at: int | None = None) -> list[Effect]:
    return world.do(Propose(task_id, worker_id, version(world) if at is None else at))


def refused(world: World, *proposal: Any, kind: type[MasterError] = NotAllowedError) -> str:
    """Why a proposal is refused; and it has changed nothing."""
    before = world.cluster.workers(), world.cluster.counts(), dict(world.store.attempts), version(world)
    with pytest.raises(kind) as caught:
        propose(world, *proposal)
    world.check()
    assert (world.cluster.workers(), world.cluster.counts(), world.store.attempts, version(world)) == before
    return str(caught.value)


@pytest.fixture
def world() -> World:
    """Task a, which waits, and workers w1 and w2."""
    made = World()
    made.worker("w1")
    made.worker("w2")
    made.submit("a", cpu=2.0)
    return made


def test_what_it_proposes_is_placed_and_recorded_as_the_planners(world: World) -> None:
    effects = propose(world, "a", "w2")
    assert [(e.spec.task_id, e.worker_id, e.attempt) for e in of(Assign, effects)] == [("a", "w2", 1)]
    record = world.store.attempts["a", 1]
    assert (record.source, record.risk, record.cpu_avail) == ("planner", None, 4.0)
    assert world.room("w2") == 2.0
    assert world.placed() == [], "it has left the queue"
    world.start("a")
    world.finish("a")
    assert world.state("a") is TaskState.COMPLETED


def test_ids_that_nobody_has_are_refused(world: World) -> None:
    assert "'b'" in refused(world, "b", "w1", kind=UnknownTaskError)
    assert "'w3'" in refused(world, "a", "w3", kind=UnknownWorkerIdError)


def test_only_a_queued_task_is_placed(world: World) -> None:
    propose(world, "a", "w1")
    assert refused(world, "a", "w2") == "task a is assigned on worker w1; only a queued one is placed"
    world.start("a")
    world.finish("a")
    assert "completed" in refused(world, "a", "w2")


def test_what_does_not_fit_is_refused_with_what_it_lacks(world: World) -> None:
    propose(world, "a", "w1")
    world.submit("b", cpu=3.0, memory=65.0)
    why = refused(world, "b", "w1")
    assert why == "worker w1 lacks room: cpu 3 asked, 2 available; memory 65 asked, 64 available"


def test_a_draining_a_stopping_and_a_silent_worker_get_nothing(world: World) -> None:
    world.drain("w1")
    assert "draining" in refused(world, "a", "w1")
    world.stopping("w1")
    assert "stopping" in refused(world, "a", "w1")
    world.do(WorkerSilent("w2"))
    assert "inactive" in refused(world, "a", "w2")


def test_a_worker_without_the_executor_is_refused(world: World) -> None:
    world.worker("w3", executors=("process",))
    world.submit("c", docker_image="busybox")
    assert refused(world, "c", "w3") == "worker w3 has no container executor"


def test_a_worker_that_refused_the_task_is_left_alone_with_it_for_the_pause(world: World) -> None:
    propose(world, "a", "w1")
    world.refuse("a")
    assert "refused task a" in refused(world, "a", "w1")
    assert [w.avoid for w in world.cluster.planner_state(9, world.now).waiting] == [("w1",)]
    world.wait(2.5, "w1", "w2")
    assert [w.avoid for w in world.cluster.planner_state(9, world.now).waiting] == [()]
    propose(world, "a", "w1")


def test_a_task_that_waits_out_a_pause_goes_where_the_planner_says() -> None:
    world = World()
    world.worker("w1")
    world.submit("a")
    world.placed()
    world.refuse("a")
    world.place()
    world.worker("w2")
    assert world.placed() == [], "the pause is over later"
    propose(world, "a", "w2")
    world.wait(5.0, "w1", "w2")
    assert world.placed() == []


def test_a_worker_that_is_kept_for_a_task_takes_only_that_one() -> None:
    world = World()
    world.worker("w1")
    world.running("x", "w1", cpu=2.0)
    world.submit("starving", cpu=4.0)
    world.wait(60.0, "w1")
    world.place()
    assert world.reserved() == {"starving": "w1"}
    world.submit("b", cpu=1.0)
    assert refused(world, "b", "w1") == "worker w1 is kept for task starving, which has waited too long"
    world.finish("x")
    propose(world, "starving", "w1")
    assert world.reserved() == {}


def test_a_starving_task_that_goes_elsewhere_frees_its_worker() -> None:
    world = World()
    world.worker("w1")
    world.running("x", "w1", cpu=2.0)
    world.submit("starving", cpu=4.0)
    world.wait(60.0, "w1")
    world.place()
    world.worker("w2")
    propose(world, "starving", "w2")
    assert world.reserved() == {}
    world.submit("b", cpu=1.0)
    assert world.placed() == [("b", "w1")]


def test_a_state_before_the_task_was_queued_again_is_stale(world: World) -> None:
    old = version(world)
    propose(world, "a", "w1", old)
    world.refuse("a")
    assert "fetch it again" in refused(world, "a", "w2", old)
    propose(world, "a", "w2")


def test_other_tasks_may_move_after_the_state_was_fetched(world: World) -> None:
    world.submit("b")
    old = version(world)
    propose(world, "b", "w1", old)
    world.submit("c")
    propose(world, "a", "w1", old)


def test_versions_of_an_earlier_run_of_none_and_of_the_future_are_refused(world: World) -> None:
    old = version(world)
    world.now += 1.0
    world.boot()
    world.worker("w1")
    for wrong in (old, 0, version(world) + 1, 2**64 - 1):
        assert "fetch it again" in refused(world, "a", "w1", wrong)
    propose(world, "a", "w1")


def test_the_state_lists_the_first_tasks_in_the_order_of_placement(world: World) -> None:
    world.submit("late", deadline=world.now + 1.0)
    world.submit("soon", deadline=world.now + 50.0)
    world.submit("soonest", deadline=world.now + 30.0)
    state = world.cluster.planner_state(3, world.now)
    assert [w.task.spec.task_id for w in state.waiting] == ["a", "soonest", "soon"]
    assert state.queued == 4
    assert [(w.status.worker_id, w.reserved_for) for w in state.workers] == [("w1", ""), ("w2", "")]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from((1.0, 2.0, 3.0, 5.0)), min_size=1, max_size=8),
    st.lists(
        st.tuples(
            st.integers(0, 8), st.sampled_from(("w1", "w2", "w3", "w4")), st.sampled_from((0, 0, -1, 1))
        ),
        max_size=20,
    ),
)
def test_exactly_those_that_fit_are_taken_in_order_and_no_invariant_breaks(
    requests: list[float], proposals: list[tuple[int, str, int]]
) -> None:
    world = World()
    free = {"w1": 4.0, "w2": 4.0, "w3": 2.0}
    for worker_id, cpu in free.items():
        world.worker(worker_id, cpu=cpu)
    world.drain("w3")
    waiting = {}
    for number, cpu in enumerate(requests):
        world.submit(f"t{number}", cpu=cpu)
        waiting[f"t{number}"] = cpu
    fetched = version(world)
    oldest = fetched - len(requests) + 1
    for number, worker_id, shift in proposals:
        task_id = f"t{number}"
        # The version at which this very task entered is the oldest that counts.
        at = {0: fetched, -1: oldest + number - 1, 1: fetched + 100}[shift]
        cpu = waiting.get(task_id)
        holds = (
            shift == 0 and cpu is not None and worker_id in ("w1", "w2") and cpu <= free.get(worker_id, 0.0)
        )
        if holds:
            assert cpu is not None
            propose(world, task_id, worker_id, at)
            free[worker_id] -= cpu
            del waiting[task_id]
        else:
            with pytest.raises(MasterError):
                propose(world, task_id, worker_id, at)
            world.check()
    assert {t for t in world.store.statuses if world.state(t) is TaskState.QUEUED} == set(waiting)
    assert all(world.room(w) == room for w, room in free.items())
