"""MasterWorker: agents that register, are dialled, and know nothing of attempts."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

import grpc
import pytest
from peers import UnaryAgent, config, refusal, serving, until

import master.agents
from master.events import InsertAttempt
from master.store.base import StoreSupersededError
from rtscore.rpc import cluster_pb2, scheduler_pb2

Ref, Spec = scheduler_pb2.TaskRef, scheduler_pb2.TaskSpec


async def test_an_agent_is_dialled_with_a_task_and_reports_it_without_an_attempt(tmp_path: Any) -> None:
    async with serving(config(tmp_path)) as (server, stub), UnaryAgent(server.address) as agent:
        ack = await agent.register()
        assert ack.success
        await stub.SubmitTask(Spec(task_id="t", docker_image="busybox", command="true", cpu=1))
        (task,) = await until(lambda: agent.tasks)
        assert (task.docker_image, task.command, task.req_cpu, task.task_type) == (
            "busybox",
            "true",
            1.0,
            "cpu-light",
        )
        assert task.target_worker_id == "a1"
        await until(lambda: server.master.cluster.task("t").status.state == "running")
        assert (await agent.report("t", logs="out")).success
        info = await stub.GetTask(Ref(task_id="t"))
        assert info.state == scheduler_pb2.COMPLETED
        assert info.sla_success
        assert (await agent.report("t", logs="out")).success


async def test_an_agent_that_says_no_gets_the_task_back_only_after_others(tmp_path: Any) -> None:
    async with (
        serving(config(tmp_path)) as (server, stub),
        UnaryAgent(server.address, "a1") as first,
        UnaryAgent(server.address, "a2") as second,
    ):
        first.accepts = cluster_pb2.TaskAck(success=False, message="disk full")
        await first.register()
        await stub.SubmitTask(Spec(task_id="t", command="true"))
        await until(lambda: server.master.cluster.task("t").status.attempt == 1)
        await second.register()
        await until(lambda: second.tasks)


async def test_an_agent_that_cannot_be_reached_loses_the_task(tmp_path: Any) -> None:
    async with (
        serving(config(tmp_path, max_attempts=1)) as (server, stub),
        UnaryAgent(server.address) as agent,
    ):
        await agent.register()
        await agent.hang_up()
        await stub.SubmitTask(Spec(task_id="t", command="true"))
        await until(lambda: server.master.cluster.task("t").status.state == "failed")
        info = await stub.GetTask(Ref(task_id="t"))
        assert "a1" in info.reason
        assert "UNAVAILABLE" in info.reason


async def test_a_report_that_a_replaced_master_cannot_record_is_not_answered_with_no(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An agent may forget what was answered; the master that took over has to hear of it."""

    async def superseded(writes: object) -> None:
        raise StoreSupersededError("another master has taken the store over")

    async with serving(config(tmp_path)) as (server, stub), UnaryAgent(server.address) as agent:
        await agent.register()
        await stub.SubmitTask(Spec(task_id="t", command="true"))
        await until(lambda: agent.tasks)
        monkeypatch.setattr(server.store, "commit", superseded)
        for _ in range(2):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await agent.report("t")
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_the_end_of_what_an_agent_should_not_run_is_not_that_of_a_task_placed_there_since(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(config(tmp_path)) as (server, stub), UnaryAgent(server.address) as agent:
        await agent.register()
        await server.master.drain("a1", True)
        await stub.SubmitTask(Spec(task_id="t", command="true"))
        agent.answers.clear()
        agent.tasks = [cluster_pb2.Task(task_id="t")]
        await agent.heartbeat()
        await until(lambda: agent.cancelled == ["t"])
        commit, go_on = server.store.commit, asyncio.Event()

        async def commit_placement_late(writes: Any) -> None:
            if any(isinstance(write, InsertAttempt) for write in writes):
                await go_on.wait()
            await commit(writes)

        monkeypatch.setattr(server.store, "commit", commit_placement_late)
        await server.master.drain("a1", False)
        await until(lambda: server.master.cluster.task("t").status.attempt == 1)
        link = server.master.links["a1"]
        agent.answers.set()
        await until(lambda: not link._calls)
        go_on.set()
        await until(lambda: agent.tasks)
        assert (await agent.report("t")).success
        assert (await stub.GetTask(Ref(task_id="t"))).state == scheduler_pb2.COMPLETED


async def test_a_cancelled_task_is_cancelled_on_the_agent_and_its_place_comes_free(tmp_path: Any) -> None:
    async with serving(config(tmp_path)) as (server, stub), UnaryAgent(server.address) as agent:
        await agent.register()
        await stub.SubmitTask(Spec(task_id="t", command="true", cpu=8))
        await until(lambda: agent.tasks)
        await stub.CancelTask(Ref(task_id="t"))
        await until(lambda: agent.cancelled == ["t"])
        await until(lambda: server.master.cluster.workers()[0].cpu_avail == 8.0)


async def test_an_agent_goes_on_after_a_restart_of_the_master_without_registering(tmp_path: Any) -> None:
    brief = {"heartbeat_interval_s": 0.2, "worker_grace_s": 1.0}
    async with contextlib.AsyncExitStack() as stack:
        async with serving(config(tmp_path, **brief)) as (server, stub):
            agent = await stack.enter_async_context(UnaryAgent(server.address))
            await agent.register()
            await stub.SubmitTask(Spec(task_id="t", command="true"))
            await until(lambda: agent.tasks)
            address = server.address
        async with serving(config(tmp_path, listen=address, **brief)) as (server, stub):
            begin = time.monotonic()

            async def past_every_grace() -> bool:
                assert await agent.heartbeat()
                return time.monotonic() - begin > 1.8

            await until(past_every_grace)
            assert (await stub.GetTask(Ref(task_id="t"))).attempt == 1
            await stub.SubmitTask(Spec(task_id="u", command="true"))
            await until(lambda: [task.task_id for task in agent.tasks] == ["t", "u"])
            assert (await agent.report("t")).success
            assert (await stub.GetTask(Ref(task_id="t"))).state == scheduler_pb2.COMPLETED


async def test_a_heartbeat_of_an_unknown_agent_asks_it_to_register(tmp_path: Any) -> None:
    async with serving(config(tmp_path)) as (server, _), UnaryAgent(server.address) as agent:
        assert not await agent.heartbeat()


async def test_a_registration_that_cannot_be_says_why_in_its_answer(tmp_path: Any) -> None:
    async with serving(config(tmp_path)) as (server, _), UnaryAgent(server.address) as agent:
        ack = await agent.register(total_cpu=-1.0)
        assert not ack.success
        assert "cpu" in ack.message


async def test_a_result_with_an_unknown_status_is_not_accepted(tmp_path: Any) -> None:
    async with serving(config(tmp_path)) as (server, stub), UnaryAgent(server.address) as agent:
        await agent.register()
        await stub.SubmitTask(Spec(task_id="t", command="true"))
        await until(lambda: agent.tasks)
        ack = await agent.report("t", status="splendid")
        assert not ack.success
        assert "splendid" in ack.message


async def test_output_of_a_running_task_is_asked_of_its_agent(tmp_path: Any) -> None:
    async with serving(config(tmp_path)) as (server, stub), UnaryAgent(server.address) as agent:
        await agent.register()
        await stub.SubmitTask(Spec(task_id="t", command="true"))
        await until(lambda: agent.tasks)
        chunks = [c async for c in stub.StreamTaskLogs(cluster_pb2.TaskLogRequest(task_id="t"))]
        assert "".join(chunk.content for chunk in chunks) == "some output"
        assert [chunk.is_complete for chunk in chunks][-1]


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("MasterRegister", cluster_pb2.MasterInfo()),
        ("AssignTask", cluster_pb2.Task()),
        ("CancelTask", cluster_pb2.TaskID()),
    ],
)
async def test_calls_that_agents_serve_are_answered_with_a_sentence(
    tmp_path: Any, method: str, request_: Any
) -> None:
    async with serving(config(tmp_path)) as (server, _), UnaryAgent(server.address) as agent:
        error = await refusal(getattr(agent.stub, method)(request_))
        assert error.code() is grpc.StatusCode.UNIMPLEMENTED
        assert method in error.details()


async def test_streaming_logs_from_the_master_by_the_agents_service_is_answered_too(tmp_path: Any) -> None:
    async with serving(config(tmp_path)) as (server, _), UnaryAgent(server.address) as agent:
        error = await refusal(agent.stub.StreamTaskLogs(cluster_pb2.TaskLogRequest(task_id="t")).read())
        assert error.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_cancellation_is_repeated_until_the_agent_answers(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(master.agents, "CANCEL_PAUSE_S", 0.02)
    async with serving(config(tmp_path)) as (server, stub), UnaryAgent(server.address) as agent:
        await agent.register()
        await stub.SubmitTask(Spec(task_id="t", command="true", cpu=8))
        await until(lambda: agent.tasks)
        agent.failures = 2
        await stub.CancelTask(Ref(task_id="t"))
        await until(lambda: agent.cancelled == ["t"])
        assert agent.failures == 0
