"""The columns of both panes: what a cell says, and what its column is sorted by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import msgspec

from master.cli import output
from rtscore.client import TaskInfo, WorkerInfo

R = TypeVar("R")

_BAR = 8


class Column(msgspec.Struct, Generic[R], frozen=True):
    """One column; `text` and `key` are of a row at a Unix time, a key of None sorts last.

    Of columns that do not all fit, those with the highest `rank` go. `width` is the most that one takes; 0:
    what the others leave.
    """

    heading: str
    width: int
    rank: int
    text: Callable[[R, float], str]
    key: Callable[[R, float], Any]
    right: bool = False


def short(seconds: float) -> str:
    """A duration in at most six cells."""
    if seconds < 0:
        return "-" + short(-seconds)
    if seconds < 99.5:
        return f"{seconds:.0f}s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes}m"
    return f"{round(minutes / 60)}h" if minutes < 6000 else f"{round(minutes / 1440)}d"


def _bar(load: float) -> str:
    filled = round(_BAR * min(max(load, 0.0), 1.0))
    return f"{'|' * filled:.<{_BAR}} {load:4.2f}"


def _taken(total: float, available: float) -> float | None:
    return (total - available) / total if total else None


def _met(worker: WorkerInfo) -> float | None:
    return worker.sla_met / worker.tasks_finished if worker.tasks_finished else None


WORKER_COLUMNS: Sequence[Column[WorkerInfo]] = (
    Column("WORKER", 0, 0, lambda w, _: w.worker_id, lambda w, _: w.worker_id),
    Column("STATE", 8, 1, lambda w, _: w.state, lambda w, _: w.state),
    Column("LOAD", _BAR + 5, 2, lambda w, _: _bar(w.load), lambda w, _: w.load),
    Column(
        "CPU",
        10,
        4,
        lambda w, _: output.used(w.total_cpu, w.cpu_avail),
        lambda w, _: _taken(w.total_cpu, w.cpu_avail),
        right=True,
    ),
    Column(
        "MEM GiB",
        11,
        5,
        lambda w, _: output.used(w.total_memory, w.memory_avail),
        lambda w, _: _taken(w.total_memory, w.memory_avail),
        right=True,
    ),
    Column(
        "GPU",
        8,
        6,
        lambda w, _: output.used(w.total_gpu, w.gpu_avail),
        lambda w, _: _taken(w.total_gpu, w.gpu_avail),
        right=True,
    ),
    Column("RUN", 4, 3, lambda w, _: str(w.live_attempts), lambda w, _: w.live_attempts, right=True),
    Column("DONE", 7, 8, lambda w, _: str(w.tasks_finished), lambda w, _: w.tasks_finished, right=True),
    Column(
        "SLA", 5, 7, lambda w, _: output.share(w.sla_met, w.tasks_finished), lambda w, _: _met(w), right=True
    ),
)


def _wait_s(task: TaskInfo, now: float) -> float:
    return max(0.0, (task.assigned_at or now) - task.submitted_at)


TASK_COLUMNS: Sequence[Column[TaskInfo]] = (
    Column("TASK", 0, 0, lambda t, _: t.task_id, lambda t, _: t.task_id),
    Column("STATE", 8, 1, lambda t, _: t.state, lambda t, _: t.state),
    Column("TYPE", 13, 6, lambda t, _: t.task_type, lambda t, _: t.task_type),
    Column("WORKER", 10, 3, lambda t, _: t.worker_id, lambda t, _: t.worker_id or None),
    Column("WAIT", 5, 4, lambda t, now: short(_wait_s(t, now)), _wait_s, right=True),
    Column(
        "SLACK", 6, 2, lambda t, now: short(t.deadline - now), lambda t, now: t.deadline - now, right=True
    ),
    Column(
        "CHANCE",
        6,
        5,
        lambda t, _: "" if t.deadline_chance is None else f"{t.deadline_chance:.0%}",
        lambda t, _: t.deadline_chance,
        right=True,
    ),
    Column("USER", 10, 7, lambda t, _: t.user_id, lambda t, _: t.user_id or None),
)
