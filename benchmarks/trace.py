"""`python -m benchmarks.trace`: a production trace placed pod by pod, and what each decision cost."""

from __future__ import annotations

import argparse
import heapq
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks import openb
from benchmarks.machine import facts
from benchmarks.report import number
from rtscore import Decision, RoundRobinScheduler, RTSScheduler, Scheduler, Task, WorkerTable
from rtscore.reference import columns_of, select

ABSENT = "the openb trace is absent: set RTS_OPENB_DIR to the folder with its two csv files"
CHECKED_EVERY = 50  # the reference takes longer than everything else here
REPEATS = 5


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a replay went: counts, nanoseconds of each decision, seconds of everything."""

    placed: int
    refused: int
    decision_ns: list[int]
    seconds: float


def replay(scheduler: Scheduler, table: WorkerTable, pods: Sequence[openb.Pod]) -> Outcome:
    """Place the pods in creation order, releasing each at its end; afterwards the table is as it was."""
    clock = time.perf_counter_ns
    running: list[tuple[float, int, str, Task]] = []
    taken = []
    placed = 0
    begun = time.perf_counter()
    for order, (task, end) in enumerate(pods):
        while running and running[0][0] <= task.arrival_time:
            _, _, worker_id, ended = heapq.heappop(running)
            table.release(worker_id, ended)
        before = clock()
        decision = scheduler.select_worker(task)
        taken.append(clock() - before)
        if decision.worker_id is not None:
            table.reserve(decision.worker_id, task)
            heapq.heappush(running, (end, order, decision.worker_id, task))
            placed += 1
    for _, _, worker_id, ended in running:
        table.release(worker_id, ended)
    return Outcome(placed, len(pods) - placed, taken, time.perf_counter() - begun)


@dataclass(slots=True)
class Checked:
    """A scheduler of which every so many decisions are compared with the reference."""

    scheduler: RTSScheduler
    asked: int = 0
    checked: int = 0
    wrong: list[str] = field(default_factory=list)
    name: str = "checked"

    def select_worker(self, task: Task, now: float | None = None) -> Decision:
        """The scheduler's decision."""
        decision = self.scheduler.select_worker(task, now)
        self.asked += 1
        if self.asked % CHECKED_EVERY == 0:
            table, params = self.scheduler.table, self.scheduler.params
            slot, _ = select(task, columns_of(table, params, task.task_type), params, now)
            self.checked += 1
            if decision.slot != (None if slot < 0 else slot):
                self.wrong.append(f"{task.id}: {decision}, the reference says slot {slot}")
        return decision

    def reset(self) -> None:
        """Nothing to forget."""


def main(argv: Sequence[str] | None = None) -> int:
    """Print what the trace cost with us and with round robin; 1 when a decision was wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.trace", description=__doc__)
    parser.add_argument("--json", action="store_true", help="for machines")
    options = parser.parse_args(argv)
    path = openb.folder()
    if path is None:
        print(ABSENT, file=sys.stderr)
        return 0
    table, pods = openb.load_nodes(path), openb.load_pods(path)
    checked = Checked(RTSScheduler(table))
    replay(checked, table, pods)
    document: dict[str, Any] = {"machine": facts(), "workers": len(table), "pods": len(pods)}
    document |= {"checked": checked.checked, "wrong": checked.wrong}
    for scheduler in (checked.scheduler, RoundRobinScheduler(table)):
        outcomes = [replay(scheduler, table, pods) for _ in range(REPEATS)]
        p50, p99 = np.percentile([outcome.decision_ns for outcome in outcomes], [50, 99]) / 1e3
        document[scheduler.name] = {
            "placed": outcomes[0].placed,
            "refused": outcomes[0].refused,
            "select_us": {"p50": float(p50), "p99": float(p99)},
            "us_per_pod": min(outcome.seconds for outcome in outcomes) / len(pods) * 1e6,
        }
    if options.json:
        print(json.dumps(document, indent=2))
    else:
        print(
            f"{len(pods):,} pods on {len(table):,} nodes; "
            f"{len(checked.wrong)} of {checked.checked} decisions differ from the reference"
        )
        for name in (checked.scheduler.name, "round-robin"):
            row = document[name]
            print(
                f"{name:<12} {row['placed']:,} placed, {row['refused']} refused; select p50 "
                f"{number(row['select_us']['p50'])} µs, p99 {number(row['select_us']['p99'])} µs; "
                f"with reserve and release {number(row['us_per_pod'])} µs a pod"
            )
    return 1 if checked.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
