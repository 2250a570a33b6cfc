"""A scheduler of your own, and what it is worth: the same tasks through the master's core for each.

Best fit: of the workers with room for a task the one with the fewest cores left, so that the large ones
stay free.
"""

from __future__ import annotations

import heapq

import numpy as np

from aod.replay import Machines, Workload
from aod.workloads import make_machines, make_workload
from master.cluster import Cluster
from master.events import AttemptFinished, AttemptId, InsertAttempt, Place, RegisterWorker, Submit
from master.records import Submission, WorkerRecord
from rtscore import (
    TASK_TYPES,
    Decision,
    InMemoryTauStore,
    RoundRobinScheduler,
    RTSScheduler,
    Scheduler,
    Source,
    Task,
    WorkerTable,
)


class BestFitScheduler:
    """Chooses the feasible worker with the fewest cores to spare, equal ones by slot."""

    def __init__(self, table: WorkerTable) -> None:
        self.table = table

    @property
    def name(self) -> str:
        """The policy's name in settings and metrics."""
        return "best-fit"

    def select_worker(self, task: Task, now: float | None = None) -> Decision:
        """Return where a task goes; reserves nothing."""
        columns = self.table.columns()
        fits = self.table.schedulable()
        for resource in ("cpu", "memory", "gpu", "storage"):
            fits &= columns[f"{resource}_avail"] >= getattr(task, resource)
        if not fits.any():
            # "Nothing fits" is an answer, not an error: the task stays queued and is asked for again.
            return Decision(source=Source.NONE, reason="no worker has room")
        slot = int(np.argmin(np.where(fits, columns["cpu_avail"], np.inf)))
        return Decision(self.table.id(slot), slot, source=Source.RTS)

    def reset(self) -> None:
        """Nothing is remembered from one decision to the next."""


def share_met(table: WorkerTable, scheduler: Scheduler, machines: Machines, load: Workload) -> float:
    """The share of deadlines that are met when the master's core asks this scheduler."""
    cluster = Cluster(table, scheduler, InMemoryTauStore())
    now = float(load.arrival[0])
    for name, (cpu, memory, gpu, storage) in zip(machines.worker_ids, machines.totals.tolist(), strict=True):
        record = WorkerRecord(name, cpu=cpu, memory=memory, gpu=gpu, storage=storage, registered_at=now)
        cluster.handle(RegisterWorker(record), now)
    index = {name: i for i, name in enumerate(load.task_ids)}
    column = {name: j for j, name in enumerate(machines.worker_ids)}
    running: list[tuple[float, int, str, float]] = []
    arrived = met = 0
    while arrived < len(load) or running:
        now = min(
            load.arrival[arrived] if arrived < len(load) else np.inf, running[0][0] if running else np.inf
        )
        while running and running[0][0] <= now:
            end, i, worker, start = heapq.heappop(running)
            met += end <= load.deadline[i]
            attempt = AttemptId(load.task_ids[i], 1)
            done = AttemptFinished(
                worker, attempt, True, started_at=start, finished_at=end, runtime_s=end - start
            )
            cluster.handle(done, now)
        while arrived < len(load) and load.arrival[arrived] <= now:
            i, arrived = arrived, arrived + 1
            submission = Submission(
                load.task_ids[i],
                command="true",
                cpu=load.cpu[i],
                memory=load.memory[i],
                gpu=load.gpu[i],
                storage=load.storage[i],
                task_type=str(TASK_TYPES[load.type[i]]),
                deadline=load.deadline[i],
            )
            cluster.handle(Submit(submission), now)
        for effect in cluster.handle(Place(), now):
            if isinstance(effect, InsertAttempt):
                i, worker = index[effect.record.task_id], effect.record.worker_id
                # The truth that no scheduler is told: how slow this worker is at this type.
                runtime = load.base_s[i] * machines.slowdown_tw[load.type[i], column[worker]]
                heapq.heappush(running, (now + runtime, i, worker, now))
    return met / len(load)


if __name__ == "__main__":
    machines = make_machines(20, seed=1)
    load = make_workload(2_000, machines, load=0.7, seed=1, start=1e9)
    for make in (BestFitScheduler, RoundRobinScheduler, RTSScheduler):
        table = WorkerTable()
        scheduler = make(table)
        print(f"{scheduler.name:12} {share_met(table, scheduler, machines, load):.1%} of the deadlines met")
