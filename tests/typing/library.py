"""The types that a user of the library sees; mypy runs over this, nothing imports it."""

from __future__ import annotations

from typing import assert_type

import numpy as np
from numpy.typing import NDArray

from rtscore import (
    Candidate,
    Decision,
    Explanation,
    GAParams,
    RoundRobinScheduler,
    RTSScheduler,
    Scheduler,
    Source,
    Task,
    TaskType,
    WorkerTable,
    WorkerView,
)
from rtscore.explain import WorkerTerms

table = WorkerTable()
assert_type(table.add("w1", cpu=16, memory=64, gpu=2, storage=500), int)
assert_type(table.view("w1"), WorkerView)
assert_type(table.view("w1").cpu_avail, float)
assert_type(table.ids(), list[str])
assert_type(table.columns(), dict[str, NDArray[np.float64]])
assert_type(table.reserved("w1"), list[str])
assert_type("w1" in table, bool)

task = Task("t1", cpu=4, memory=8, task_type="cpu-light")
assert_type(task, Task)
assert_type(task.deadline, float)
assert_type(task.task_type, TaskType)

scheduler = RTSScheduler(table, GAParams.default())
decision = scheduler.select_worker(task, now=None)
assert_type(decision, Decision)
assert_type(decision.worker_id, str | None)
assert_type(decision.slot, int | None)
assert_type(decision.risk, float | None)
assert_type(decision.source, Source)
assert_type(decision.reason, str)
assert_type(scheduler.select_many([task], reserve=False), list[Decision])
assert_type(scheduler.explain(task), Explanation)
assert_type(scheduler.explain(task)[0], WorkerTerms)
assert_type(scheduler.explain(task)[:3], list[WorkerTerms])
assert_type(scheduler.candidates(task, limit=3), list[Candidate])
assert_type(scheduler.fit(task).fitting, int)
assert_type(scheduler.params, GAParams)

schedulers: list[Scheduler] = [scheduler, RoundRobinScheduler(table)]
assert_type(schedulers[0].select_worker(task), Decision)


class Mine:
    """A policy of the user's own needs no base class."""

    @property
    def name(self) -> str:
        return "mine"

    def select_worker(self, task: Task, now: float | None = None) -> Decision:
        return Decision(source=Source.NONE, reason="never")

    def reset(self) -> None: ...


RTSScheduler(table, fallback=Mine())
