"""Records for the store's tests, every field set to something of its own."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from master.events import InsertAttempt, InsertParams, InsertResult, InsertTask
from master.records import (
    AttemptEnd,
    AttemptRecord,
    ParamsReason,
    ParamsVersion,
    ResultRecord,
    StoredTask,
    Submission,
    TaskSpec,
    TaskState,
    TaskStatus,
    WorkerRecord,
)


def spec(task_id: str, *, submitted_at: float = 1000.25, user_id: str = "alice", **fields: Any) -> TaskSpec:
    submission = Submission(
        task_id=task_id,
        user_id=user_id,
        command="sha256sum /etc/hostname && echo 'done ✓'",
        docker_image="alpine:3",
        cpu=4.5,
        memory=8.125,
        gpu=0.5,
        storage=1.75,
        task_type="",
        sla_multiplier=3.0,
        deadline=1060.0,
        time_limit_s=30.0,
        id_given=False,
    )
    decided = TaskSpec(submission, "gpu-inference", 10.1, 2.5, submitted_at, submitted_at + 25.3)
    return replace(decided, **fields)


def status(state: TaskState = TaskState.QUEUED, **fields: Any) -> TaskStatus:
    return TaskStatus(state, **fields)


FINISHED = TaskStatus(
    TaskState.FAILED,
    attempt=2,
    worker_id="w7",
    assigned_at=1001.5,
    started_at=1002.5,
    finished_at=1010.75,
    runtime_s=8.2,
    exit_code=-9,
    sla_success=False,
    reason="killed by signal 9",
)


def insert(task_id: str, state: TaskState = TaskState.QUEUED, **fields: Any) -> InsertTask:
    return InsertTask(spec(task_id, **fields), status(state))


def stored(write: InsertTask, now: TaskStatus | None = None) -> StoredTask:
    return StoredTask(write.spec, write.status if now is None else now)


def attempt(task_id: str, number: int = 1, **fields: Any) -> AttemptRecord:
    record = AttemptRecord(
        task_id, number, "w7", 1001.5, 0.25, 12.0, 48.5, 1.5, "rts", 0.125, decision=b"\x98\x00kept\xff"
    )
    return replace(record, **fields)


def place(task_id: str, number: int = 1, **fields: Any) -> InsertAttempt:
    return InsertAttempt(attempt(task_id, number, **fields))


ENDED = {"ended_at": 1010.75, "end": AttemptEnd.LOST}


def result(task_id: str, **fields: Any) -> ResultRecord:
    record = ResultRecord(
        task_id,
        attempt=2,
        worker_id="w7",
        success=True,
        exit_code=3,
        started_at=1002.5,
        finished_at=1010.75,
        runtime_s=8.2,
        sla_success=True,
        logs="line 1\nline 2\0\n",
        result_location="file:///out",
        output_files=("a.txt", 'b "c".txt'),
        reason="exit 3",
        logs_offset=2**40,
    )
    return replace(record, **fields)


def outcome(task_id: str, **fields: Any) -> InsertResult:
    return InsertResult(result(task_id, **fields))


def worker(worker_id: str, **fields: Any) -> WorkerRecord:
    record = WorkerRecord(
        worker_id, 16.0, 64.0, 2.0, 500.0, "10.0.0.1:5000", ("process", "container"), True, 900.5
    )
    return replace(record, **fields)


def version(number: int, **fields: Any) -> ParamsVersion:
    record = ParamsVersion(
        number, 1000.5 + number, number - 1, ParamsReason.ACCEPTED, '{"Theta": {"Theta1": 0.1}}', '{"n": 1}'
    )
    return replace(record, **fields)


def use(number: int, **fields: Any) -> InsertParams:
    return InsertParams(version(number, **fields))
