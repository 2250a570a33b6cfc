"""What is accepted, what is settled at submission, and what the same id means."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from core_world import World, kinds, of

from master.errors import InvalidRequestError, TaskExistsError
from master.events import InsertTask, Submit, TaskChanged
from master.records import StoredTask, Submission, TaskState


def test_an_accepted_task_is_inserted_before_anyone_is_told() -> None:
    world = World()
    effects = world.submit("a", cpu=2.0)
    assert kinds(effects) == ["InsertTask", "TaskChanged"]
    (inserted,) = of(InsertTask, effects)
    assert (inserted.spec.task_type, inserted.spec.tau, inserted.spec.sla_multiplier) == (
        "cpu-light",
        5.0,
        2.0,
    )
    assert inserted.spec.deadline == world.now + 2.0 * 5.0
    assert world.state("a") is TaskState.QUEUED
    assert world.cluster.queue_depth == 1


def test_what_the_client_settles_is_taken_over() -> None:
    world = World(sla_multiplier=4.0)
    world.submit("a", task_type="gpu-training", sla_multiplier=3.0)
    world.submit("b", deadline=1234.5)
    a, b = world.store.specs["a"], world.store.specs["b"]
    assert (a.task_type, a.tau, a.deadline) == ("gpu-training", 60.0, world.now + 180.0)
    assert (b.sla_multiplier, b.deadline) == (4.0, 1234.5)


def test_a_deadline_that_has_passed_is_accepted() -> None:
    world = World()
    world.worker("w")
    world.submit("a", deadline=1.0)
    assert world.placed() == [("a", "w")]
    world.finish("a")
    assert world.status("a").sla_success is False


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[
            (f, v)
            for f in ("cpu", "memory", "gpu", "storage")
            for v in (-1.0, math.nan, math.inf, 2.0**20 + 1)
        ],
        ("task_type", "cpu"),
        ("sla_multiplier", -1.0),
        ("sla_multiplier", math.nan),
        ("sla_multiplier", math.inf),
        ("sla_multiplier", 1e300),
        ("deadline", math.nan),
        ("deadline", math.inf),
        ("deadline", -5.0),
        ("time_limit_s", -1.0),
        ("time_limit_s", math.nan),
        ("command", ""),
        ("command", "a\0b"),
        ("command", "x" * 131_072),
        ("command", "\ud800"),
        ("task_id", ""),
        ("task_id", ".."),
        ("task_id", "a/b"),
        ("task_id", "a\nb"),
        ("task_id", "x" * 201),
        ("task_id", "ü" * 101),
        ("user_id", "x" * 257),
        ("user_id", "\t"),
        ("docker_image", "x" * 1025),
    ],
)
def test_a_field_out_of_bounds_is_refused_by_name_and_nothing_changes(field: str, value: Any) -> None:
    world = World()
    submission = msgspec.structs.replace(Submission("a", command="true"), **{field: value})
    with pytest.raises(InvalidRequestError) as caught:
        world.do(Submit(submission))
    assert caught.value.field == field
    assert "allowed" in str(caught.value)
    assert len(str(caught.value)) < 600
    assert world.cluster.queue_depth == 0
    assert world.cluster.counts()[TaskState.QUEUED] == 0


@pytest.mark.parametrize(
    "fields",
    [
        {"cpu": 2.0**20, "memory": 0.0},
        {"cpu": 0.0},
        {"command": "x" * 131_071},
        {"command": "", "docker_image": "busybox:1"},
        {"user_id": "jürgen müller"},
        {"command": "printf 'a\nb'\t# two lines"},
    ],
)
def test_what_is_just_within_bounds_is_accepted(fields: dict[str, Any]) -> None:
    world = World()
    world.submit("ü" * 100, **fields)
    assert world.cluster.queue_depth == 1


def test_the_same_submission_again_is_a_success_without_effects() -> None:
    world = World()
    world.submit("a", memory=2.0)
    world.now += 5.0
    assert world.submit("a", memory=2.0) == []
    assert world.do(Submit(Submission("a", command="true", cpu=1.0, memory=2.0, id_given=False))) == []
    assert world.cluster.task("a") is not None
    assert world.cluster.queue_depth == 1


def test_the_id_of_a_task_of_other_content_is_refused() -> None:
    world = World()
    world.submit("a")
    with pytest.raises(TaskExistsError, match="'a'"):
        world.submit("a", memory=1.0)
    assert world.cluster.queue_depth == 1


def test_a_task_that_only_the_store_knows_counts_as_known() -> None:
    world = World(keep_finished=1)
    world.worker("w")
    for task_id in ("a", "b"):
        world.running(task_id, "w")
        world.finish(task_id)
    assert world.cluster.task("a") is None
    known = StoredTask(world.store.specs["a"], world.store.statuses["a"])
    assert world.do(Submit(known.spec.submission, known)) == []
    other = msgspec.structs.replace(known.spec.submission, command="false")
    with pytest.raises(TaskExistsError):
        world.do(Submit(other, known))


def test_finished_tasks_are_remembered_up_to_the_bound_the_oldest_forgotten_first() -> None:
    world = World(keep_finished=3)
    world.worker("w")
    for task_id in "abcde":
        world.running(task_id, "w")
        world.finish(task_id)
    assert [t for t in "abcde" if world.cluster.task(t) is not None] == ["c", "d", "e"]
    assert world.cluster.counts()[TaskState.COMPLETED] == 5


def test_submission_uses_what_tau_has_become() -> None:
    world = World()
    world.worker("w")
    world.running("a", "w")
    world.now += 30.0
    world.finish("a", runtime_s=30.0)
    world.submit("b")
    assert world.store.specs["b"].tau == pytest.approx(0.2 * 30.0 + 0.8 * 5.0)
    assert world.store.specs["a"].tau == 5.0


def test_watchers_hear_of_each_state() -> None:
    world = World()
    world.worker("w")
    heard = [e.status.state for e in of(TaskChanged, world.submit("a"))]
    heard += [e.status.state for e in of(TaskChanged, world.place())]
    heard += [e.status.state for e in of(TaskChanged, world.start("a"))]
    heard += [e.status.state for e in of(TaskChanged, world.finish("a"))]
    assert heard == [TaskState.QUEUED, TaskState.ASSIGNED, TaskState.RUNNING, TaskState.COMPLETED]
