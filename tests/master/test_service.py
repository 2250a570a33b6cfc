"""SchedulerService over a real connection."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from peers import SessionWorker, config, refusal, serving, until

from rtscore.rpc import scheduler_pb2

Ref, Spec = scheduler_pb2.TaskRef, scheduler_pb2.TaskSpec


async def test_a_task_goes_from_submission_to_its_outcome(tmp_path: Any) -> None:
    async with serving(config(tmp_path)) as (server, stub), SessionWorker(server.address) as worker:
        before = time.time()
        info = await stub.SubmitTask(Spec(command="true", cpu=2, memory=4))
        assert info.spec.task_id
        assert info.spec.task_type == "cpu-light"
        assert info.tau == 5.0
        assert before + 10.0 <= info.spec.deadline <= time.time() + 10.0
        task = await worker.next_assignment()
        assert (task.task_id, task.attempt, task.req_cpu) == (info.spec.task_id, 1, 2.0)
        await worker.started(task)
        await until(lambda: _state(stub, task.task_id, scheduler_pb2.RUNNING))
        await worker.finished(task, exit_code=0, runtime_s=0.5, logs="done\n")
        await until(lambda: worker.recorded == [(task.task_id, 1)])
        ended = await stub.GetTask(Ref(task_id=task.task_id))
        assert ended.state == scheduler_pb2.COMPLETED
        assert ended.sla_success is True
        assert (ended.worker_id, ended.runtime_s, ended.exit_code) == ("w1", 0.5, 0)


async def _state(stub: Any, task_id: str, state: int) -> bool:
    return (await stub.GetTask(Ref(task_id=task_id))).state == state


async def test_an_id_and_content_that_are_known_are_a_success_and_no_second_task(tmp_path: Any) -> None:
    async with serving(config(tmp_path)) as (_, stub):
        first = await stub.SubmitTask(Spec(task_id="t", command="true"))
        again = await stub.SubmitTask(Spec(task_id="t", command="true"))
        assert again.submitted_at == first.submitted_at
        assert len((await stub.ListTasks(scheduler_pb2.ListTasksRequest())).tasks) == 1
        error = await refusal(stub.SubmitTask(Spec(task_id="t", command="false")))
        assert error.code() is grpc.StatusCode.ALREADY_EXISTS


async def test_an_id_is_known_after_a_restart_too(tmp_path: Any) -> None:
    async with serving(config(tmp_path)) as (server, stub), SessionWorker(server.address) as worker:
        first = await stub.SubmitTask(Spec(task_id="t", command="true"))
        await worker.finished(await worker.next_assignment())
        await until(lambda: worker.recorded)
    async with serving(config(tmp_path)) as (server, stub):
        assert server.master.cluster.task("t") is None
        again = await stub.SubmitTask(Spec(task_id="t", command="true"))
        assert again.submitted_at == first.submitted_at
        assert again.state == scheduler_pb2.COMPLETED
        error = await refusal(stub.SubmitTask(Spec(task_id="t", command="false")))
        assert error.code() is grpc.StatusCode.ALREADY_EXISTS
        assert (await stub.GetTask(Ref(task_id="t"))).state == scheduler_pb2.COMPLETED


async def test_a_wrong_field_is_named_in_the_sentence_and_in_the_details(tmp_path: Any) -> None:
    async with serving(config(tmp_path)) as (_, stub):
        error = await refusal(stub.SubmitTask(Spec(command="true", task_type="huge")))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "task_type" in error.details()
        assert "'huge'" in error.details()
        assert "gpu-training" in error.details()
        status = status_pb2.Status.FromString(dict(error.trailing_metadata())["grpc-status-details-bin"])
        bad = error_details_pb2.BadRequest()
        assert status.details[0].Unpack(bad)
        assert [violation.field for violation in bad.field_violations] == ["task_type"]


async def test_one_bad_task_of_a_batch_does_not_spoil_the_others(tmp_path: Any) -> None:
    async with serving(config(tmp_path)) as (_, stub):
        request = scheduler_pb2.SubmitTasksRequest(
            tasks=[Spec(command="true"), Spec(command="true", cpu=-1), Spec(task_id="c", command="true")]
        )
        good, bad, named = (await stub.SubmitTasks(request)).outcomes
        assert good.task.state == scheduler_pb2.QUEUED
        assert bad.error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
        assert "cpu" in bad.error.message
        assert named.task.spec.task_id == "c"


async def test_pages_join_to_the_whole_list_newest_first(tmp_path: Any) -> None:
    async with serving(config(tmp_path)) as (_, stub):
        names = [f"t{number}" for number in range(7)]
        for name in names:
            await stub.SubmitTask(Spec(task_id=name, command="true"))
        seen, token, pages = [], "", 0
        while True:
            request = scheduler_pb2.ListTasksRequest(page_size=3, page_token=token)
            reply = await stub.ListTasks(request)
            seen += [task.spec.task_id for task in reply.tasks]
            token, pages = reply.next_page_token, pages + 1
            if not token:
                break
        assert seen == names[::-1]
        assert pages == 3


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (scheduler_pb2.ListTasksRequest(page_size=1001), "page_size"),
        (scheduler_pb2.ListTasksRequest(page_token="nonsense"), "page_token"),
        (scheduler_pb2.ListTasksRequest(page_token="WzFd"), "page_token"),
        (scheduler_pb2.ListTasksRequest(states=[0]), "states"),
        (scheduler_pb2.ListTasksRequest(states=[77]), "states"),
    ],
)
async def test_a_listing_that_cannot_be_is_refused(tmp_path: Any, request_: Any, field: str) -> None:
    async with serving(config(tmp_path)) as (_, stub):
        error = await refusal(stub.ListTasks(request_))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert error.details().startswith(field)


async def test_unknown_names_are_not_found(tmp_path: Any) -> None:
    async with serving(config(tmp_path)) as (_, stub):
        drain = scheduler_pb2.DrainWorkerRequest(worker_id="nobody", drain=True)
        for call in (
            stub.GetTask(Ref(task_id="no")),
            stub.CancelTask(Ref(task_id="no")),
            stub.Explain(Ref(task_id="no")),
            stub.DrainWorker(drain),
        ):
            assert (await refusal(call)).code() is grpc.StatusCode.NOT_FOUND


async def test_a_queued_task_says_why_it_waits(tmp_path: Any) -> None:
    async with serving(config(tmp_path)) as (server, stub), SessionWorker(server.address):
        info = await stub.SubmitTask(Spec(command="true", gpu=4))
        for answer in (
            await stub.GetTask(Ref(task_id=info.spec.task_id)),
            (await stub.ListTasks(scheduler_pb2.ListTasksRequest())).tasks[0],
        ):
            assert "gpu 4" in answer.reason


async def test_cancelling_a_running_task_reaches_its_worker(tmp_path: Any) -> None:
    async with serving(config(tmp_path)) as (server, stub), SessionWorker(server.address) as worker:
        info = await stub.SubmitTask(Spec(command="sleep 9"))
        task = await worker.next_assignment()
        await worker.started(task)
        ended = await stub.CancelTask(Ref(task_id=info.spec.task_id))
        assert ended.state == scheduler_pb2.CANCELLED
        await until(lambda: worker.cancels == [(task.task_id, 1)])
        assert (await stub.CancelTask(Ref(task_id=task.task_id))).state == scheduler_pb2.CANCELLED


async def test_a_finished_task_cannot_be_cancelled_not_even_after_a_restart(tmp_path: Any) -> None:
    async with serving(config(tmp_path)) as (server, stub), SessionWorker(server.address) as worker:
        await stub.SubmitTask(Spec(task_id="t", command="true"))
        await worker.finished(await worker.next_assignment())
        await until(lambda: worker.recorded)
        error = await refusal(stub.CancelTask(Ref(task_id="t")))
        assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    async with serving(config(tmp_path)) as (_, stub):
        error = await refusal(stub.CancelTask(Ref(task_id="t")))
        assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert "completed" in error.details()


async def test_a_watch_tells_the_present_state_then_changes_and_ends_with_the_last_task(
    tmp_path: Any,
) -> None:
    async with (
        serving(config(tmp_path)) as (server, stub),
        SessionWorker(server.address, total_gpu=0) as worker,
    ):
        await stub.SubmitTask(Spec(task_id="t", command="true"))
        task = await worker.next_assignment()
        seen = []
        async for info in stub.WatchTasks(scheduler_pb2.WatchTasksRequest(task_ids=["t"]), timeout=10):
            seen.append(info.state)
            if info.state == scheduler_pb2.ASSIGNED:
                await worker.finished(task)
        assert seen[0] == scheduler_pb2.ASSIGNED
        assert seen[-1] == scheduler_pb2.COMPLETED


async def test_a_watch_of_everything_sees_tasks_to_come(tmp_path: Any) -> None:
    async with serving(config(tmp_path)) as (server, stub), SessionWorker(server.address):
        watch = stub.WatchTasks(scheduler_pb2.WatchTasksRequest())
        first = asyncio.create_task(watch.read())
        await until(lambda: server.master.watchers.count)
        await stub.SubmitTask(Spec(task_id="t", command="true"))
        assert (await asyncio.wait_for(first, 60)).spec.task_id == "t"
        watch.cancel()
        await until(lambda: not server.master.watchers.count)


async def test_a_watch_of_an_unknown_task_is_not_found(tmp_path: Any) -> None:
    async with serving(config(tmp_path)) as (server, stub):
        watch = stub.WatchTasks(scheduler_pb2.WatchTasksRequest(task_ids=["no"]), timeout=10)
        assert (await refusal(watch.read())).code() is grpc.StatusCode.NOT_FOUND
        assert not server.master.watchers.count


async def test_explain_ranks_the_workers_and_tells_the_recorded_decision(tmp_path: Any) -> None:
    async with (
        serving(config(tmp_path)) as (server, stub),
        SessionWorker(server.address, "big", total_cpu=16.0) as big,
        SessionWorker(server.address, "small", total_cpu=2.0),
    ):
        await stub.SubmitTask(Spec(task_id="t", command="true", cpu=4))
        await big.next_assignment()
        explanation = await stub.Explain(Ref(task_id="t"))
        assert [row.worker_id for row in explanation.rows] == ["big", "small"]
        assert explanation.rows[0].feasible
        assert "cpu" in explanation.rows[1].lacks
        assert explanation.placement.worker_id == "big"
        assert explanation.placement.cpu_avail == 16.0
        assert explanation.placement.source == "rts"
        assert explanation.summary


async def test_a_task_of_an_earlier_run_is_explained_from_the_store(tmp_path: Any) -> None:
    async with serving(config(tmp_path)) as (server, stub), SessionWorker(server.address) as worker:
        await stub.SubmitTask(Spec(task_id="t", command="true"))
        await worker.finished(await worker.next_assignment(), status="failed", reason="exit code 3")
        await until(lambda: worker.recorded)
    async with serving(config(tmp_path)) as (_, stub):
        explanation = await stub.Explain(Ref(task_id="t"))
        assert explanation.placement.worker_id == "w1"
        assert "exit code 3" in explanation.summary
        assert [row.worker_id for row in explanation.rows] == ["w1"]
        assert not explanation.rows[0].feasible


async def test_workers_are_listed_with_what_is_left_of_them(tmp_path: Any) -> None:
    async with serving(config(tmp_path)) as (server, stub), SessionWorker(server.address) as worker:
        await stub.SubmitTask(Spec(command="true", cpu=2, memory=1))
        await worker.next_assignment()
        (state,) = (await stub.ListWorkers(scheduler_pb2.ListWorkersRequest())).workers
        assert (state.worker_id, state.state, state.live_attempts) == ("w1", "active", 1)
        assert (state.total_cpu, state.cpu_avail, state.memory_avail) == (8.0, 6.0, 15.0)
        drained = await stub.DrainWorker(scheduler_pb2.DrainWorkerRequest(worker_id="w1", drain=True))
        assert drained.state == "draining"


async def test_stats_count_tasks_of_earlier_runs_too(tmp_path: Any) -> None:
    async with serving(config(tmp_path)) as (server, stub), SessionWorker(server.address) as worker:
        for _ in range(2):
            await stub.SubmitTask(Spec(command="true"))
            await worker.finished(await worker.next_assignment(), runtime_s=2.0)
        await until(lambda: len(worker.recorded) == 2)
        stats = await stub.GetClusterStats(scheduler_pb2.ClusterStatsRequest())
        assert (stats.completed, stats.decisions, stats.fallbacks) == (2, 2, 0)
        assert 0.0 < stats.decision_p50_us <= stats.decision_p99_us
        tau = stats.tau["mixed"]
        assert tau == pytest.approx(0.2 * 2.0 + 0.8 * (0.2 * 2.0 + 0.8 * 10.0))
    async with serving(config(tmp_path)) as (_, stub):
        await stub.SubmitTask(Spec(command="true"))
        stats = await stub.GetClusterStats(scheduler_pb2.ClusterStatsRequest())
        assert (stats.completed, stats.queued, stats.tau["mixed"]) == (2, 1, tau)
        assert stats.scheduler == "rts"


async def test_an_unexpected_exception_tells_the_client_nothing_and_the_log_everything(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    async with serving(config(tmp_path)) as (server, stub):
        monkeypatch.setattr(server.master.cluster, "worker_page", lambda query: 1 / 0)
        error = await refusal(stub.ListWorkers(scheduler_pb2.ListWorkersRequest()))
        assert error.code() is grpc.StatusCode.INTERNAL
        assert "division" not in error.details()
    captured = capfd.readouterr()
    assert "ZeroDivisionError" in captured.out + captured.err


async def test_health_and_reflection_are_served(tmp_path: Any) -> None:
    async with serving(config(tmp_path)) as (server, _), grpc.aio.insecure_channel(server.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for service in (
            "",
            "rtscore.v1.SchedulerService",
            "rtscore.v1.WorkerService",
            "cluster.MasterWorker",
        ):
            reply = await health.Check(health_pb2.HealthCheckRequest(service=service))
            assert reply.status == health_pb2.HealthCheckResponse.SERVING
        ask = reflection_pb2.ServerReflectionRequest(list_services="")
        reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
        async for reply in reflection.ServerReflectionInfo(iter([ask])):
            names = {service.name for service in reply.list_services_response.service}
        assert {"rtscore.v1.SchedulerService", "cluster.MasterWorker", "grpc.health.v1.Health"} <= names


async def test_a_message_beyond_the_limit_is_refused(tmp_path: Any) -> None:
    async with serving(config(tmp_path)) as (_, stub):
        huge = scheduler_pb2.SubmitTasksRequest(tasks=[Spec(command="x" * 1_000_000)] * 17)
        error = await refusal(stub.SubmitTasks(huge))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "16777216" in error.details()
        # The connection is none the worse for it.
        assert (await stub.SubmitTask(Spec(command="true"))).state == scheduler_pb2.QUEUED


async def test_an_answer_beyond_what_the_client_takes_is_an_error_of_that_call_alone(tmp_path: Any) -> None:
    async with serving(config(tmp_path)) as (_, stub):
        many = scheduler_pb2.SubmitTasksRequest(tasks=[Spec(command="x" * 100_000)] * 50)
        error = await refusal(stub.SubmitTasks(many))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "4194304" in error.details()
        page = await stub.ListTasks(scheduler_pb2.ListTasksRequest(page_size=5))
        assert len(page.tasks) == 5


async def test_a_batch_beyond_the_limit_is_refused(tmp_path: Any) -> None:
    async with serving(config(tmp_path)) as (server, stub):
        many = scheduler_pb2.SubmitTasksRequest(tasks=[Spec(command="true")] * 10_001)
        error = await refusal(stub.SubmitTasks(many))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "10001" in error.details()
        assert server.master.cluster.queue_depth == 0


async def test_a_page_of_long_commands_is_cut_and_goes_on(tmp_path: Any) -> None:
    async with serving(config(tmp_path)) as (_, stub):
        for number in range(40):
            await stub.SubmitTask(Spec(task_id=f"t{number:02d}", command="x" * 130_000))
        first = await stub.ListTasks(scheduler_pb2.ListTasksRequest(page_size=40))
        assert 0 < len(first.tasks) < 40
        seen, token = [task.spec.task_id for task in first.tasks], first.next_page_token
        while token:
            reply = await stub.ListTasks(scheduler_pb2.ListTasksRequest(page_size=40, page_token=token))
            seen += [task.spec.task_id for task in reply.tasks]
            token = reply.next_page_token
        assert seen == [f"t{number:02d}" for number in range(40)][::-1]
