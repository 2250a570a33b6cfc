"""Explain and Plan over a real connection: what was decided, what is waited for, what would be."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from peers import SessionWorker, config, refusal, serving, until
from store_samples import attempt, spec

from master.events import InsertAttempt, InsertTask, RegisterWorker
from master.records import TaskState, TaskStatus, WorkerRecord
from rtscore.rpc import scheduler_pb2

Ref, Spec = scheduler_pb2.TaskRef, scheduler_pb2.TaskSpec


async def test_a_placement_is_explained_as_it_was_when_the_workers_have_changed(tmp_path: Any) -> None:
    async with serving(config(tmp_path)) as (server, stub):
        async with (
            SessionWorker(server.address, "best", total_cpu=16.0) as best,
            SessionWorker(server.address, "next", total_cpu=8.0),
            SessionWorker(server.address, "small", total_cpu=2.0),
        ):
            await stub.SubmitTask(
                Spec(task_id="t", command="true", cpu=4, deadline=server.master.clock() - 1)
            )
            await best.finished(await best.next_assignment())
            await until(lambda: best.recorded)
            before = (await stub.Explain(Ref(task_id="t"))).decision
        found = (await stub.Explain(Ref(task_id="t"))).decision
    assert found == before
    assert [c.worker_id for c in found.candidates] == ["best", "next"]
    assert (found.worker_id, found.source, found.note) == ("best", "rts", "")
    first, second = found.candidates
    assert first.lateness_s < second.lateness_s
    assert found.runner_up == "next"
    assert found.margin == second.risk - first.risk > 0.0
    for c in found.candidates:
        risk = found.alpha * c.lateness_s + ((found.beta * c.load - c.affinity) + c.penalty)
        assert (c.risk, c.lateness_s) == (risk, max(0.0, c.predicted_runtime_s - found.slack_s))
    assert (found.workers, found.fitting, dict(found.lacking), found.closed) == (3, 2, {"cpu": 1}, 0)
    assert (found.tau, found.params_version) == (5.0, 1)


@pytest.mark.parametrize(
    ("source", "kept", "note"),
    [
        ("rts", None, "not recorded"),
        ("round-robin", None, "without a ranking"),
        ("planner", None, "outside planner"),
        ("", None, "left no record"),
        ("rts", b"\x91\x01", "cannot be read"),
    ],
)
async def test_a_placement_without_a_record_says_so(
    tmp_path: Any, source: str, kept: bytes | None, note: str
) -> None:
    record = attempt("t", 1, source=source, decision=kept)
    status = TaskStatus(TaskState.COMPLETED, 1, "w7", 1001.5, 1002.0, 1003.0, sla_success=True)
    async with serving(config(tmp_path)) as (server, stub):
        await server.store.commit([InsertTask(spec("t"), status), InsertAttempt(record)])
        server.master._stored.add("t")
        found = (await stub.Explain(Ref(task_id="t"))).decision
    assert note in found.note
    assert (found.worker_id, len(found.candidates)) == ("w7", 0)


@pytest.mark.parametrize(("attempt_no", "worker_id"), [(1, "first"), (2, "second"), (0, "second")])
async def test_an_explanation_is_of_the_attempt_that_the_task_is_in(
    tmp_path: Any, attempt_no: int, worker_id: str
) -> None:
    status = TaskStatus(TaskState.FAILED, attempt_no, worker_id, 1001.5, 1002.0, 1003.0, sla_success=False)
    inserts = [InsertAttempt(attempt("t", n, worker_id=w)) for n, w in ((1, "first"), (2, "second"))]
    async with serving(config(tmp_path)) as (server, stub):
        await server.store.commit([InsertTask(spec("t"), status), *inserts])
        server.master._stored.add("t")
        found = await stub.Explain(Ref(task_id="t"))
    assert (found.placement.worker_id, found.decision.worker_id) == (worker_id, worker_id)


async def test_a_plan_says_where_and_submits_nothing(tmp_path: Any) -> None:
    async with (
        serving(config(tmp_path)) as (server, stub),
        SessionWorker(server.address, "w1", total_cpu=8.0),
        SessionWorker(server.address, "w2", total_cpu=2.0),
    ):
        plan = await stub.Plan(Spec(cpu=6))
        assert (plan.worker_id, plan.verdict) == ("w1", "meets")
        assert [c.worker_id for c in plan.decision.candidates] == ["w1"]
        assert (plan.task.spec.task_type, plan.task.tau, plan.task.state) == (
            "cpu-heavy",
            15.0,
            scheduler_pb2.QUEUED,
        )
        assert plan.task.predicted_finish_at > 0.0
        assert not plan.HasField("waiting")
        waits = await stub.Plan(Spec(cpu=64))
        assert (waits.worker_id, waits.verdict) == ("", "never")
        assert [(lack.worker_id, lack.cpu) for lack in waits.waiting.lacks] == [("w1", 56.0), ("w2", 62.0)]
        assert not waits.HasField("decision")
        stats = await stub.GetClusterStats(scheduler_pb2.ClusterStatsRequest())
        assert (stats.queued, stats.decisions) == (0, 0)
        assert not (await stub.ListTasks(scheduler_pb2.ListTasksRequest())).tasks
        assert (await refusal(stub.Plan(Spec(cpu=-1)))).code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_an_explanation_is_short_in_a_large_cluster(tmp_path: Any) -> None:
    async with serving(config(tmp_path)) as (server, stub):
        for i in range(2_000):
            record = WorkerRecord(
                f"worker-{i}", 1.0 + i % 7, 8.0, 0.0, 0.0, registered_at=server.master.clock()
            )
            server.master.post(RegisterWorker(record, ()))
        await stub.SubmitTask(Spec(task_id="t", command="true", cpu=64))
        found = await stub.Explain(Ref(task_id="t"))
    assert (len(found.rows), len(found.waiting.lacks), found.waiting.workers) == (50, 50, 2_000)
    assert dict(found.waiting.lacking) == {"cpu": 2_000}
    assert found.ByteSize() < 20_000
