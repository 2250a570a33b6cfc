"""The demo's report: per worker, per type, the decisions; what it prints and what `--json` says."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec

from master.cli import output
from master.cli.demo.earlier import EarlierRun
from master.cli.workers import in_order

if TYPE_CHECKING:
    from master.cli.demo.workload import DemoWorker
    from rtscore.client import ClusterStats, TaskInfo


class WorkerLine(msgspec.Struct, frozen=True):
    """One worker: how many tasks ended there, how many in time, their mean runtime in seconds.

    `times`: how often tasks do their work there.
    """

    worker_id: str
    cpu: float
    memory: float
    gpu: float
    tasks: int
    sla_met: int
    mean_runtime_s: float | None
    times: int = 1


class TypeLine(msgspec.Struct, frozen=True):
    """One task type: τ before the first task and after the last, in seconds."""

    task_type: str
    tasks: int
    sla_met: int
    mean_runtime_s: float | None
    tau_before: float
    tau_after: float


class Learning(msgspec.Struct, frozen=True):
    """Which parameters placed the tasks, what the epoch at the end made of them, and what differs then.

    `reason` is how the version came to be used: initial, accepted, auto-rollback, ...
    """

    version: int
    reason: str
    verdict: str
    why: str
    version_after: int
    reason_after: str
    changes: tuple[str, ...]


class Report(msgspec.Struct, frozen=True):
    """What came of the demo; `problems` is empty when every task succeeded and every figure agrees.

    `earlier` is the run before this one on the same store.
    """

    tasks: int
    completed: int
    failed: int
    sla_met: int
    attempts: int
    elapsed_s: float
    ready_s: float
    workers: tuple[WorkerLine, ...]
    types: tuple[TypeLine, ...]
    decisions: int
    fallbacks: int
    decision_p50_us: float
    decision_p99_us: float
    run: int = 1
    learning: Learning | None = None
    earlier: EarlierRun | None = None
    problems: tuple[str, ...] = ()


def _mean_runtime(tasks: Sequence[TaskInfo]) -> float | None:
    return sum(task.runtime_s for task in tasks) / len(tasks) if tasks else None


def _met(tasks: Iterable[TaskInfo]) -> int:
    return sum(task.sla_success is True for task in tasks)


def make_report(
    tasks: Sequence[TaskInfo],
    workers: Sequence[DemoWorker],
    before: ClusterStats,
    after: ClusterStats,
    elapsed_s: float,
    ready_s: float,
) -> Report:
    """Sum up the finished tasks as the master told them."""

    def of_worker(worker: DemoWorker) -> WorkerLine:
        own = [task for task in tasks if task.worker_id == worker.worker_id]
        return WorkerLine(
            worker.worker_id,
            worker.cpu,
            worker.memory,
            worker.gpu,
            len(own),
            _met(own),
            _mean_runtime(own),
            worker.times,
        )

    def of_type(name: str, tau_before: float) -> TypeLine:
        own = [task for task in tasks if task.task_type == name]
        return TypeLine(name, len(own), _met(own), _mean_runtime(own), tau_before, after.tau[name])

    return Report(
        tasks=len(tasks),
        completed=sum(task.state == "completed" for task in tasks),
        failed=sum(task.state == "failed" for task in tasks),
        sla_met=_met(tasks),
        attempts=sum(task.attempt for task in tasks),
        elapsed_s=elapsed_s,
        ready_s=ready_s,
        workers=tuple(map(of_worker, workers)),
        types=tuple(of_type(name, tau) for name, tau in in_order(before.tau)),
        decisions=after.decisions,
        fallbacks=after.fallbacks,
        decision_p50_us=after.decision_p50_us,
        decision_p99_us=after.decision_p99_us,
    )


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"


def print_report(report: Report, cores: int) -> None:
    """Print it for people on stdout."""
    output.print_table(
        ("worker", "cpu", "memory", "gpu", "tasks", "SLA met", "mean runtime"),
        [
            (
                line.worker_id,
                output.amount(line.cpu),
                f"{output.amount(line.memory)} GiB",
                output.amount(line.gpu),
                str(line.tasks),
                f"{line.sla_met} ({output.share(line.sla_met, line.tasks)})",
                _seconds(line.mean_runtime_s),
            )
            for line in report.workers
        ],
        right=("cpu", "memory", "gpu", "tasks", "SLA met", "mean runtime"),
    )
    print()
    output.print_table(
        ("type", "tasks", "SLA met", "mean runtime", "tau before", "tau after"),
        [
            (
                line.task_type,
                str(line.tasks),
                f"{line.sla_met} ({output.share(line.sla_met, line.tasks)})",
                _seconds(line.mean_runtime_s),
                _seconds(line.tau_before),
                _seconds(line.tau_after),
            )
            for line in report.types
        ],
        right=("tasks", "SLA met", "mean runtime", "tau before", "tau after"),
    )
    print()
    print(
        f"Ready after {report.ready_s:.1f} s. {report.tasks} tasks in {report.elapsed_s:.1f} s: "
        f"{report.completed} completed, "
        f"{report.failed} failed, {report.sla_met} met their deadline "
        f"({output.share(report.sla_met, report.tasks)})."
    )
    print(
        f"{report.decisions} decisions, {report.fallbacks} by the round-robin fallback; one takes "
        f"{report.decision_p50_us:.1f} µs (p50), {report.decision_p99_us:.1f} µs (p99)."
    )
    if report.learning is not None:
        _print_learning(report.learning)
    if report.earlier is not None:
        _print_earlier(report, report.earlier)
    print(
        f"All workers share this machine's {cores} cores; their sizes are what they declare, and the gpu "
        "tasks multiply on the CPU."
    )
    for line in report.workers:
        if line.times > 1:
            print(f"{line.worker_id} plays a slow machine: tasks do their work {line.times} times there.")


def _print_learning(learning: Learning) -> None:
    came_by = {"initial": "the defaults", "accepted": "learned before"}.get(learning.reason, learning.reason)
    print(f"Version {learning.version} of the parameters placed these tasks ({came_by}).")
    print(f"The epoch at the end: {learning.verdict}, {learning.why}.")
    if learning.version_after != learning.version:
        print(f"Version {learning.version_after} is in use now ({learning.reason_after}). What changed:")
        for line in learning.changes:
            print(f"  {line}")


def _print_earlier(report: Report, earlier: EarlierRun) -> None:
    before = sum(earlier.tasks.values())
    shares = [
        f"{line.worker_id} {output.share(earlier.tasks.get(line.worker_id, 0), before)} -> "
        f"{output.share(line.tasks, report.tasks)}"
        for line in report.workers
    ]
    met = f"{output.share(earlier.sla_met, before)} -> {output.share(report.sla_met, report.tasks)}"
    print(f"Run {earlier.number} -> {report.run}: SLA met {met}; of the tasks went to {', '.join(shares)}.")
