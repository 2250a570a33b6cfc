"""Who goes first, what is skipped, what a pass costs, and what a waiting task is told."""

from __future__ import annotations

import pytest
from core_world import World, of

from master.cluster import Cluster
from master.events import (
    Assign,
    AttemptFinished,
    AttemptId,
    Cancel,
    InsertAttempt,
    Place,
    RegisterWorker,
    Submit,
)
from master.records import Submission, TaskState, WorkerRecord
from rtscore import InMemoryTauStore, RTSScheduler, WorkerTable

FAR = 1e6


def one_core(**options: float) -> World:
    """A cluster with one worker that runs one small task at a time, and it is busy."""
    world = World(**options)
    world.worker("w", cpu=1.0)
    world.running("busy", "w", deadline=FAR)
    return world


def run_all(world: World, worker_id: str = "w") -> list[str]:
    """Finish what runs, again and again, without time going by; the order in which the rest was placed."""
    order = []
    while placed := world.placed():
        for task_id, _ in placed:
            order.append(task_id)
            world.finish(task_id)
    return order


# ---- order ----


def test_tasks_that_can_meet_their_deadline_go_by_deadline() -> None:
    world = one_core()
    for task_id, due in (("c", 300.0), ("a", 100.0), ("b", 200.0)):
        world.submit(task_id, deadline=world.now + due)
    world.finish("busy")
    assert run_all(world) == ["a", "b", "c"]


@pytest.mark.parametrize("sizes", [(1.0, 1.0, 1.0, 1.0), (1.0, 0.9, 0.8, 0.7), (0.7, 0.8, 0.9, 1.0)])
def test_hopeless_tasks_go_last_by_arrival(sizes: tuple[float, ...]) -> None:
    world = one_core()
    dues = {"lost later": 30.0, "lost soon": 20.0, "lost at once": -100.0, "hope": 300.0}
    for (task_id, due), cpu in zip(dues.items(), sizes, strict=True):
        world.submit(task_id, cpu=cpu, deadline=world.now + due)
        world.now += 1.0
    world.now += 40.0
    world.finish("busy")
    order = []
    while placed := world.placed():
        order.append(placed[0][0])
        for task_id, _ in placed:
            world.finish(task_id)
    assert order == ["hope", "lost later", "lost soon", "lost at once"]


def test_equal_deadlines_go_in_order_of_acceptance() -> None:
    world = one_core()
    for task_id in ("z", "a", "m"):
        world.submit(task_id, deadline=world.now + 300.0)
    world.finish("busy")
    assert run_all(world) == ["z", "a", "m"]


def test_a_task_is_hopeful_up_to_the_last_instant_at_which_it_can_still_make_it() -> None:
    # τ of cpu-light is 5 s.
    for wait, first in ((10.0, "tight"), (10.5, "loose")):
        world = one_core()
        world.submit("tight", deadline=world.now + 15.0)
        world.submit("loose", deadline=world.now + 400.0)
        world.now += wait
        world.finish("busy")
        assert run_all(world)[0] == first
    for due, first in ((5.0, "tight"), (4.9, "loose")):
        world = one_core()
        world.submit("loose", deadline=world.now + 400.0)
        world.submit("tight", deadline=world.now + due)
        world.finish("busy")
        assert run_all(world)[0] == first


def test_order_holds_across_requests_of_different_size() -> None:
    world = World()
    world.worker("w", cpu=4.0)
    world.running("busy", "w", cpu=4.0, deadline=FAR)
    for k, cpu in enumerate((3.0, 4.0, 2.5, 4.0)):
        world.submit(f"t{k}", cpu=cpu, deadline=world.now + 400.0 - k)
    world.finish("busy")
    assert run_all(world) == ["t3", "t2", "t1", "t0"]


# ---- backfill ----


def test_a_task_that_does_not_fit_lets_smaller_ones_pass() -> None:
    world = World()
    world.worker("w", cpu=4.0)
    world.running("busy", "w", cpu=2.0)
    world.submit("large", cpu=4.0, deadline=world.now + 100.0)
    world.submit("small", cpu=2.0, deadline=world.now + 200.0)
    assert world.placed() == [("small", "w")]


def test_requests_not_smaller_than_one_that_failed_are_not_tried() -> None:
    world = World()
    world.worker("w", cpu=4.0)
    world.running("busy", "w", cpu=3.0)
    for k in range(50):
        world.submit(f"t{k}", cpu=2.0 + k, memory=1.0, deadline=world.now + 100.0 + k)
    world.submit("less memory", cpu=2.0, deadline=world.now + 500.0)
    before = world.scheduler.calls
    assert world.placed() == []
    # The smallest of the fifty, and the one that is smaller in memory.
    assert world.scheduler.calls - before == 2


def test_a_hundred_thousand_queued_tasks_are_placed_in_as_many_decisions_as_placements_and_shapes() -> None:
    world = World()
    handle = world.cluster.handle
    for k in range(100_000):
        cpu = 1.0 + k % 8
        handle(Submit(Submission(f"t{k}", command="true", cpu=cpu, deadline=FAR + k)), world.now)
    for k in range(100):
        handle(RegisterWorker(WorkerRecord(f"w{k}", 64.0, 64.0, 0.0, 0.0), ()), world.now)
    before = world.scheduler.calls
    effects = handle(Place(), world.now)
    placed = len(of(Assign, effects))
    # 6,400 cores, tasks of 4.5 cores on average in order of deadline, the small ones filling what is left.
    assert 6_400 / 4.5 * 0.95 < placed < 6_400
    assert world.scheduler.calls - before <= placed + 8
    before = world.scheduler.calls
    assert handle(Place(), world.now) == []
    assert world.scheduler.calls == before
    # A new task of a known shape changes nothing: no decision at all.
    handle(Submit(Submission("more", command="true", cpu=3.0)), world.now)
    assert handle(Place(), world.now) == []
    assert world.scheduler.calls == before
    # One task ends: a core or more for whoever fits there.
    done = of(InsertAttempt, effects)[0].record
    handle(AttemptFinished(done.worker_id, AttemptId(done.task_id, 1), True), world.now)
    effects = handle(Place(), world.now)
    placed = len(of(Assign, effects))
    assert 1 <= world.scheduler.calls - before <= placed + 8
    world.cluster.check()


def test_a_pass_without_news_decides_nothing() -> None:
    world = one_core()
    world.submit("a")
    world.place()
    before = world.scheduler.calls
    for _ in range(3):
        world.now += 3.0
        world.place()
    world.heartbeat("w")
    world.place()
    assert world.scheduler.calls == before


def test_a_queue_with_many_departures_stays_proportional_to_what_waits() -> None:
    world = one_core()
    world.submit("stays")
    for k in range(2_000):
        world.cluster.handle(Submit(Submission(f"t{k}", command="true", cpu=1.0)), world.now)
        world.cluster.handle(Cancel(f"t{k}"), world.now)
    queue = world.cluster._queue
    (group,) = queue.groups.values()
    assert len(group.hopeful) + len(group.hopeless) < 200
    assert len(queue._timers) < 1_500


# ---- executors ----


def test_a_container_task_goes_only_to_a_worker_with_that_executor() -> None:
    world = World()
    for k in range(5):
        world.worker(f"p{k}", executors=("process",))
    world.submit("c", docker_image="busybox:1")
    assert world.placed() == []
    assert world.why("c") == "needs the container executor; none of 5 workers has it"
    world.worker("both", executors=("process", "container"))
    assert world.placed() == [("c", "both")]
    world.worker("unknown", cpu=8.0)
    world.submit("d", docker_image="busybox:1", cpu=8.0)
    assert world.placed() == [("d", "unknown")]


def test_workers_are_given_back_after_they_were_passed_over() -> None:
    world = World()
    world.worker("p", executors=("process",))
    world.worker("c", cpu=1.0, executors=("container",))
    world.submit("image", docker_image="busybox:1")
    assert world.placed() == [("image", "c")]
    world.submit("plain")
    assert world.placed() == [("plain", "p")]


def test_a_container_task_that_does_not_fit_does_not_hold_back_others() -> None:
    world = World()
    world.worker("p", cpu=4.0, executors=("process",))
    world.worker("c", cpu=1.0, executors=("container",))
    world.submit("image1", docker_image="busybox:1", deadline=world.now + 50.0)
    world.submit("image2", docker_image="busybox:1", deadline=world.now + 51.0)
    world.submit("plain", cpu=2.0, deadline=world.now + 100.0)
    assert world.placed() == [("image1", "c"), ("plain", "p")]
    # Room on a worker that cannot run it is no reason to try it again.
    before = world.scheduler.calls
    world.finish("plain")
    assert world.placed() == []
    assert world.scheduler.calls == before
    world.finish("image1")
    assert world.placed() == [("image2", "c")]


# ---- reasons ----


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"gpu": 4.0}, "needs gpu 4; the largest worker has 2"),
        (
            {"cpu": 99.0, "storage": 1e5},
            "needs cpu 99; the largest worker has 16; needs storage 100000; the largest worker has 100",
        ),
        ({"cpu": 16.0, "gpu": 2.0}, "needs cpu 16 and gpu 2 on one worker; no worker has all of it"),
    ],
)
def test_an_impossible_task_stays_queued_and_says_what_is_missing(
    fields: dict[str, float], reason: str
) -> None:
    world = World()
    world.worker("big", cpu=16.0)
    world.worker("gpu", cpu=4.0, gpu=2.0)
    world.submit("a", **fields)
    world.place()
    assert world.why("a") == reason
    world.wait(300.0, "big", "gpu")
    world.place()
    assert world.state("a") is TaskState.QUEUED
    assert world.reserved() == {}
    world.worker("giant", cpu=128.0, memory=512.0, gpu=8.0, storage=1e6)
    assert world.placed() == [("a", "giant")]
    assert world.why("a") == ""


def test_a_waiting_task_says_what_for() -> None:
    world = World()
    world.submit("a", cpu=4.0)
    assert world.why("a") == "no worker is registered"
    world.worker("w", cpu=4.0)
    assert world.placed() == [("a", "w")]
    world.submit("b", cpu=4.0)
    world.place()
    assert world.why("b") == "waits for room: 1 worker could run it when it has room"
    assert world.why("unheard of") == ""


def test_an_explanation_counts_who_is_ahead_and_says_when_the_deadline_is_lost() -> None:
    world = one_core()
    world.submit("a", deadline=world.now + 50.0)
    world.submit("b", deadline=world.now + 60.0)
    task = world.cluster.task("b")
    assert task is not None
    summary = world.cluster.explain(task, world.now).summary
    assert summary == "queued behind 1 task: waits for room: 1 worker could run it when it has room"
    world.now += 100.0
    world.place()
    assert world.cluster.explain(task, world.now).summary.endswith("; its deadline can no longer be met")


def test_an_explanation_of_a_placed_task_says_where_and_how_it_ended() -> None:
    world = World()
    world.worker("w")
    world.running("a", "w")
    first = world.cluster.task("a")
    assert first is not None
    assert world.cluster.explain(first, world.now).summary == "running on worker w, attempt 1"
    world.finish("a", success=False, exit_code=2)
    explained = world.cluster.explain(first, world.now)
    assert explained.summary == "failed on worker w, attempt 1: exit code 2"
    assert explained.task.status.state is TaskState.FAILED
    world.running("b", "w")
    world.finish("b")
    assert world.cluster.explain(first, world.now).task == world.cluster.task("a")
    done = world.cluster.task("b")
    assert done is not None
    assert world.cluster.explain(done, world.now).summary == "completed on worker w, attempt 1; deadline met"
    world.running("c", "w")
    world.cancel("c")
    cancelled = world.cluster.task("c")
    assert cancelled is not None
    assert (
        world.cluster.explain(cancelled, world.now).summary
        == "cancelled on request; worker w has not ended it yet"
    )


def test_an_explanation_ranks_the_workers_when_the_policy_can() -> None:
    table = WorkerTable()
    cluster = Cluster(table, RTSScheduler(table), InMemoryTauStore())
    for worker_id, cpu in (("small", 1.0), ("large", 8.0)):
        cluster.handle(RegisterWorker(WorkerRecord(worker_id, cpu, 8.0, 0.0, 0.0), ()), 100.0)
    cluster.handle(Submit(Submission("a", command="true", cpu=2.0)), 100.0)
    task = cluster.task("a")
    assert task is not None
    ranking = cluster.explain(task, 101.0).ranking
    assert ranking is not None
    assert {row.worker_id: row.feasible for row in ranking} == {"small": False, "large": True}
    world = World()
    world.submit("a")
    task = world.cluster.task("a")
    assert task is not None
    assert world.cluster.explain(task, world.now).ranking is None
