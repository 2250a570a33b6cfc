"""Rows as documents with the existing cluster's field names, and documents, also that cluster's, as rows.

Design

a. An instant is stored twice: under the existing cluster's name as a BSON date, which its readers know and
   which sorts among its documents, and under that name with `_s` as Unix seconds, which a date of
   milliseconds would round. A document without the `_s` field is read by its date.
b. `rts_commit` is the number of the commit that last changed a document. The existing cluster's documents
   have none, and are read with what we would have assumed: a type inferred from the request, the type's
   initial τ, a deadline of created_at + 2 τ, no storage, no user. `pending` is queued. An assignment without
   an attempt number is its task's attempt 1. A measure that nobody took (available amounts) is NaN.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec
from bson.datetime_ms import DatetimeMS

from master.records import TaskState
from master.store.rows import Row
from master.store.schema import (
    ATTEMPT_COLUMNS,
    PARAMS_COLUMNS,
    RESULT_COLUMNS,
    TASK_COLUMNS,
    WORKER_COLUMNS,
)
from rtscore import DEFAULT_TAU, infer_task_type, is_valid_task_type

Document: TypeAlias = dict[str, Any]

TASKS = "TASKS"
ASSIGNMENTS = "ASSIGNMENTS"
RESULTS = "RESULTS"
WORKERS = "WORKER_REGISTRY"
TAU = "TAU"
PARAMS = "PARAMS_VERSIONS"

SLA_MULTIPLIER = 2.0
COMMIT = "rts_commit"

_TASK = tuple(TASK_COLUMNS.split(", "))
_ATTEMPT = tuple(ATTEMPT_COLUMNS.split(", "))
_RESULT = tuple(RESULT_COLUMNS.split(", "))
_WORKER = tuple(WORKER_COLUMNS.split(", "))
_PARAMS = tuple(PARAMS_COLUMNS.split(", "))
_STATUS = _TASK[_TASK.index("status") :]

_INSTANTS = frozenset(
    {"created_at", "deadline", "assigned_at", "started_at", "completed_at", "ended_at", "registered_at"}
)
# Zero means "not yet" in a task's status; everywhere else every instant is one.
_NOT_YET = frozenset({"assigned_at", "started_at", "completed_at"})
_STATUSES: dict[TaskState, tuple[str, ...]] = {
    **{state: (state.value,) for state in TaskState},
    TaskState.QUEUED: ("queued", "pending"),
    TaskState.COMPLETED: ("completed", "success"),
}
_STATES = {status: state.value for state, statuses in _STATUSES.items() for status in statuses}
_STATUS_AT = _TASK.index("status")
_AMOUNTS = ("cpu", "memory", "gpu", "storage")
_ATTEMPT_DEFAULTS: Document = {
    "attempt": 1,
    "worker_id": "",
    "assigned_at": 0.0,
    "source": "",
    **dict.fromkeys(("load_at_start", "cpu_avail", "memory_avail", "gpu_avail"), math.nan),
}
_RESULT_DEFAULTS: Document = {
    "attempt": 1,
    "runtime_s": 0.0,
    "sla_success": False,
    "logs_offset": 0,
    **dict.fromkeys(("worker_id", "logs", "result_location", "reason"), ""),
}
_WORKER_DEFAULTS: Document = {
    "draining": False,
    "registered_at": 0.0,
    "address": "",
}
_LAST_MS = 2**62

_strings = msgspec.json.Decoder(list[str])
_json = msgspec.json.Encoder()


def date(seconds: float) -> DatetimeMS:
    """The BSON date of an instant, rounded down; the earliest or latest one when it is beyond them."""
    milliseconds = seconds * 1000.0
    if not abs(milliseconds) < _LAST_MS:
        return DatetimeMS(_LAST_MS if milliseconds > 0.0 else -_LAST_MS)
    return DatetimeMS(math.floor(milliseconds))


def statuses(states: Iterable[TaskState]) -> list[str]:
    """What stands for these states in documents, ours and the existing cluster's."""
    return [status for state in states for status in _STATUSES[state]]


def state(status: object) -> str:
    """The state that a document's status stands for; what is none of ours will not run again."""
    return _STATES.get(str(status), TaskState.FAILED.value)


def assignment_id(task_id: str, attempt: int) -> str:
    """The `ass_id` of an attempt."""
    return f"{task_id}/{attempt}"


# ---- rows to documents ----


def task_document(row: Row) -> Document:
    """A row of `TASK_COLUMNS`."""
    return {"_id": row[0]} | _dated(_TASK, row, _NOT_YET)


def status_fields(row: Row) -> Document:
    """What an update of a task sets; the row is the status alone."""
    return _dated(_STATUS, row, _NOT_YET)


def attempt_document(row: Row) -> Document:
    """A row of `ATTEMPT_COLUMNS`."""
    key = assignment_id(row[0], row[1])
    document = {"_id": key, "ass_id": key} | _dated(_ATTEMPT, row)
    return document | {"open": document["ended_at"] is None}


def end_fields(ended_at: float, outcome: str) -> Document:
    """What the end of an attempt sets."""
    return _dated(("ended_at", "outcome"), (ended_at, outcome)) | {"open": False}


def result_document(row: Row) -> Document:
    """A row of `RESULT_COLUMNS`."""
    document = {"_id": row[0]} | _dated(_RESULT, row)
    success = document.pop("success")
    files = _strings.decode(document["output_files"])
    return document | {"status": "success" if success else "failed", "output_files": files}


def worker_fields(row: Row) -> Document:
    """A row of `WORKER_COLUMNS`; the removal of an earlier time is over."""
    document = _dated(_WORKER, row)
    document["worker_ip"] = document.pop("address")
    document["executors"] = _strings.decode(document["executors"])
    return document | {"is_active": True, "removed_at": None}


def params_document(row: Row) -> Document:
    """A row of `PARAMS_COLUMNS`."""
    return {"_id": row[0]} | _dated(_PARAMS, row)


def _dated(columns: Sequence[str], row: Row, not_yet: frozenset[str] = frozenset()) -> Document:
    document: Document = dict(zip(columns, row, strict=True))
    for name in _INSTANTS.intersection(columns):
        seconds = document[f"{name}_s"] = document[name]
        absent = seconds is None or (seconds == 0.0 and name in not_yet)
        document[name] = None if absent else date(seconds)
    return document


# ---- documents to rows ----


def task_row(document: Mapping[str, Any]) -> Row:
    """A row of `TASK_COLUMNS`."""
    row = _row(_TASK, document)
    row[_STATUS_AT] = state(row[_STATUS_AT])
    # What every document of ours has and none of the existing cluster's.
    if document.get("given_task_type") is not None:
        return row
    found = dict(zip(_TASK, row, strict=True))
    cpu, memory, gpu, storage = (_amount(found[f"req_{name}"]) for name in _AMOUNTS)
    given = str(found["task_type"]) if is_valid_task_type(found["task_type"]) else ""
    task_type = given or str(infer_task_type(cpu, memory, gpu))
    created_at = found["created_at"] or 0.0
    tau = _positive(found["tau"], DEFAULT_TAU[task_type])
    multiplier = _positive(found["sla_multiplier"], SLA_MULTIPLIER)
    ours: Document = {"req_cpu": cpu, "req_memory": memory, "req_gpu": gpu, "req_storage": storage}
    ours |= {"task_type": task_type, "tau": tau, "sla_multiplier": multiplier, "given_task_type": given}
    zeros = ("given_sla_multiplier", "given_deadline", "time_limit_s", "runtime_s", *_NOT_YET)
    defaults: Document = {
        **dict.fromkeys(("user_id", "command", "docker_image", "worker_id", "reason"), ""),
        **dict.fromkeys(zeros, 0.0),
        "id_given": True,
        "created_at": 0.0,
        "deadline": created_at + multiplier * tau,
        "attempt": 1 if row[_STATUS_AT] in ("assigned", "running") else 0,
    }
    return _filled(_TASK, [ours.get(name, value) for name, value in found.items()], defaults)


def attempt_row(document: Mapping[str, Any]) -> Row:
    """A row of `ATTEMPT_COLUMNS`."""
    return _filled(_ATTEMPT, _row(_ATTEMPT, document), _ATTEMPT_DEFAULTS)


def result_row(document: Mapping[str, Any]) -> Row:
    """A row of `RESULT_COLUMNS`."""
    success = document.get("status") in ("success", "completed")
    files = _json.encode(document.get("output_files") or []).decode()
    row = _row(_RESULT, {**document, "success": success, "output_files": files})
    finished = _instant(document, "completed_at") or 0.0
    own: Document = {"completed_at": finished, "started_at": finished, "exit_code": 0 if success else 1}
    return _filled(_RESULT, row, _RESULT_DEFAULTS | own)


def worker_row(document: Mapping[str, Any]) -> Row:
    """A row of `WORKER_COLUMNS`."""
    executors = _json.encode(document.get("executors") or []).decode()
    amounts = {f"total_{name}": document.get(f"total_{name}") for name in _AMOUNTS}
    totals = {name: value if isinstance(value, int | float) else 0.0 for name, value in amounts.items()}
    known = {**document, **totals, "address": document.get("worker_ip"), "executors": executors}
    return _filled(_WORKER, _row(_WORKER, known), _WORKER_DEFAULTS)


def params_row(document: Mapping[str, Any]) -> Row:
    """A row of `PARAMS_COLUMNS`."""
    return _row(_PARAMS, document)


def history_row(document: Mapping[str, Any]) -> Row:
    """A row of `HISTORY_FIELDS`, of a result that carries its `task` and its `assignment`."""
    result = dict(zip(_RESULT, result_row(document), strict=True))
    task = dict(zip(_TASK, task_row(document["task"]), strict=True))
    attempt = dict(zip(_ATTEMPT, attempt_row(document["assignment"]), strict=True))
    if document.get("runtime_s") is None:
        result["started_at"] = task["started_at"] or attempt["assigned_at"] or result["completed_at"]
        result["runtime_s"] = result["completed_at"] - result["started_at"]
    return (
        *(result["task_id"], result["worker_id"], task["task_type"], task["created_at"], task["deadline"]),
        *(result["started_at"], result["completed_at"], result["runtime_s"], result["sla_success"]),
        *(task[f"req_{name}"] for name in _AMOUNTS),
        *(attempt["load_at_start"], task["tau"], task["sla_multiplier"]),
        *(attempt[f"{name}_avail"] for name in _AMOUNTS[:3]),
        result["success"],
    )


def _row(columns: Sequence[str], document: Mapping[str, Any]) -> list[Any]:
    return [_instant(document, name) if name in _INSTANTS else document.get(name) for name in columns]


def _filled(columns: Sequence[str], row: list[Any], defaults: Mapping[str, Any]) -> Row:
    return [defaults.get(name) if value is None else value for name, value in zip(columns, row, strict=True)]


def _instant(document: Mapping[str, Any], name: str) -> float | None:
    if (exact := document.get(f"{name}_s")) is not None:
        return float(exact)
    found = document.get(name)
    # Go writes the year 1 for an instant that was never set.
    if isinstance(found, DatetimeMS):
        return int(found) / 1000.0 if int(found) > 0 else None
    return None


def _positive(value: Any, default: float) -> float:
    usable = isinstance(value, int | float) and math.isfinite(value) and value > 0.0
    return float(value) if usable else default


def _amount(value: Any) -> float:
    return _positive(value, 0.0)
