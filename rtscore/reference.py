"""The model in NumPy: the specification that the kernel answers to, bit for bit.

For a task with request C, M, G and a worker j with available amounts C_j, M_j, G_j, load L_j, affinity A_j
(of the task's type) and penalty P_j, computed in float64 in exactly this order::

    runtime  = tau * ((((1 + (theta1*C)/C_j) + (theta2*M)/M_j) + (theta3*G)/G_j) + theta4*L_j)
    lateness = max(0, runtime - slack)             slack = deadline - now
    static   = (beta*L_j - A_j) + P_j
    risk     = alpha*lateness + static

An available amount of 0 is replaced by 1.0 in its ratio.

Feasible: schedulable, and each available amount (storage too) is at least what is asked.
NaN rule: ``max`` passes a NaN on, and a candidate is a feasible worker whose risk is finite. So whatever term
overflows or is NaN, the worker is not a candidate.
Tie rule: of equal risks, the lowest slot.
No candidate: `-1`. Then the fallback decides if any worker is feasible, and nobody if none is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from rtscore.params import GAParams
    from rtscore.tasks import Task
    from rtscore.workers import WorkerTable

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

RESOURCES = ("cpu", "memory", "gpu", "storage")


class Columns(NamedTuple):
    """A cluster as the model sees it; every array has one element per slot.

    `affinity` is that of one task type; it and `penalty` are scores, the amounts are what is available in
    cores, GiB, devices and GiB, `load` is max(reported, promised).
    """

    cpu: Floats
    memory: Floats
    gpu: Floats
    storage: Floats
    load: Floats
    schedulable: Bools
    affinity: Floats
    penalty: Floats


class Terms(NamedTuple):
    """Every term of the risk, one element per slot; seconds where the name says so."""

    feasible: Bools
    cpu_share: Floats
    memory_share: Floats
    gpu_share: Floats
    load_share: Floats
    runtime_s: Floats
    lateness_s: Floats
    static: Floats
    risk: Floats


def quantise(amount: float) -> float:
    """Return an amount as the scheduler keeps it: the nearest multiple of 2**-20, half to even."""
    return round(amount * 2**20) / 2**20


def promised_load(total: Floats, allocated: Floats) -> Floats:
    """Return the load that follows from what is allocated.

    Parameters
    ----------
    total, allocated : array, shape (3, n)
        cpu, memory and gpu of each worker. A resource that a worker does not have counts nothing; a worker
        that has none of the three has load 0.
    """
    weight = np.stack([total[0], total[1] / 10.0, 2.0 * total[2]])
    usage = np.divide(allocated, total, out=np.zeros_like(total), where=total != 0.0)
    weights = (weight[0] + weight[1]) + weight[2]
    busy = (weight[0] * usage[0] + weight[1] * usage[1]) + weight[2] * usage[2]
    load: Floats = np.divide(busy, weights, out=np.zeros_like(busy), where=weights != 0.0)
    return load


def _share(theta: float, asked: float, available: Floats) -> Floats:
    share: Floats = (theta * asked) / np.where(available == 0.0, 1.0, available)
    return share


def terms(task: Task, columns: Columns, params: GAParams, now: float | None = None) -> Terms:
    """Return every term of the model for one task on every worker; `now` is the arrival when None."""
    theta, weights = params.theta, params.risk
    slack = task.deadline - (task.arrival_time if now is None else now)
    with np.errstate(all="ignore"):
        cpu = _share(theta.theta1, task.cpu, columns.cpu)
        memory = _share(theta.theta2, task.memory, columns.memory)
        gpu = _share(theta.theta3, task.gpu, columns.gpu)
        load = theta.theta4 * columns.load
        runtime = task.tau * ((((1.0 + cpu) + memory) + gpu) + load)
        lateness = np.maximum(0.0, runtime - slack)
        static = (weights.beta * columns.load - columns.affinity) + columns.penalty
        risk = weights.alpha * lateness + static
    feasible = (
        columns.schedulable
        & (columns.cpu >= task.cpu)
        & (columns.memory >= task.memory)
        & (columns.gpu >= task.gpu)
        & (columns.storage >= task.storage)
    )
    return Terms(feasible, cpu, memory, gpu, load, runtime, lateness, static, risk)


def select(task: Task, columns: Columns, params: GAParams, now: float | None = None) -> tuple[int, float]:
    """Return the slot of least risk and its risk; ``(-1, inf)`` when there is no candidate."""
    t = terms(task, columns, params, now)
    risk = np.where(t.feasible & np.isfinite(t.risk), t.risk, np.inf)
    if risk.size == 0 or not np.isfinite(risk.min()):
        return -1, float("inf")
    slot = int(np.argmin(risk))  # the first of equal ones
    return slot, float(risk[slot])


def snapshot(table: WorkerTable, params: GAParams, task_type: str) -> tuple[list[str | None], Columns]:
    """Return the ids by slot, and the table as the model sees it for one task type, both of one instant."""
    ids, raw = table._snapshot()
    slot_of = {worker_id: slot for slot, worker_id in enumerate(ids) if worker_id is not None}

    def scores(given: Mapping[str, float]) -> Floats:
        out = np.zeros(len(ids))
        for worker_id, score in given.items():
            slot = slot_of.get(worker_id)
            if slot is not None:
                out[slot] = score
        return out

    columns = {name: np.frombuffer(raw[name]) for name in (*RESOURCES, "load")}
    return ids, Columns(
        **columns,
        schedulable=np.frombuffer(raw["state"], dtype=np.int8) < 0,
        affinity=scores(params.affinity.get(str(task_type), {})),
        penalty=scores(params.penalty),
    )


def columns_of(table: WorkerTable, params: GAParams, task_type: str) -> Columns:
    """Return the table as the model sees it for one task type (a copy)."""
    return snapshot(table, params, task_type)[1]
