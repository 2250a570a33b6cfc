"""What is told of decisions, of which of them, and that nobody pays for it at other levels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from peers import SessionWorker, config, serving, until
from structlog.testing import capture_logs

from master.cluster import Cluster
from master.decision_log import RISK_ROWS, ToldScheduler
from master.fallback_log import FallbackLog
from master.server import MasterServer
from master.timed import TimedScheduler
from rtscore import Decision, GAParams, Risk, RTSScheduler, Task, WorkerTable
from rtscore.rpc import scheduler_pb2


def table(workers: int, cpu: float = 8.0) -> WorkerTable:
    made = WorkerTable()
    for i in range(workers):
        made.add(f"w{i}", cpu=cpu, memory=16.0)
        made.set_load(f"w{i}", (i * 7 % workers) / workers)
    return made


def task(number: int, cpu: float = 1.0) -> Task:
    return Task(f"t{number}", cpu=cpu, memory=1.0, task_type="cpu-light", tau=10.0, deadline=20.0)


def told(scheduler: ToldScheduler, tasks: list[Task]) -> tuple[list[Decision], list[Any]]:
    with capture_logs() as lines:
        decisions = [scheduler.select_worker(each, 0.0) for each in tasks]
    return decisions, lines


def test_a_risk_table_has_the_chosen_worker_first_and_counts_the_rest() -> None:
    scheduler = ToldScheduler(RTSScheduler(table(RISK_ROWS + 20)), 1.0)
    (decision,), (line,) = told(scheduler, [task(1)])
    assert (line["event"], line["log_level"]) == ("risks", "debug")
    assert line["workers"] == line["feasible"] == RISK_ROWS + 20
    assert len(line["risks"]) == RISK_ROWS
    first = line["risks"][0]
    assert (first["worker_id"], first["risk"]) == (decision.worker_id, decision.risk)
    assert first["worker_id"] == line["worker_id"]
    risks = [row["risk"] for row in line["risks"]]
    assert risks == sorted(risks)


def test_which_tasks_have_their_risks_told_depends_on_their_ids_alone() -> None:
    tasks = [task(i) for i in range(2000)]
    _, lines = told(ToldScheduler(RTSScheduler(table(3)), 0.1), tasks)
    sampled = [line["task_id"] for line in lines]
    assert 120 < len(sampled) < 280
    _, again = told(ToldScheduler(RTSScheduler(table(2)), 0.1), tasks[::-1])
    assert sorted(line["task_id"] for line in again) == sorted(sampled)
    assert told(ToldScheduler(RTSScheduler(table(3)), 0.0), tasks)[1] == []
    assert len(told(ToldScheduler(RTSScheduler(table(3)), 1.0), tasks)[1]) == len(tasks)


def test_a_task_that_fits_nowhere_is_told_with_what_is_lacking() -> None:
    (decision,), (line,) = told(ToldScheduler(RTSScheduler(table(3)), 0.0), [task(1, cpu=9.0)])
    assert decision.worker_id is None
    assert (line["event"], line["reason"]) == ("nothing fits", "none of 3 workers fits: 3 lack cpu 9")


def test_the_first_fallback_is_told_at_once_and_the_rest_once_a_second() -> None:
    now = [100.0]
    log = FallbackLog(lambda: now[0])
    with capture_logs() as lines:
        for step in range(35):
            now[0] = 100.0 + step / 10.0
            log.add(f"t{step}", "w1")
        now[0] = 110.0
        log.flush()
        log.flush()
    assert [line["count"] for line in lines] == [1, 10, 10, 10, 4]
    assert {line["log_level"] for line in lines} == {"warning"}
    assert lines[-1]["task_id"] == "t34"


def test_a_decision_left_to_round_robin_is_a_warning() -> None:
    scheduler = TimedScheduler(RTSScheduler(table(2), GAParams(risk=Risk(1e300, 1e300))))
    late = Task("late", cpu=1.0, tau=1e200, deadline=1.0, arrival_time=0.0, task_type="mixed")
    with capture_logs() as lines:
        decision = scheduler.select_worker(late, 0.0)
    assert decision.source == "round-robin"
    (line,) = lines
    assert (line["event"], line["task_id"], line["worker_id"]) == (
        "fallback to round-robin",
        "late",
        decision.worker_id,
    )


def test_above_debug_nothing_stands_between_the_core_and_its_scheduler(tmp_path: Path) -> None:
    server = MasterServer(config(tmp_path, log_level="info"))
    assert type(server.master.cluster) is Cluster
    assert type(server.master.cluster._scheduler) is TimedScheduler


async def test_a_task_is_told_from_acceptance_to_its_end_but_not_its_command(tmp_path: Path) -> None:
    settings = config(tmp_path, log_level="debug", log_risk_sample=1.0)
    with capture_logs() as lines:
        async with serving(settings) as (server, stub), SessionWorker(server.address) as worker:
            await stub.SubmitTask(scheduler_pb2.TaskSpec(task_id="t1", command="echo hidden", cpu=2.0))
            assigned = await worker.next_assignment()
            await worker.finished(assigned)
            await until(lambda: any(line["event"] == "attempt ended" for line in lines))
    mine = [line for line in lines if line.get("task_id") == "t1"]
    assert [line["event"] for line in mine if line["event"] != "nothing fits"] == [
        "task accepted",
        "risks",
        "task placed",
        "attempt ended",
    ]
    placed = next(line for line in mine if line["event"] == "task placed")
    assert (placed["worker_id"], placed["attempt"], placed["source"]) == ("w1", 1, "rts")
    assert placed["inferred"]
    assert placed["risk"] is not None
    assert mine[-1]["end"] == "completed"
    assert "hidden" not in str(lines)


async def test_a_worker_is_told_silent_heard_again_and_lost(tmp_path: Path) -> None:
    settings = config(tmp_path, heartbeat_interval_s=0.2, worker_grace_s=0.5)
    with capture_logs() as lines:

        def events() -> list[tuple[str, str]]:
            return [(line["event"], line["log_level"]) for line in lines if line.get("worker_id") == "w1"]

        async with serving(settings) as (server, _), SessionWorker(server.address) as worker:
            await until(lambda: ("worker silent", "warning") in events())
            await worker.heartbeat()
            await until(lambda: ("worker heard again", "info") in events())
            await until(lambda: ("worker lost", "warning") in events())
    assert [event for event, _ in events()][:4] == [
        "worker connected",
        "worker silent",
        "worker heard again",
        "worker silent",
    ]
