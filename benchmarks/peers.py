"""Who decides: our scheduler, the NumPy reference, and a numba loop of the same formula.

A peer is prepared for one cluster and its tasks, and offers one function and its arguments per task, so that
what is timed is the call that a user of it would make, with everything bound that can be bound before.

The numba loop is the one that an engineer would write first and keep: one pass over the workers, compiled,
those that do not fit skipped before anything is divided, products of the task hoisted by the compiler. No
fastmath: it must give the same worker, also with infinities. Its columns are rows of one matrix, because
eight array arguments cost it 0.7 µs a call more than one; that is the faster variant and so the fairer peer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.clusters import PLACEABLE, Cluster
from rtscore import TASK_TYPES, Decision, GAParams, Task
from rtscore.reference import Columns, select

RESOURCES = ("cpu", "memory", "gpu", "storage")
BATCH = 100  # tasks in one select_many
AFFINITY = 7  # first of the six rows of affinity in the numba loop's matrix


@dataclass(frozen=True, slots=True)
class Peer:
    """A way to decide.

    Attributes
    ----------
    call : callable
        Decides one task.
    args : sequence of tuple
        Its arguments, per task.
    slot : callable
        The chosen slot in what `call` returned, -1 for none.
    """

    name: str
    call: Callable[..., Any]
    args: Sequence[tuple[Any, ...]]
    slot: Callable[[Any], int]


def compared(cluster: Cluster) -> list[Peer]:
    """Ours first, then those to compare it with: one call decides one task."""
    return [ours(cluster), reference(cluster), numba_loop(cluster)]


def own_ways(cluster: Cluster) -> list[Peer]:
    """The other ways to use ours: in a batch, after a heartbeat, the best 8, acted upon, with its reason.

    The table is as it was after each call.
    """
    select_worker, table = cluster.scheduler.select_worker, cluster.table

    def place(task: Task) -> Decision:
        decision = select_worker(task)
        if decision.worker_id is not None:
            table.reserve(decision.worker_id, task)
            table.release(decision.worker_id, task)
        return decision

    ids = table.ids()
    loads = table.columns()["reported_load"].tolist()

    def beat(task: Task, slot: int) -> Decision:
        table.set_load(ids[slot], 1.0)
        decision = select_worker(task)
        table.set_load(ids[slot], loads[slot])
        return decision

    tasks = cluster.tasks
    beats = [(task, i * 7919 % len(ids)) for i, task in enumerate(tasks)]
    batches = [(tasks[i : i + BATCH], None, False) for i in range(0, len(tasks), BATCH)]
    ways = [
        Peer("batch", cluster.scheduler.select_many, batches, _slots),
        Peer("beat", beat, beats, _slot),
        Peer("best 8", cluster.scheduler.candidates, [(task,) for task in tasks], len),
    ]
    if cluster.kind in PLACEABLE:
        ways.append(Peer("place", place, [(task,) for task in tasks], _slot))
    else:
        ways.append(Peer("reason", lambda task: select_worker(task).reason, [(task,) for task in tasks], len))
    return ways


def _slot(decision: Decision) -> int:
    return -1 if decision.slot is None else decision.slot


def _slots(decisions: list[Decision]) -> int:
    return _slot(decisions[0])


def ours(cluster: Cluster) -> Peer:
    """`RTSScheduler.select_worker`, called as a user calls it."""
    return Peer("rtscore", cluster.scheduler.select_worker, [(task,) for task in cluster.tasks], _slot)


def reference(cluster: Cluster) -> Peer:
    """`rtscore.reference.select` on columns that were taken from the table before."""
    columns = cluster.table.columns()
    of_table = Columns(
        cpu=columns["cpu_avail"].copy(),
        memory=columns["memory_avail"].copy(),
        gpu=columns["gpu_avail"].copy(),
        storage=columns["storage_avail"].copy(),
        load=columns["load"].copy(),
        schedulable=cluster.table.schedulable(),
        affinity=cluster.affinity_tw[0],
        penalty=cluster.penalty,
    )
    per_type = {
        task_type: of_table._replace(affinity=row)
        for task_type, row in zip(TASK_TYPES, cluster.affinity_tw, strict=True)
    }
    params = cluster.scheduler.params
    return Peer(
        "numpy",
        select,
        [(task, per_type[task.task_type], params) for task in cluster.tasks],
        lambda answer: answer[0],
    )


def numba_loop(cluster: Cluster) -> Peer:
    """The loop, on a matrix of what the table holds at this moment."""
    matrix = matrix_of(cluster)
    weights = weights_of(cluster.scheduler.params)
    return Peer(
        "numba", least_risk_loop(), [(matrix, *numbers_of(task), *weights) for task in cluster.tasks], int
    )


def matrix_of(cluster: Cluster) -> NDArray[np.float64]:
    """The table and the learned scores as one matrix, a row per attribute, a column per slot."""
    columns = cluster.table.columns()
    return np.vstack(
        [
            *(columns[f"{name}_avail"] for name in RESOURCES),
            columns["load"],
            cluster.table.schedulable().astype(np.float64),
            cluster.penalty,
            cluster.affinity_tw,
        ]
    )


def numbers_of(task: Task) -> tuple[float | int, ...]:
    """A task as the loop takes it; decided on arrival, like everything that is timed here."""
    return (
        task.cpu,
        task.memory,
        task.gpu,
        task.storage,
        task.tau,
        task.deadline - task.arrival_time,
        AFFINITY + TASK_TYPES.index(task.task_type),
    )


def weights_of(params: GAParams) -> tuple[float, ...]:
    """θ, α and β as the loop takes them."""
    theta, risk = params.theta, params.risk
    return (theta.theta1, theta.theta2, theta.theta3, theta.theta4, risk.alpha, risk.beta)


@cache
def least_risk_loop() -> Callable[..., int]:
    """The compiled loop; compiling takes a second, so only who asks for it pays."""
    from numba import njit

    return njit(nogil=True, boundscheck=False, cache=True)(least_risk)


def least_risk(
    matrix: NDArray[np.float64],
    cpu: float,
    memory: float,
    gpu: float,
    storage: float,
    tau: float,
    slack: float,
    affinity_row: int,
    theta1: float,
    theta2: float,
    theta3: float,
    theta4: float,
    alpha: float,
    beta: float,
) -> int:
    """The slot of least risk, -1 when no worker that fits has a finite one."""
    cpu_avail, memory_avail, gpu_avail, storage_avail = matrix[0], matrix[1], matrix[2], matrix[3]
    load, is_open, penalty, affinity = matrix[4], matrix[5], matrix[6], matrix[affinity_row]
    best = np.inf
    chosen = -1
    for j in range(matrix.shape[1]):
        c, m, g = cpu_avail[j], memory_avail[j], gpu_avail[j]
        if is_open[j] == 0.0 or c < cpu or m < memory or g < gpu or storage_avail[j] < storage:
            continue
        share_c = theta1 * cpu / (c if c != 0.0 else 1.0)
        share_m = theta2 * memory / (m if m != 0.0 else 1.0)
        share_g = theta3 * gpu / (g if g != 0.0 else 1.0)
        late = tau * (1.0 + share_c + share_m + share_g + theta4 * load[j]) - slack
        if late < 0.0:
            late = 0.0
        risk = alpha * late + ((beta * load[j] - affinity[j]) + penalty[j])
        if risk < best:  # neither NaN nor infinity is, and -inf cannot be: affinities are bounded
            best = risk
            chosen = j
    return chosen
