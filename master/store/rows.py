"""Writes as rows to bind, table by table, and rows back as records.

Rows are what crosses between the master and the database's processes: flat lists of plain values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import msgspec
from msgspec.structs import astuple

from master.events import (
    EndAttempt,
    InsertAttempt,
    InsertParams,
    InsertResult,
    InsertTask,
    PutWorker,
    RemoveWorker,
    UpdateTask,
    Write,
)
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
from master.store.base import HISTORY_FIELDS, KEPT_VERSIONS, StoreConflictError

Row: TypeAlias = Sequence[Any]
Runs: TypeAlias = list[tuple[str, list[Row]]]

_strings = msgspec.json.Decoder(tuple[str, ...])
_json = msgspec.json.Encoder()
_states = {state.value: state for state in TaskState}


def plan(writes: Sequence[Write]) -> Runs:
    """The writes as runs of rows, one run for each kind that occurs, equal in effect to the writes in order.

    What is written to different keys commutes. What is written to one key is folded: the last update, put or
    removal wins, an update of what was inserted here becomes part of the insert. What cannot be folded is a
    second insert of a key, and that fails in any order.

    Raises
    ------
    StoreConflictError
        When a key is inserted that an earlier one of the writes inserted, updated or ended.
    """
    tasks: dict[str, InsertTask] = {}
    statuses: dict[str, TaskStatus] = {}
    attempts: dict[tuple[str, int], AttemptRecord] = {}
    ends: dict[tuple[str, int], EndAttempt] = {}
    results: dict[str, ResultRecord] = {}
    workers: dict[str, WorkerRecord | None] = {}
    taus: dict[str, float] = {}
    versions: dict[int, ParamsVersion] = {}
    for write in writes:
        if isinstance(write, InsertTask):
            task_id = write.spec.submission.task_id
            if task_id in tasks or task_id in statuses:
                raise StoreConflictError(f"task {task_id!r} is inserted after another write of it")
            tasks[task_id] = write
        elif isinstance(write, UpdateTask):
            inserted = tasks.get(write.task_id)
            if inserted is None:
                statuses[write.task_id] = write.status
            else:
                tasks[write.task_id] = InsertTask(inserted.spec, write.status)
        elif isinstance(write, InsertAttempt):
            key = (write.record.task_id, write.record.attempt)
            if key in attempts or key in ends:
                raise StoreConflictError(
                    f"attempt {key[1]} of task {key[0]!r} is inserted after another write of it"
                )
            attempts[key] = write.record
        elif isinstance(write, EndAttempt):
            key = (write.task_id, write.attempt)
            record = attempts.get(key)
            if record is None:
                ends[key] = write
            else:
                attempts[key] = msgspec.structs.replace(record, ended_at=write.ended_at, end=write.end)
        elif isinstance(write, InsertResult):
            if write.record.task_id in results:
                raise StoreConflictError(f"two results of task {write.record.task_id!r}")
            results[write.record.task_id] = write.record
        elif isinstance(write, PutWorker):
            workers[write.record.worker_id] = write.record
        elif isinstance(write, RemoveWorker):
            workers[write.worker_id] = None
        elif isinstance(write, InsertParams):
            if write.record.version in versions:
                raise StoreConflictError(f"parameter version {write.record.version} is inserted twice")
            versions[write.record.version] = write.record
        else:
            taus[write.task_type] = write.tau
    runs: Runs = [
        ("insert_task", [_task_row(write.spec, write.status) for write in tasks.values()]),
        ("update_task", [(*astuple(status), task_id) for task_id, status in statuses.items()]),
        ("insert_attempt", [astuple(record) for record in attempts.values()]),
        ("end_attempt", [(end.ended_at, end.end, *key) for key, end in ends.items()]),
        ("insert_result", [_result_row(record) for record in results.values()]),
        ("put_worker", [_worker_row(worker) for worker in workers.values() if worker is not None]),
        ("remove_worker", [(worker_id,) for worker_id, worker in workers.items() if worker is None]),
        ("put_tau", list(taus.items())),
        ("insert_params", [astuple(record) for record in versions.values()]),
        ("prune_params", [(KEPT_VERSIONS,)] if versions else []),
    ]
    return [run for run in runs if run[1]]


def _task_row(spec: TaskSpec, status: TaskStatus) -> Row:
    submission, *decided = astuple(spec)
    return (*astuple(submission), *decided, *astuple(status))


def _result_row(record: ResultRecord) -> Row:
    row = list(astuple(record))
    row[11] = _json.encode(record.output_files).decode()
    return row


def _worker_row(record: WorkerRecord) -> Row:
    row = list(astuple(record))
    row[6] = _json.encode(record.executors).decode()
    return row


def plain(value: Any) -> Any:
    """The Python number in a numpy scalar; the hook of every encoder of rows."""
    if type(value).__module__ == "numpy":
        return value.item()
    raise TypeError(f"cannot store a {type(value).__name__}: {value!r}")


def history_of(rows: Sequence[Row]) -> dict[str, list[Any]]:
    """Rows of `HISTORY_COLUMNS` as columns; truth values become such."""
    columns: list[list[Any]] = list(map(list, zip(*rows, strict=True))) or [[] for _ in HISTORY_FIELDS]
    found = dict(zip(HISTORY_FIELDS, columns, strict=True))
    for name in ("sla_success", "succeeded"):
        found[name] = list(map(bool, found[name]))
    return found


def params_of(row: Row) -> ParamsVersion:
    """The parameter version of a row of `PARAMS_COLUMNS`."""
    return ParamsVersion(*[*row[:3], ParamsReason(row[3]), *row[4:]])


def task_of(row: Row) -> StoredTask:
    """The task of a row of `TASK_COLUMNS`."""
    submission = Submission(*[*row[:12], bool(row[12])])
    sla_success = None if row[26] is None else bool(row[26])
    status = TaskStatus(*[_states[row[18]], *row[19:26], sla_success, row[27]])
    return StoredTask(TaskSpec(submission, *row[13:18]), status)


def attempt_of(row: Row) -> AttemptRecord:
    """The attempt of a row of `ATTEMPT_COLUMNS`."""
    end = None if row[11] is None else AttemptEnd(row[11])
    return AttemptRecord(*[*row[:11], end, row[12]])


def result_of(row: Row) -> ResultRecord:
    """The result of a row of `RESULT_COLUMNS`."""
    files = _strings.decode(row[11])
    return ResultRecord(*[*row[:3], bool(row[3]), *row[4:8], bool(row[8]), *row[9:11], files, *row[12:14]])


def worker_of(row: Row) -> WorkerRecord:
    """The worker of a row of `WORKER_COLUMNS`."""
    return WorkerRecord(*[*row[:6], _strings.decode(row[6]), bool(row[7]), row[8]])
