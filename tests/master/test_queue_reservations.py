"""No starvation: a task that waited too long gets a worker of its own, and no more than that."""

from __future__ import annotations

import random

import pytest
from core_world import World

from master.events import Place, RegisterWorker, Submit
from master.records import Submission, TaskState, WorkerRecord


def crowded(cores: float = 4.0, workers: int = 1, **options: float) -> World:
    """Workers full of one-core tasks, all of them hopeful, that end one at a time."""
    world = World(**options)
    for k in range(workers):
        world.worker(f"w{k}", cpu=cores)
    for k in range(workers * int(cores)):
        world.submit(f"s{k}", deadline=1e6 + k)
    assert len(world.placed()) == workers * cores
    for k in range(workers * int(cores)):
        world.start(f"s{k}")
    return world


def placed_tasks(world: World) -> list[str]:
    placed = (TaskState.ASSIGNED, TaskState.RUNNING)
    return [t for t, s in world.store.statuses.items() if s.state in placed]


def churn(world: World, seconds: int, prefix: str) -> None:
    """Every second the oldest small task ends and another one, which would fit, arrives."""
    for k in range(seconds):
        alive = [w.worker_id for w in world.cluster.workers()]
        world.wait(1.0, *alive)
        small = [t for t in placed_tasks(world) if t[0] == "s"]
        if small:
            world.finish(small[0])
        world.submit(f"s-{prefix}{k}", deadline=world.now + 1e6)
        world.place()


def test_a_large_task_is_not_overtaken_for_ever() -> None:
    world = crowded(cores=4.0)
    world.submit("large", cpu=4.0, deadline=world.now + 1e6)
    churn(world, 29, "a")
    assert world.reserved() == {}
    assert world.state("large") is TaskState.QUEUED
    churn(world, 12, "b")
    assert world.state("large") is TaskState.ASSIGNED


def test_patience_is_four_taus_where_that_is_longer_than_thirty_seconds() -> None:
    for task_type, patience in (("cpu-light", 30.0), ("memory-heavy", 80.0)):
        world = crowded()
        world.submit("large", cpu=4.0, task_type=task_type, deadline=world.now + 1e6)
        world.wait(patience, "w0")
        world.place()
        assert world.reserved() == {}
        world.wait(0.5, "w0")
        world.place()
        assert world.reserved() == {"large": "w0"}


def test_nothing_else_is_placed_on_a_reserved_worker() -> None:
    world = crowded(cores=2.0)
    world.submit("large", cpu=2.0, deadline=world.now + 1e6)
    world.wait(31.0, "w0")
    world.place()
    assert world.why("large") == "worker w0 is kept free for it until it has room"
    world.submit("small", deadline=world.now + 20.0)
    world.finish("s0")
    assert world.placed() == []
    world.finish("s1")
    assert world.placed() == [("large", "w0")]
    assert world.reserved() == {}
    world.finish("large")
    assert world.placed() == [("small", "w0")]


def test_a_reserved_task_takes_room_elsewhere_when_that_comes_first() -> None:
    world = crowded(cores=2.0, workers=2)
    world.submit("large", cpu=2.0, deadline=world.now + 1e6)
    world.wait(31.0, "w0", "w1")
    world.place()
    ((_, kept),) = world.reserved().items()
    other = "w1" if kept == "w0" else "w0"
    for task_id in [t for t, s in world.store.statuses.items() if s.worker_id == other]:
        world.finish(task_id)
    assert world.placed() == [("large", other)]
    for k in range(2):
        world.submit(f"n{k}")
    world.finish(next(t for t, s in world.store.statuses.items() if s.worker_id == kept))
    assert world.placed()[0][1] == kept, "its worker is everyone's again"


def test_the_worker_that_will_have_room_first_is_reserved() -> None:
    world = World()
    # τ: cpu-light 5 s, memory-heavy 20 s, gpu-training 60 s.
    for k, task_type in enumerate(("gpu-training", "memory-heavy", "gpu-training")):
        world.worker(f"w{k}", cpu=2.0)
        world.running(f"long{k}", f"w{k}", task_type=task_type, cpu=2.0)
    world.submit("large", cpu=2.0, deadline=world.now + 1e6)
    world.wait(31.0, "w0", "w1", "w2")
    world.place()
    # By then w1's task is overdue by 11 s and given as much again; the others have 29 s to go.
    assert world.reserved() == {"large": "w1"}


def test_a_worker_that_is_ending_a_cancelled_task_will_have_room_first() -> None:
    world = World()
    for k, task_type in enumerate(("memory-heavy", "gpu-training")):
        world.worker(f"w{k}", cpu=2.0)
        world.running(f"long{k}", f"w{k}", task_type=task_type, cpu=2.0)
    world.submit("large", cpu=2.0, deadline=world.now + 1e6)
    world.wait(31.0, "w0", "w1")
    world.cancel("long1")
    world.place()
    assert world.reserved() == {"large": "w1"}


def test_a_task_that_does_not_end_makes_way_for_a_better_prediction() -> None:
    world = World()
    for k in range(2):
        world.worker(f"w{k}", cpu=2.0)
    world.running("endless", "w0", cpu=2.0)
    world.running("long", "w1", task_type="gpu-training", cpu=2.0)
    world.submit("large", cpu=2.0, deadline=world.now + 1e6)
    world.wait(31.0, "w0", "w1")
    world.place()
    assert world.reserved() == {"large": "w0"}
    world.wait(90.0, "w0", "w1")
    world.place()
    assert world.reserved() == {"large": "w1"}


def test_at_most_an_eighth_of_the_workers_is_reserved_the_longest_waiting_first() -> None:
    for workers, most in ((1, 1), (7, 1), (16, 2)):
        world = crowded(cores=2.0, workers=workers)
        for k in range(4):
            world.submit(f"large{k}", cpu=2.0, deadline=world.now + 1e6 - k)
            world.now += 0.1
        world.wait(32.0, *(f"w{k}" for k in range(workers)))
        world.place()
        assert sorted(world.reserved()) == [f"large{k}" for k in range(most)]


def test_a_reservation_ends_when_its_task_is_cancelled() -> None:
    world = crowded(cores=2.0)
    world.submit("large", cpu=2.0, deadline=world.now + 1e6)
    world.submit("small", deadline=world.now + 2e6)
    world.wait(31.0, "w0")
    world.place()
    world.finish("s0")
    assert world.placed() == []
    world.cancel("large")
    assert world.reserved() == {}
    assert world.placed() == [("small", "w0")]


@pytest.mark.parametrize("event", ["drain", "leave", "silence", "shrink"])
def test_a_reservation_moves_on_when_its_worker_cannot_be_waited_for(event: str) -> None:
    world = crowded(cores=2.0, workers=2)
    world.submit("large", cpu=2.0, deadline=world.now + 1e6)
    world.wait(31.0, "w0", "w1")
    world.place()
    kept = world.reserved()["large"]
    other = "w1" if kept == "w0" else "w0"
    if event == "drain":
        world.drain(kept)
    elif event == "leave":
        world.leave(kept)
    elif event == "silence":
        world.wait(7.0, other)
    else:
        world.worker(kept, cpu=1.0, live=None)
    world.place()
    assert world.reserved() == {"large": other}


def test_a_task_that_waits_again_after_a_loss_waits_from_then() -> None:
    world = World()
    world.worker("w0", cpu=2.0)
    world.running("large", "w0", cpu=2.0, deadline=world.now + 1e6)
    world.worker("w1", cpu=2.0)
    world.running("busy", "w1", cpu=2.0)
    world.wait(40.0, "w0", "w1")
    world.leave("w0")
    world.wait(30.0, "w1")
    world.place()
    assert world.reserved() == {}
    world.wait(1.0, "w1")
    world.place()
    assert world.reserved() == {"large": "w1"}


def test_hopeless_tasks_take_at_most_an_eighth_of_what_runs_by_reservation() -> None:
    """Overload: everything that waits is hopeless and starves in the end; new tasks can still make it."""
    seed = 20_240
    rng = random.Random(seed)
    world = crowded(cores=4.0, workers=4)
    for k in range(60):
        world.submit(f"h{k}", deadline=1.0)
    world.wait(40.0, "w0", "w1", "w2", "w3")
    world.place()
    hopeless_first = 0
    for k in range(200):
        world.submit(f"s-new{k}", deadline=world.now + 1e6)
        world.finish(rng.choice(placed_tasks(world)))
        hopeless_first += sum(t[0] == "h" for t, _ in world.placed())
        hopeless = sum(t[0] == "h" for t in placed_tasks(world))
        assert hopeless <= len(placed_tasks(world)) // 8, f"seed {seed}, step {k}"
    assert 1 <= hopeless_first <= 40, f"seed {seed}: {hopeless_first} of 200"


def test_every_starving_task_runs_in_the_end_under_a_stream_of_small_ones() -> None:
    world = crowded(cores=4.0, workers=2)
    for k in range(3):
        world.submit(f"large{k}", cpu=4.0, deadline=world.now + (1e6 if k else -1.0))
    for k in range(200):
        churn(world, 1, f"x{k}-")
        for task_id in [t for t in ("large0", "large1", "large2") if world.state(t) is TaskState.ASSIGNED]:
            world.finish(task_id)
    assert [world.state(f"large{k}") for k in range(3)] == [TaskState.COMPLETED] * 3


def test_hopeless_tasks_that_ask_at_once_share_what_is_left_to_them() -> None:
    world = World()
    for k in range(16):
        world.worker(f"w{k}", cpu=2.0)
    for k in range(8, 16):
        world.drain(f"w{k}")
    for k in range(8):
        world.submit(f"s{k}", cpu=2.0, deadline=1e6)
    assert len(world.placed()) == 8
    for k in range(2):
        world.submit(f"hopeless{k}", cpu=2.0, deadline=1.0)
    world.wait(31.0, *(f"w{k}" for k in range(16)))
    world.place()
    # Two of sixteen workers may be reserved, but an eighth of the eight attempts is one.
    assert list(world.reserved()) == ["hopeless0"]
    for k in range(2):
        world.submit(f"hopeful{k}", cpu=2.0, memory=1.0, deadline=world.now + 1e6)
    world.wait(31.0, *(f"w{k}" for k in range(16)))
    world.place()
    assert list(world.reserved()) == ["hopeless0", "hopeful0"]


def test_when_workers_go_the_reservations_of_those_that_waited_least_are_given_up() -> None:
    world = crowded(cores=2.0, workers=16)
    for k in range(2):
        world.submit(f"large{k}", cpu=2.0, deadline=world.now + 1e6 - k)
        world.now += 0.1
    alive = [f"w{k}" for k in range(16)]
    world.wait(31.0, *alive)
    world.place()
    kept = world.reserved()
    assert list(kept) == ["large0", "large1"]
    world.leave(next(w for w in alive if w not in kept.values()))
    world.place()
    assert world.reserved() == {"large0": kept["large0"]}


def test_a_task_that_only_a_worker_it_avoids_has_room_for_gives_its_reservation_up() -> None:
    world = crowded(cores=2.0, workers=2)
    world.submit("large", cpu=2.0, deadline=world.now + 1e6)
    world.wait(31.0, "w0", "w1")
    world.place()
    kept = world.reserved()["large"]
    other = "w1" if kept == "w0" else "w0"
    # The other worker still runs an older attempt of it, says its heartbeat.
    world.heartbeat(other, ("large", 7))
    for task_id in [t for t, s in world.store.statuses.items() if s.worker_id == other]:
        world.finish(task_id)
    assert world.placed() == []
    assert "older attempt" in world.why("large")
    assert world.reserved() == {}
    world.wait(2.5, "w0", "w1")
    assert world.placed() == [("large", other)]


def test_a_task_that_was_left_alone_after_it_began_to_starve_starves_again() -> None:
    world = World()
    world.worker("w", cpu=2.0)
    world.submit("large", cpu=2.0, deadline=world.now + 1e6)
    for _ in range(35):
        world.heartbeat("w", ("large", 7))
        world.wait(1.0, "w")
        assert world.placed() == []
    world.heartbeat("w", ("large", 7))
    for k in range(2):
        world.submit(f"s{k}", deadline=world.now + 1e6)
    assert len(world.placed()) == 2
    world.wait(2.5, "w")
    world.place()
    assert world.reserved() == {"large": "w"}


def test_reserving_looks_at_a_bounded_number_of_workers() -> None:
    world = World()
    handle = world.cluster.handle
    for k in range(2_000):
        handle(RegisterWorker(WorkerRecord(f"w{k}", 2.0, 1.0, 0.0, 0.0), ()), world.now)
        handle(Submit(Submission(f"s{k}", command="true", cpu=1.0, deadline=1e6)), world.now)
    handle(Place(), world.now)
    handle(Submit(Submission("large", command="true", cpu=2.0, deadline=1e6)), world.now)
    for k in range(2_000):
        handle(Submit(Submission(f"r{k}", command="true", cpu=1.0, deadline=1e6)), world.now)
    handle(Place(), world.now)
    looked = 0
    room = world.cluster._members.room

    def counting(member: object) -> object:
        nonlocal looked
        looked += 1
        return room(member)  # type: ignore[arg-type]

    world.cluster._members.room = counting  # type: ignore[method-assign, assignment]
    world.now += 31.0
    handle(Place(), world.now)
    assert list(world.reserved()) == ["large"]
    assert looked == 128
