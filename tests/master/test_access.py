"""Whose tasks and whose worker: users see and cancel their own, workers speak for themselves."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog
from peers import SessionWorker, config, refusal, serving, until
from secured import guarded, shows

from rtscore.rpc import cluster_pb2, cluster_pb2_grpc, scheduler_pb2, scheduler_pb2_grpc

DENIED = grpc.StatusCode.PERMISSION_DENIED


def spec(task_id: str, user_id: str = "", **fields: Any) -> scheduler_pb2.TaskSpec:
    return scheduler_pb2.TaskSpec(task_id=task_id, user_id=user_id, command="true", **fields)


async def test_a_submission_without_a_user_is_the_callers(tmp_path: Path) -> None:
    async with guarded(tmp_path) as (server, stub, _):
        for name in ("alice", "bob", "root"):
            await stub.SubmitTask(spec(name), **shows(name))
            task = server.master.cluster.task(name)
            assert task is not None
            assert task.spec.submission.user_id == name


async def test_only_an_admin_submits_for_another_user(tmp_path: Path) -> None:
    async with guarded(tmp_path) as (server, stub, _):
        await stub.SubmitTask(spec("own", "alice"), **shows("alice"))
        error = await refusal(stub.SubmitTask(spec("others", "bob"), **shows("alice")))
        assert error.code() is DENIED
        assert "'bob'" in error.details()
        assert server.master.cluster.task("others") is None
        await stub.SubmitTask(spec("for", "bob"), **shows("root"))
        assert (
            await stub.GetTask(scheduler_pb2.TaskRef(task_id="for"), **shows("bob"))
        ).spec.user_id == "bob"


async def test_in_a_batch_only_the_tasks_of_others_are_refused(tmp_path: Path) -> None:
    users = ["bob", "", "alice", "root", "", "bob"]
    tasks = [spec(f"t{number}", user) for number, user in enumerate(users)]
    async with guarded(tmp_path) as (_, stub, _):
        request = scheduler_pb2.SubmitTasksRequest(tasks=tasks)
        reply = await stub.SubmitTasks(request, **shows("alice"))
    found = [o.error.code if o.HasField("error") else o.task.spec.task_id for o in reply.outcomes]
    denied = DENIED.value[0]
    assert found == [denied, "t1", "t2", denied, "t4", denied]


async def test_another_users_task_can_be_neither_seen_nor_ended(tmp_path: Path) -> None:
    ref = scheduler_pb2.TaskRef(task_id="t")
    async with guarded(tmp_path) as (server, stub, _):
        await stub.SubmitTask(spec("t"), **shows("alice"))
        log_request = cluster_pb2.TaskLogRequest(task_id="t", user_id="bob")
        watch = scheduler_pb2.WatchTasksRequest(task_ids=["t"])
        for call in (
            stub.GetTask(ref, **shows("bob")),
            stub.CancelTask(ref, **shows("bob")),
            stub.Explain(ref, **shows("bob")),
            stub.StreamTaskLogs(log_request, **shows("bob")).read(),
            stub.WatchTasks(watch, **shows("bob")).read(),
        ):
            error = await refusal(call)
            assert error.code() is DENIED
            assert "another user" in error.details()
        task = server.master.cluster.task("t")
        assert task is not None
        assert task.status.state == "queued"
        assert not server.master.watchers.count
        for name in ("alice", "root"):
            assert (await stub.GetTask(ref, **shows(name))).spec.task_id == "t"
            assert (await stub.Explain(ref, **shows(name))).task.spec.task_id == "t"
            chunk = await stub.StreamTaskLogs(cluster_pb2.TaskLogRequest(task_id="t"), **shows(name)).read()
            assert chunk.is_complete
        assert (await stub.CancelTask(ref, **shows("alice"))).state == scheduler_pb2.CANCELLED
        # Also of a finished one, which is read from the store.
        assert (await refusal(stub.CancelTask(ref, **shows("bob")))).code() is DENIED


async def test_what_is_ahead_is_counted_for_everyone_and_named_to_whom_it_belongs(tmp_path: Path) -> None:
    async with guarded(tmp_path) as (_, stub, _):
        for task_id, name in (("a", "alice"), ("b", "bob"), ("mine", "alice")):
            await stub.SubmitTask(spec(task_id, cpu=1.0), **shows(name))
        ref = scheduler_pb2.TaskRef(task_id="mine")
        for name, named in (("alice", ["a"]), ("root", ["a", "b"])):
            waiting = (await stub.Explain(ref, **shows(name))).waiting
            assert (waiting.ahead, list(waiting.ahead_ids)) == (2, named)
        planned = (await stub.Plan(scheduler_pb2.TaskSpec(cpu=1.0), **shows("bob"))).waiting
        assert (planned.ahead, list(planned.ahead_ids)) == (3, ["b"])
        error = await refusal(stub.Plan(scheduler_pb2.TaskSpec(user_id="bob"), **shows("alice")))
        assert error.code() is DENIED


async def test_an_admin_ends_anyones_task(tmp_path: Path) -> None:
    async with guarded(tmp_path) as (_, stub, _):
        await stub.SubmitTask(spec("t"), **shows("alice"))
        ended = await stub.CancelTask(scheduler_pb2.TaskRef(task_id="t"), **shows("root"))
        assert ended.state == scheduler_pb2.CANCELLED


async def test_a_listing_has_ones_own_tasks_only_page_by_page(tmp_path: Path) -> None:
    async def ids(stub: Any, name: str, **fields: Any) -> list[str]:
        found, token = [], ""
        while True:
            request = scheduler_pb2.ListTasksRequest(page_size=2, page_token=token, **fields)
            reply = await stub.ListTasks(request, **shows(name))
            found += [task.spec.task_id for task in reply.tasks]
            if not (token := reply.next_page_token):
                return sorted(found)

    async with guarded(tmp_path) as (_, stub, _):
        for number in range(3):
            for name in ("alice", "bob"):
                await stub.SubmitTask(spec(f"{name}{number}"), **shows(name))
        assert await ids(stub, "alice") == ["alice0", "alice1", "alice2"]
        assert await ids(stub, "alice", user_id="alice") == ["alice0", "alice1", "alice2"]
        assert len(await ids(stub, "root")) == 6
        assert await ids(stub, "root", user_id="bob") == ["bob0", "bob1", "bob2"]
        request = scheduler_pb2.ListTasksRequest(user_id="bob")
        assert (await refusal(stub.ListTasks(request, **shows("alice")))).code() is DENIED


async def test_a_watch_of_every_task_tells_of_ones_own_only(tmp_path: Path) -> None:
    async with guarded(tmp_path) as (server, stub, _):
        watches = {
            name: stub.WatchTasks(scheduler_pb2.WatchTasksRequest(), **shows(name))
            for name in ("alice", "root")
        }
        reads = {name: asyncio.ensure_future(watch.read()) for name, watch in watches.items()}
        await until(lambda: server.master.watchers.count == 2)
        await stub.SubmitTask(spec("b"), **shows("bob"))
        assert (await reads["root"]).spec.task_id == "b"
        await stub.SubmitTask(spec("a"), **shows("alice"))
        assert (await reads["alice"]).spec.task_id == "a"


async def test_the_id_of_another_users_task_is_no_way_to_it(tmp_path: Path) -> None:
    async with guarded(tmp_path) as (_, stub, _):
        await stub.SubmitTask(spec("t", sla_multiplier=3.0), **shows("alice"))
        error = await refusal(stub.SubmitTask(spec("t", sla_multiplier=3.0), **shows("bob")))
        assert error.code() is grpc.StatusCode.ALREADY_EXISTS
        assert "alice" not in error.details()


def hello(worker_id: str) -> scheduler_pb2.WorkerUpdate:
    info = cluster_pb2.WorkerInfo(worker_id=worker_id, total_cpu=1.0, total_memory=1.0)
    return scheduler_pb2.WorkerUpdate(hello=scheduler_pb2.WorkerHello(info=info, executors=["process"]))


@pytest.mark.parametrize(
    ("name", "worker_id", "welcome"),
    [("w1", "w1", True), ("w1", "w2", False), ("w1", "", False), ("any", "w1", True), ("any", "w7", True)],
)
async def test_a_session_is_for_the_worker_that_its_token_names(
    tmp_path: Path, name: str, worker_id: str, welcome: bool
) -> None:
    async with guarded(tmp_path) as (server, _, channel):
        call = scheduler_pb2_grpc.WorkerServiceStub(channel).WorkerSession(**shows(name))
        await call.write(hello(worker_id))
        if welcome:
            assert (await call.read()).HasField("welcome")
            call.cancel()
        else:
            error = await refusal(call.read())
            assert error.code() is DENIED
            assert "'w1'" in error.details()
            assert not server.master.cluster.workers()


async def test_a_session_that_is_refused_leaves_the_workers_own_alone(tmp_path: Path) -> None:
    async with guarded(tmp_path) as (server, _, channel):
        own = scheduler_pb2_grpc.WorkerServiceStub(channel).WorkerSession(**shows("any"))
        await own.write(hello("w2"))
        assert (await own.read()).HasField("welcome")
        other = scheduler_pb2_grpc.WorkerServiceStub(channel).WorkerSession(**shows("w1"))
        await other.write(hello("w2"))
        assert (await refusal(other.read())).code() is DENIED
        assert [worker.state for worker in server.master.cluster.workers()] == ["active"]
        own.cancel()


async def test_an_agents_unary_calls_are_for_the_worker_that_its_token_names(tmp_path: Path) -> None:
    async with guarded(tmp_path) as (server, _, channel):
        stub = cluster_pb2_grpc.MasterWorkerStub(channel)

        def calls(worker_id: str) -> list[Any]:
            info = cluster_pb2.WorkerInfo(worker_id=worker_id, worker_ip="127.0.0.1:1", total_cpu=1.0)
            result = cluster_pb2.TaskResult(worker_id=worker_id, task_id="t", status="success")
            beat = cluster_pb2.Heartbeat(worker_id=worker_id)
            return [
                (stub.RegisterWorker, info),
                (stub.SendHeartbeat, beat),
                (stub.ReportTaskCompletion, result),
            ]

        for call, message in calls("w2"):
            assert (await refusal(call(message, **shows("w1")))).code() is DENIED
        assert not server.master.cluster.workers()
        for call, message in calls("w1"):
            await call(message, **shows("w1"))
        assert [worker.worker_id for worker in server.master.cluster.workers()] == ["w1"]


async def test_without_tokens_everyone_may_do_everything(tmp_path: Path) -> None:
    async with serving(config(tmp_path)) as (server, stub), SessionWorker(server.address, "w1"):
        await stub.SubmitTask(spec("a", "alice"), **shows("bob"))
        await stub.SubmitTask(spec("b", "bob"))
        assert (await stub.GetTask(scheduler_pb2.TaskRef(task_id="a"))).spec.user_id == "alice"
        assert len((await stub.ListTasks(scheduler_pb2.ListTasksRequest())).tasks) == 2
        await stub.DrainWorker(scheduler_pb2.DrainWorkerRequest(worker_id="w1", drain=True))


async def test_what_is_refused_is_logged_in_a_sentence_however_long_it_was(tmp_path: Path) -> None:
    async with guarded(tmp_path) as (_, stub, _channel):
        with structlog.testing.capture_logs() as logs:
            await refusal(stub.SubmitTask(spec("t", "x" * 100_000), **shows("alice")))
    (said,) = [line for line in logs if line["event"] == "call refused"]
    assert len(said["reason"]) < 1000
