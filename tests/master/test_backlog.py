"""The queue as a reader sees it: the order of placing, page by page, to a depth; and what is in it."""

from __future__ import annotations

import pytest
from core_world import World

from master import backlog
from master.backlog import QueuePage
from master.queue import Key
from master.records import StoredTask


def anything(task: StoredTask) -> bool:
    return True


def ids(page: QueuePage) -> list[str]:
    return [task.spec.task_id for _, task in page.tasks]


def queue(world: World, limit: int = 100, after: Key | None = None) -> QueuePage:
    return world.cluster.queue_page(limit, after, anything)


def waiting(count: int) -> World:
    """A busy worker, and tasks of two sizes that wait for it, the last submitted the first to go."""
    world = World()
    world.worker("w", cpu=1.0)
    world.running("busy", "w", deadline=1e6)
    for number in range(count):
        world.submit(f"t{number}", cpu=0.5 + number % 2 / 2, deadline=world.now + 500.0 - number)
    return world


def test_pages_join_to_the_order_in_which_tasks_are_placed() -> None:
    world = waiting(9)
    names, page = [], queue(world, 4)
    while page.last is not None:
        names += ids(page)
        page = queue(world, 4, page.last)
    names += ids(page)
    assert names == [f"t{n}" for n in reversed(range(9))]


def test_what_lost_hope_comes_after_what_has_it_and_what_pauses_last() -> None:
    world = World()
    world.worker("w", cpu=1.0)
    world.submit("refused", cpu=1.0, deadline=world.now + 100.0)
    assert [task_id for task_id, _ in world.placed()] == ["refused"]
    world.submit("late", cpu=64.0, deadline=world.now - 1.0)
    world.submit("soon", cpu=64.0, deadline=world.now + 500.0)
    world.refuse("refused")
    world.place()
    assert ids(queue(world)) == ["soon", "late", "refused"]
    found = world.cluster.overview(world.now)
    assert (found.waiting, found.hopeless) == ({"reserved": 0, "refused": 1, "impossible": 2, "room": 0}, 1)
    world.now += 200.0
    assert world.cluster.overview(world.now).hopeless == 2, "what pauses can lose hope too"


def test_a_page_looks_no_further_than_the_depth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "DEPTH", 5)
    world = waiting(9)
    page = queue(world, 3)
    assert ids(page) == ["t8", "t7", "t6"]
    page = queue(world, 3, page.last)
    assert (ids(page), page.last) == (["t5", "t4"], None)
    page = world.cluster.queue_page(3, None, lambda task: task.spec.task_id == "t0")
    assert page == QueuePage([], None)


def test_reading_the_queue_changes_nothing_in_it() -> None:
    world = waiting(6)
    first = queue(world)
    world.now += 499.0
    world.place()
    world.cluster.check()
    assert set(ids(queue(world))) == set(ids(first))
    assert world.cluster.overview(world.now).hopeless == 6
    world.cluster.check()


def test_the_largest_parts_of_the_queue_say_why_they_wait() -> None:
    world = waiting(5)
    for number in range(7):
        world.submit(f"big{number}", cpu=64.0, deadline=world.now + 500.0)
    reasons = world.cluster.queue_reasons()
    assert reasons[0] == ("needs cpu 64; the largest worker has 1", 7)
    assert reasons[1] == ("waits for room: 1 worker could run it when it has room", 5)
