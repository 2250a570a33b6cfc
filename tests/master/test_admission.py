"""The limits on queued tasks: what counts, who is refused, and that a batch is taken whole or not at all."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from core_world import World
from peers import SessionWorker, config, refusal, serving, until

import master.runner
from master.records import StoredTask, Submission, TaskState
from rtscore.rpc import scheduler_pb2

Spec, Batch = scheduler_pb2.TaskSpec, scheduler_pb2.SubmitTasksRequest

EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]


def batch(*task_ids: str, **fields: Any) -> Batch:
    return Batch(tasks=[Spec(**{"task_id": task_id, "command": "true"} | fields) for task_id in task_ids])


def codes(reply: scheduler_pb2.SubmitTasksReply) -> list[int]:
    """0 for what was accepted."""
    return [outcome.error.code for outcome in reply.outcomes]


async def test_a_full_queue_refuses_with_a_sentence_and_takes_tasks_when_there_is_room(tmp_path: Any) -> None:
    async with serving(config(tmp_path, max_queued=2)) as (server, stub):
        for name in ("a", "b"):
            await stub.SubmitTask(Spec(task_id=name, command="true"))
        error = await refusal(stub.SubmitTask(Spec(task_id="c", command="true")))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert error.details() == (
            "2 tasks are queued and 1 more came; the master queues at most 2 (RTS_MAX_QUEUED)"
        )
        async with SessionWorker(server.address) as worker:
            await until(lambda: len(worker.assignments) == 2)
            await stub.SubmitTask(Spec(task_id="c", command="true"))


async def test_the_limit_of_a_user_is_that_users(tmp_path: Any) -> None:
    async with serving(config(tmp_path, max_queued_per_user=1)) as (_, stub):
        for user in ("ann", "bob", ""):
            await stub.SubmitTask(Spec(command="true", user_id=user))
            error = await refusal(stub.SubmitTask(Spec(command="true", user_id=user)))
            assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "RTS_MAX_QUEUED_PER_USER" in error.details()
            assert (f"user {user!r}" if user else "without a user") in error.details()


async def test_what_was_accepted_once_is_never_refused_for_the_limit(tmp_path: Any) -> None:
    async with serving(config(tmp_path, max_queued=2, max_queued_per_user=2)) as (_, stub):
        await stub.SubmitTasks(batch("a", "b"))
        assert (await stub.SubmitTask(Spec(task_id="a", command="true"))).spec.task_id == "a"
        assert codes(await stub.SubmitTasks(batch("a", "b"))) == [0, 0]
        assert codes(await stub.SubmitTasks(batch("a", "c", "b"))) == [0, EXHAUSTED, 0]


async def test_a_batch_is_taken_whole_or_not_at_all(tmp_path: Any) -> None:
    async with serving(config(tmp_path, max_queued=3)) as (server, stub):
        await stub.SubmitTask(Spec(task_id="a", command="true"))
        assert codes(await stub.SubmitTasks(batch("b", "c", "d"))) == [EXHAUSTED] * 3
        assert server.master.cluster.queue_depth == 1
        assert codes(await stub.SubmitTasks(batch("b", "c"))) == [0, 0]


async def test_one_user_beyond_a_limit_spoils_the_whole_batch(tmp_path: Any) -> None:
    async with serving(config(tmp_path, max_queued_per_user=1)) as (server, stub):
        mixed = Batch(tasks=[Spec(command="true", user_id=user) for user in ("ann", "bob", "ann")])
        assert codes(await stub.SubmitTasks(mixed)) == [EXHAUSTED] * 3
        assert server.master.cluster.queue_depth == 0


async def test_what_is_wrong_or_there_twice_takes_no_place(tmp_path: Any) -> None:
    async with serving(config(tmp_path, max_queued=2)) as (_, stub):
        request = batch("a", "b", "a")
        request.tasks.add(task_id="wrong", command="true", cpu=-1.0)
        assert codes(await stub.SubmitTasks(request)) == [
            0,
            0,
            0,
            grpc.StatusCode.INVALID_ARGUMENT.value[0],
        ]
        again = batch("c")
        again.tasks.add(task_id="wrong", command="true", cpu=-1.0)
        assert codes(await stub.SubmitTasks(again)) == [
            EXHAUSTED,
            grpc.StatusCode.INVALID_ARGUMENT.value[0],
        ]


async def test_batches_that_come_at_once_do_not_exceed_the_limit_together(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So that each is taken in several steps, with the others between them.
    monkeypatch.setattr(master.runner, "SLICE", 2)
    async with serving(config(tmp_path, max_queued=30)) as (server, stub):
        many = [[Submission(f"{n}-{k}", command="true") for k in range(12)] for n in range(6)]
        answers = await asyncio.gather(*map(server.master.submit, many))
        accepted = [[isinstance(answer, StoredTask) for answer in answer_of] for answer_of in answers]
        assert accepted == [[True] * 12] * 2 + [[False] * 12] * 4
        assert server.master.cluster.queue_depth == 24
        more = codes(await stub.SubmitTasks(batch(*map(str, range(6)))))
        assert more == [0] * 6, "nothing is promised to anybody any more"


async def test_a_batch_that_is_refused_keeps_no_room_from_others(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(master.runner, "SLICE", 2)
    async with serving(config(tmp_path, max_queued=5)) as (server, _):
        many = [Submission(f"m-{k}", command="true") for k in range(8)]
        answers = await asyncio.gather(
            *map(server.master.submit, (many, [Submission("one", command="true")]))
        )
        assert [isinstance(answer, StoredTask) for answer in answers[0]] == [False] * 8
        assert isinstance(answers[1][0], StoredTask)


def test_a_task_that_is_queued_again_counts_and_is_not_refused() -> None:
    world = World(max_queued=1)
    world.worker("w")
    world.running("a", "w")
    world.submit("b", cpu=64.0)
    world.leave("w")
    assert (world.state("a"), world.cluster.queue_depth) == (TaskState.QUEUED, 2)
    assert world.cluster.admission.check([""]) is not None
    assert world.cluster.admission.check([]) is None


def test_newcomers_are_what_would_be_new() -> None:
    world = World()
    world.submit("old")
    given_ = [Submission(t, command="true") for t in ("old", "stored", "new", "new")]
    wrong = Submission("wrong", command="")
    new = world.cluster.newcomers([*given_, wrong], {"stored"}, world.now)
    assert list(new) == ["new"]
