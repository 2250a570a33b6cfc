"""What `rts simulate` replays: per load and seed the machines, tasks to judge on, and a past to learn from.

A seed changes what chance decided: of a generated workload everything, cluster included; of a file of tasks
or a recorded history which task had which luck. Seed 1 is the file as it is, every other seed deals the luck
(runtime over τ) anew among the tasks of the same type. Of the openb trace it is the error of τ.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from aod.history import History
from aod.replay import Machines, Replay, Replayer, Workload
from aod.trace import load_trace
from aod.workloads import Pattern, make_machines, make_workload, span_for
from rtscore.tasks import MAX_AMOUNT, TASK_TYPES

# The past is another draw than the tasks that are judged on; as in benchmarks.quality, so that figures agree.
_PAST_SEED, _TEST_SEED = 1000, 2000
_PAST_TASKS = 2


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """A workload on machines, at one load and seed.

    Judged are the tasks from the index `since` on; those before only bring cluster and queue to the state in
    which the judged find them. `past` makes the history to learn from. `truth`: whether the machines' speeds
    are planted and not themselves an estimate. `recorded` is what really happened to the tasks, where it is
    known, and `recorded_met` which of the judged met their deadline: a run that fails in time does not.
    """

    machines: Machines
    tasks: Workload
    past: Callable[[], History]
    since: int = 0
    truth: bool = True
    recorded: Replay | None = None
    recorded_met: NDArray[np.bool_] | None = None


class Source(Protocol):
    """Where cases come from; `kind` is generated, workload, history or openb."""

    @property
    def kind(self) -> str:
        """Its name."""
        ...

    def describe(self) -> dict[str, Any]:
        """What it is, for the report."""
        ...

    def case(self, load: float | None, seed: int) -> Case:
        """The case of a load (None: as recorded) and a seed from 1 on.

        Raises
        ------
        ValueError
            When there is none for this load.
        """
        ...


@dataclass(frozen=True, slots=True)
class Generated:
    """Made-up tasks on a made-up cluster, or on one of a file."""

    pattern: Pattern
    tasks: int
    workers: int
    identical: bool = False
    cluster: Machines | None = None
    kind: str = "generated"

    def describe(self) -> dict[str, Any]:
        """See `Source`."""
        which = "file" if self.cluster is not None else "identical" if self.identical else "heterogeneous"
        return {"kind": self.kind, "pattern": str(self.pattern), "cluster": which}

    def case(self, load: float | None, seed: int) -> Case:
        """See `Source`."""
        assert load is not None
        machines = self.cluster or make_machines(self.workers, seed, identical=self.identical)

        def made(n: int, of: int) -> Workload:
            return make_workload(n, machines, load, of, pattern=self.pattern)

        def past() -> History:
            return Replayer(machines, made(_PAST_TASKS * self.tasks, seed + _PAST_SEED)).run().history()

        return Case(machines, made(self.tasks, seed + _TEST_SEED), past)


@dataclass(frozen=True, slots=True)
class FromFile:
    """The tasks of a file, on a made-up cluster or on one of a file."""

    path: Path
    tasks: Workload
    workers: int
    identical: bool = False
    cluster: Machines | None = None
    kind: str = "workload"

    def describe(self) -> dict[str, Any]:
        """See `Source`."""
        which = "file" if self.cluster is not None else "identical" if self.identical else "heterogeneous"
        return {"kind": self.kind, "file": str(self.path), "cluster": which}

    def case(self, load: float | None, seed: int) -> Case:
        """See `Source`."""
        machines = self.cluster or make_machines(self.workers, seed, identical=self.identical)
        tasks = compressed(self.tasks, machines, load)
        again = deal_luck(tasks, seed + _PAST_SEED)
        return Case(
            machines,
            tasks if seed == 1 else deal_luck(tasks, seed),
            lambda: Replayer(machines, again).run().history(),
        )


@dataclass(frozen=True, slots=True)
class Openb:
    """The openb trace of a folder, its load inflated; see `aod.trace`."""

    folder: Path
    pods: int | None = None
    kind: str = "openb"

    def describe(self) -> dict[str, Any]:
        """See `Source`."""
        return {"kind": self.kind, "folder": str(self.folder)}

    def case(self, load: float | None, seed: int) -> Case:
        """See `Source`."""
        assert load is not None
        machines, tasks = load_trace(self.folder, load, seed, pods=self.pods)

        def past() -> History:
            n = _PAST_TASKS * len(tasks)
            drawn = load_trace(self.folder, load, seed + _PAST_SEED, pods=n)[1]
            return Replayer(machines, drawn).run().history()

        return Case(machines, tasks, past)


def compressed(tasks: Workload, machines: Machines, load: float | None) -> Workload:
    """The tasks with their arrivals compressed or stretched until they offer a load; as they are for None.

    Each keeps the time from arrival to deadline.

    Raises
    ------
    ValueError
        When all arrive at one instant: no factor changes that.
    """
    if load is None:
        return tasks
    first, last = float(tasks.arrival[0]), float(tasks.arrival[-1])
    if not last > first:
        raise ValueError("all tasks arrive at one instant; no load can be made of them")
    span = span_for(tasks.request, tasks.base_s, machines, load)
    arrival = first + (tasks.arrival - first) * (span / (last - first))
    return replace(tasks, arrival=arrival, deadline=arrival + (tasks.deadline - tasks.arrival))


def deal_luck(tasks: Workload, seed: int) -> Workload:
    """The tasks with their luck, runtime over τ, dealt anew among those of the same type."""
    rng = np.random.default_rng([seed, 15])
    luck = tasks.base_s / tasks.tau
    for code in range(len(TASK_TYPES)):
        rows = np.flatnonzero(tasks.type == code)
        luck[rows] = luck[rng.permutation(rows)]
    return replace(tasks, base_s=luck * tasks.tau)


def check_tasks(tasks: Workload) -> None:
    """Raise a ValueError that names a task with a number that no simulation can have."""
    positive = {"tau": tasks.tau, "runtime_s": tasks.base_s, "sla_multiplier": tasks.sla_multiplier}
    amounts = {name: getattr(tasks, name) for name in ("cpu", "memory", "gpu", "storage")}
    instants = {"arrival": tasks.arrival, "deadline": tasks.deadline}
    for columns, low, high, allowed in (
        (positive, 1e-9, 1e9, "1e-9 to 1e9"),
        (amounts, 0.0, MAX_AMOUNT, f"0 to {MAX_AMOUNT:g}"),
        (instants, -1e12, 1e12, "-1e12 to 1e12"),
    ):
        for name, column in columns.items():
            bad = np.flatnonzero(~((column >= low) & (column <= high)))
            if len(bad):
                task, value = tasks.task_ids[bad[0]], float(column[bad[0]])
                raise ValueError(f"task {task!r}: {name} is {value!r}; {allowed} is allowed")
