"""WorkerSession: what a worker may do, what becomes of it when its connection breaks."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from peers import SessionWorker, config, ref, serving, until

import master.sessions
from rtscore.rpc import cluster_pb2, scheduler_pb2

Ref, Spec = scheduler_pb2.TaskRef, scheduler_pb2.TaskSpec


async def _refused(worker: SessionWorker) -> grpc.aio.AioRpcError:
    error = await until(lambda: worker.ended)
    assert isinstance(error, grpc.aio.AioRpcError)
    await worker.close()
    return error


async def test_the_first_message_down_is_the_welcome_with_the_interval(tmp_path: Any) -> None:
    settings = config(tmp_path, heartbeat_interval_s=0.7)
    async with serving(settings) as (server, _), SessionWorker(server.address) as worker:
        assert worker.welcome.heartbeat_interval_s == 0.7
        assert worker.welcome.master_id
        assert worker.messages == 1


async def test_a_session_that_does_not_begin_with_hello_is_refused(tmp_path: Any) -> None:
    async with serving(config(tmp_path)) as (server, _):
        worker = SessionWorker(server.address)
        await worker.open()
        await worker.heartbeat()
        error = await _refused(worker)
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "hello" in error.details()


async def test_a_session_that_says_nothing_is_ended(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(master.sessions, "HELLO_TIMEOUT_S", 0.05)
    async with serving(config(tmp_path)) as (server, _):
        worker = SessionWorker(server.address)
        await worker.open()
        assert (await _refused(worker)).code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_hello_that_is_refused_leaves_the_session_in_use_alone(tmp_path: Any) -> None:
    async with serving(config(tmp_path)) as (server, stub), SessionWorker(server.address) as worker:
        wrong = await SessionWorker(server.address, total_cpu=-1.0).connect()
        error = await _refused(wrong)
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "cpu" in error.details()
        await stub.SubmitTask(Spec(command="true"))
        await worker.next_assignment()


async def test_a_second_session_of_a_worker_replaces_the_first(tmp_path: Any) -> None:
    async with serving(config(tmp_path)) as (server, stub):
        first = await SessionWorker(server.address).connect()
        async with SessionWorker(server.address) as second:
            assert (await _refused(first)).code() is grpc.StatusCode.ABORTED
            await stub.SubmitTask(Spec(command="true"))
            await second.next_assignment()
            (state,) = (await stub.ListWorkers(scheduler_pb2.ListWorkersRequest())).workers
            assert state.state == "active"


async def test_while_a_worker_is_heard_another_process_of_its_id_is_refused(tmp_path: Any) -> None:
    async with serving(config(tmp_path, heartbeat_interval_s=20.0)) as (server, stub):
        async with SessionWorker(server.address, instance="one") as first:
            twin = await SessionWorker(server.address, instance="two").connect()
            refusal = await _refused(twin)
            assert refusal.code() is grpc.StatusCode.ALREADY_EXISTS
            assert "another process is worker w1 already" in refusal.details()
            await stub.SubmitTask(Spec(command="true"))
            await first.next_assignment()
            async with SessionWorker(server.address, instance="one"):
                assert (await _refused(first)).code() is grpc.StatusCode.ABORTED
        async with SessionWorker(server.address, instance="two") as next_one:
            assert next_one.welcome


async def test_another_process_replaces_a_worker_that_fell_silent(tmp_path: Any) -> None:
    async with serving(config(tmp_path, heartbeat_interval_s=0.1)) as (server, _):
        first = await SessionWorker(server.address, instance="one").connect()

        async def let_in() -> bool:
            twin = await SessionWorker(server.address, instance="two").connect()
            return twin.welcome is not None

        await until(let_in)
        assert (await _refused(first)).code() is grpc.StatusCode.ABORTED


async def test_what_is_ready_together_goes_down_in_one_message(tmp_path: Any) -> None:
    async with serving(config(tmp_path)) as (server, stub), SessionWorker(server.address) as worker:
        specs = [Spec(command="true", cpu=0.01) for _ in range(200)]
        await stub.SubmitTasks(scheduler_pb2.SubmitTasksRequest(tasks=specs))
        await until(lambda: len(worker.assignments) == 200)
        # The welcome, the batch, and one more if the loop turned in between.
        assert worker.messages <= 3


async def test_a_result_is_confirmed_only_after_it_is_in_the_store(tmp_path: Any) -> None:
    async with serving(config(tmp_path)) as (server, stub), SessionWorker(server.address) as worker:
        await stub.SubmitTask(Spec(task_id="t", command="true"))
        task = await worker.next_assignment()
        commit, let_go = server.store.commit, asyncio.Event()

        async def slow(writes: Any) -> None:
            await let_go.wait()
            await commit(writes)

        server.store.commit = slow  # type: ignore[method-assign]
        await worker.finished(task)
        await worker.finished(task)
        await until(lambda: server.master.cluster.task("t").status.state.terminal)
        await worker.heartbeat()
        assert worker.recorded == []
        let_go.set()
        await until(lambda: worker.recorded == [("t", 1), ("t", 1)])
        assert await server.store.result("t") is not None


async def test_a_broken_connection_takes_the_worker_out_of_placement_at_once(tmp_path: Any) -> None:
    async with serving(config(tmp_path, heartbeat_interval_s=60.0)) as (server, stub):
        worker = await SessionWorker(server.address).connect()
        await worker.close()

        async def inactive() -> bool:
            (state,) = (await stub.ListWorkers(scheduler_pb2.ListWorkersRequest())).workers
            return state.state == "inactive"

        await until(inactive)
        await stub.SubmitTask(Spec(task_id="t", command="true"))
        assert (await stub.GetTask(Ref(task_id="t"))).attempt == 0
        async with SessionWorker(server.address) as back:
            assert (await back.next_assignment()).attempt == 1


async def test_a_worker_that_comes_back_keeps_what_it_runs_and_loses_what_it_does_not_name(
    tmp_path: Any,
) -> None:
    async with serving(config(tmp_path)) as (server, stub):
        worker = await SessionWorker(server.address).connect()
        for name in ("kept", "lost"):
            await stub.SubmitTask(Spec(task_id=name, command="true"))
        await until(lambda: len(worker.assignments) == 2)
        await worker.close()
        async with await SessionWorker(server.address).connect(live=[("kept", 1), ("strange", 4)]) as back:
            again = await back.next_assignment()
            assert (again.task_id, again.attempt) == ("lost", 2)
            assert back.cancels == [("strange", 4)]
            assert (await stub.GetTask(Ref(task_id="kept"))).attempt == 1


async def test_a_goodbye_gives_up_what_runs_and_removes_the_worker(tmp_path: Any) -> None:
    async with serving(config(tmp_path, heartbeat_interval_s=60.0)) as (server, stub):
        worker = await SessionWorker(server.address).connect()
        await stub.SubmitTask(Spec(task_id="t", command="true"))
        await worker.next_assignment()
        await worker.send(leaving=True)
        assert await until(lambda: worker.ended) is True
        assert not (await stub.ListWorkers(scheduler_pb2.ListWorkersRequest())).workers
        assert (await stub.GetTask(Ref(task_id="t"))).state == scheduler_pb2.QUEUED
        await worker.close()


async def test_a_refused_assignment_goes_back_to_the_queue_and_to_another_worker(tmp_path: Any) -> None:
    async with serving(config(tmp_path)) as (server, stub), SessionWorker(server.address, "w1") as first:
        await stub.SubmitTask(Spec(task_id="t", command="true"))
        task = await first.next_assignment()
        async with SessionWorker(server.address, "w2") as second:
            refused = scheduler_pb2.AttemptRefused(attempt=ref("t", task.attempt), reason="no")
            await first.send(refused=[refused])
            assert (await second.next_assignment()).attempt == 2


async def test_a_worker_that_was_lost_is_told_to_register_again(tmp_path: Any) -> None:
    settings = config(tmp_path, heartbeat_interval_s=0.05, worker_grace_s=0.05)
    async with serving(settings) as (server, stub):
        worker = await SessionWorker(server.address).connect()
        error = await _refused(worker)
        assert error.code() is grpc.StatusCode.NOT_FOUND
        assert "register" in error.details()
        assert not (await stub.ListWorkers(scheduler_pb2.ListWorkersRequest())).workers


async def test_heartbeats_keep_a_worker_and_tell_its_load(tmp_path: Any) -> None:
    async with serving(config(tmp_path)) as (server, stub), SessionWorker(server.address) as worker:
        await worker.heartbeat(cpu_usage=0.5, memory_usage=0.5)

        async def loaded() -> bool:
            (state,) = (await stub.ListWorkers(scheduler_pb2.ListWorkersRequest())).workers
            return bool(state.load == pytest.approx(0.5))

        await until(loaded)


async def test_a_result_with_a_status_of_its_own_ends_the_session(tmp_path: Any) -> None:
    async with serving(config(tmp_path)) as (server, stub):
        worker = await SessionWorker(server.address).connect()
        await stub.SubmitTask(Spec(task_id="t", command="true"))
        await worker.finished(await worker.next_assignment(), status="splendid")
        error = await _refused(worker)
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "splendid" in error.details()


async def test_a_worker_that_does_not_read_is_let_go(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(master.sessions, "BACKLOG", 3)
    async with serving(config(tmp_path, heartbeat_interval_s=60.0)) as (server, stub):
        worker = SessionWorker(server.address)
        await worker.open(reading=False)
        await worker.hello()
        await until(lambda: server.master.links)
        for _ in range(80):
            await stub.SubmitTask(Spec(command="x" * 130_000, cpu=0.01))
        # Its connection is intact and its stream full: only the backlog tells.
        await until(lambda: not server.master.links)

        async def given_back() -> bool:
            tasks = (await stub.ListTasks(scheduler_pb2.ListTasksRequest(page_size=15))).tasks
            return any(task.state == scheduler_pb2.QUEUED and task.attempt == 1 for task in tasks)

        await until(given_back)
        await worker.close()


async def test_much_text_goes_down_in_messages_below_the_limit(tmp_path: Any) -> None:
    async with serving(config(tmp_path)) as (server, stub):
        for _ in range(60):
            await stub.SubmitTask(Spec(command="x" * 130_000, cpu=0.01))
        async with SessionWorker(server.address) as worker:
            await until(lambda: worker.ended or len(worker.assignments) == 60)
            assert len(worker.assignments) == 60
            assert 7 <= worker.messages <= 10


async def test_a_message_beyond_the_limit_ends_the_session_and_the_worker_may_come_again(
    tmp_path: Any,
) -> None:
    async with serving(config(tmp_path)) as (server, stub):
        worker = await SessionWorker(server.address).connect()
        await stub.SubmitTask(Spec(task_id="t", command="true"))
        task = await worker.next_assignment()
        await worker.finished(task, logs="x" * 17_000_000)
        error = await until(lambda: worker.ended)
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "16777216" in error.details()
        worker.ended, worker.welcome = False, None
        await worker.connect(live=[("t", 1)])
        await worker.finished(task, logs="x")
        await until(lambda: worker.recorded == [("t", 1)])
        await worker.close()


async def test_a_worker_that_says_that_it_stops_gets_nothing_until_it_says_hello_again(tmp_path: Any) -> None:
    async with serving(config(tmp_path)) as (server, stub), SessionWorker(server.address) as worker:
        await worker.send(draining=True)

        async def state(wanted: str) -> bool:
            (found,) = (await stub.ListWorkers(scheduler_pb2.ListWorkersRequest())).workers
            return bool(found.state == wanted)

        await until(lambda: state("stopping"))
        await worker.heartbeat()
        await stub.SubmitTask(Spec(task_id="t", command="true"))
        info = await stub.GetTask(Ref(task_id="t"))
        assert (info.state, info.attempt) == (scheduler_pb2.QUEUED, 0)
        assert "stopping" in info.reason
        again = SessionWorker(server.address)
        await again.open()
        await again.hello(draining=True)
        await until(lambda: again.welcome)
        assert await state("stopping")
        async with SessionWorker(server.address) as back:
            assert (await back.next_assignment()).attempt == 1
        await again.close()


async def test_sessions_get_what_waits_for_them_before_the_master_stops(tmp_path: Any) -> None:
    async with serving(config(tmp_path)) as (server, stub):
        worker = await SessionWorker(server.address).connect()
        await stub.SubmitTask(Spec(task_id="t", command="true"))
        await worker.finished(await worker.next_assignment())
        await until(lambda: server.master.cluster.task("t").status.state.terminal)
        await server.stop()
        assert await until(lambda: worker.ended) is True
        assert worker.recorded == [("t", 1)]
        await worker.close()


async def test_a_session_that_breaks_while_it_is_greeted_ends_for_the_worker_too(tmp_path: Any) -> None:
    """The status behind a write that is cancelled under way is lost in one of twenty; here in none."""

    async def broken(address: str, number: int) -> None:
        worker = SessionWorker(address, f"w{number}")
        await worker.open()
        await worker.hello()
        await worker.send(finished=[cluster_pb2.TaskResult(task_id="t", status="splendid")])
        assert (await _refused(worker)).code() is grpc.StatusCode.INVALID_ARGUMENT

    async with serving(config(tmp_path)) as (server, _):
        for begin in range(0, 240, 24):
            await asyncio.gather(*(broken(server.address, begin + k) for k in range(24)))
