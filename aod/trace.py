"""The openb trace as a workload: production pods on production nodes, their load inflated, speeds planted.

What is recorded: requests, arrivals, runtimes and GPU models, at almost no contention. What is made:

- the load. The trace has about one pod per GPU, so no compression alone makes them compete: the cluster is
  every eighth node in the order of the file, 191 of 1,523. Then the arrivals are compressed: all instants
  are divided by one factor, which keeps their order and their bursts, the one at which the resource that is
  asked most is busy to the wanted degree between first and last arrival, if every pod ran when it arrived.
  The pods of the first 115 of 149 days are left out: 1 %, services that would stretch the arrivals;
- runtimes are the recorded ones, at most a day (1.2 % are longer, up to 149 days);
- speeds: one per GPU model (log-normal, spread 0.5), and a little of its own per node and type (0.1);
- τ, which the trace does not have: the recorded runtime with an error of estimation (log-normal, spread 0.3).
  The types are too broad for one τ each: half of the gpu-inference pods run less than 11 minutes, the mean is
  8 hours.

Which GPU models a pod allows is not modelled, pods that never ran are left out.
"""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np

from aod._njit import F64
from aod.replay import Machines, Workload
from aod.workloads import THETA
from rtscore.tasks import DEFAULT_SLA_MULTIPLIER, TASK_TYPES, infer_task_type

NODES, PODS = "openb_node_list_all_node.csv", "openb_pod_list_default.csv"

_EVERY, _FROM_S, _LONGEST_S = 8, 115 * 86_400.0, 86_400.0
_MODEL_SPREAD, _NODE_SPREAD, _TAU_SPREAD = 0.5, 0.1, 0.3


def load_trace(
    folder: str | os.PathLike[str],
    load: float,
    seed: int,
    *,
    pods: int | None = None,
    sla_multiplier: float = DEFAULT_SLA_MULTIPLIER,
) -> tuple[Machines, Workload]:
    """Nodes with planted speeds, and the pods at a load.

    Parameters
    ----------
    folder : path
        Where the trace's two files are.
    load : float
        0.7 is 70 % of what the cluster can do (amount times speed).
    seed : int
        Of the errors of τ and of the sample; the planted speeds are those of the trace, the same for all.
    pods : int, optional
        So many pods drawn from those of the trace, with their arrivals; the pods as they are when None.

    Raises
    ------
    OSError
        When a file cannot be read.
    ValueError
        When a file is not the trace's, or the load is not positive.
    """
    if not load > 0.0:
        raise ValueError(f"load is {load!r}; a positive number is allowed")
    machines = _machines(Path(folder) / NODES)
    request, created, runtime = _pods(Path(folder) / PODS)
    rng = np.random.default_rng([seed, 13])
    if pods is not None:
        drawn = np.sort(rng.integers(0, len(request), pods))
        request, created, runtime = request[drawn], created[drawn], runtime[drawn]
    at = (created - created[0]) / (created[-1] - created[0])
    arrival = at * _span(at, request, runtime, machines, load)
    tau = runtime * np.exp(rng.normal(0.0, _TAU_SPREAD, len(runtime)))
    code = {name: i for i, name in enumerate(TASK_TYPES)}
    return machines, Workload(
        task_ids=tuple(f"pod-{i:05d}" for i in range(len(request))),
        arrival=arrival,
        type=np.array([code[infer_task_type(*row)] for row in request[:, :3].tolist()], np.int8),
        cpu=request[:, 0],
        memory=request[:, 1],
        gpu=request[:, 2],
        storage=request[:, 3],
        tau=tau,
        deadline=arrival + sla_multiplier * tau,
        base_s=runtime,
        sla_multiplier=np.full(len(request), sla_multiplier),
    )


def _machines(path: Path) -> Machines:
    rows = _rows(path, ("sn", "cpu_milli", "memory_mib", "gpu", "model"))[::_EVERY]
    models = sorted({row["model"] for row in rows})
    rng = np.random.default_rng([len(rows), 14])
    speed = dict(zip(models, rng.normal(0.0, _MODEL_SPREAD, len(models)).tolist(), strict=True))
    slowdown_tw = np.exp(
        np.array([speed[row["model"]] for row in rows])[None, :]
        + rng.normal(0.0, _NODE_SPREAD, (len(TASK_TYPES), len(rows)))
    )
    return Machines(
        worker_ids=tuple(row["sn"] for row in rows),
        totals=np.array(
            [[int(r["cpu_milli"]) / 1000, int(r["memory_mib"]) / 1024, int(r["gpu"]), 0.0] for r in rows]
        ),
        slowdown_tw=slowdown_tw / slowdown_tw.mean(axis=1, keepdims=True),
        theta=np.array(THETA),
    )


def _pods(path: Path) -> tuple[F64, F64, F64]:
    """Requests (n, 4), creation and runtime of the pods that ran, in order of creation."""
    names = ("cpu_milli", "memory_mib", "num_gpu", "gpu_milli", "creation_time", "deletion_time")
    rows = [row for row in _rows(path, (*names, "scheduled_time")) if row["scheduled_time"]]
    cpu, gib, gpus, gpu_milli, created, deleted = (np.array([float(r[name]) for r in rows]) for name in names)
    scheduled = np.array([float(row["scheduled_time"]) for row in rows])
    request = np.column_stack([cpu / 1000, gib / 1024, gpus * gpu_milli / 1000, np.zeros(len(rows))])
    order = np.argsort(created, kind="stable")
    order = order[created[order] >= _FROM_S]
    runtime = np.clip(deleted - scheduled, 1.0, _LONGEST_S)
    return request[order], created[order], runtime[order]


def _rows(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        if missing := [name for name in columns if name not in (reader.fieldnames or ())]:
            raise ValueError(f"{path}: columns are missing: {', '.join(missing)}")
        rows = list(reader)
    if len(rows) < 2:
        raise ValueError(f"{path}: {len(rows)} rows came; at least 2 are allowed")
    return rows


def _span(at: F64, request: F64, runtime: F64, machines: Machines, load: float) -> float:
    """Seconds between first and last arrival at which the pods keep the cluster busy to this degree."""
    speed_w = (1.0 / machines.slowdown_tw).mean(axis=0)
    can = (machines.totals * speed_w[:, None]).sum(axis=0)
    has = can > 0.0

    def offered(span: float) -> float:
        within = np.minimum(runtime, span * (1.0 - at))
        return float(((request * within[:, None]).sum(axis=0)[has] / (can[has] * span)).max())

    # The load falls as the span grows, from that of all pods at once.
    low, high = 1.0, 1e9
    if not offered(high) < load < offered(low):
        raise ValueError(
            f"load is {load!r}; {offered(high):.3g} to {offered(low):.3g} is allowed for these pods"
        )
    for _ in range(100):
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if offered(middle) > load else (low, middle)
    return high
