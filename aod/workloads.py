"""Made-up workloads and clusters with planted truth: six types, four arrival patterns, a load; seeded."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path

import msgspec
import numpy as np

from aod._njit import F64
from aod.jsonlines import read_objects
from aod.replay import Machines, Workload
from rtscore.tasks import DEFAULT_SLA_MULTIPLIER, DEFAULT_TAU, TASK_TYPES

# Per type: how common it is, and the (low, high) of cores, GiB, devices and GiB of storage. Requests come in
# halves, as people ask them; each lies in the range for which `infer_task_type` would find the type, where
# there is one.
_TYPES: tuple[tuple[float, tuple[tuple[float, float], ...]], ...] = (
    (0.38, ((0.5, 2.0), (0.5, 4.0), (0.0, 0.0), (0.0, 10.0))),
    (0.23, ((4.5, 8.0), (1.0, 8.0), (0.0, 0.0), (0.0, 20.0))),
    (0.16, ((1.0, 4.0), (8.5, 24.0), (0.0, 0.0), (0.0, 50.0))),
    (0.125, ((1.0, 4.0), (2.0, 8.0), (0.5, 1.0), (0.0, 20.0))),
    (0.015, ((4.5, 8.0), (16.0, 32.0), (2.5, 4.0), (10.0, 100.0))),
    (0.09, ((0.0, 4.0), (1.0, 8.0), (0.0, 0.0), (0.0, 50.0))),
)

# Cores, GiB, devices, GiB; and how common each machine is.
_SHAPES = np.array(
    [
        [16.0, 64.0, 0.0, 500.0],
        [32.0, 128.0, 0.0, 1000.0],
        [32.0, 192.0, 8.0, 1000.0],
        [64.0, 384.0, 8.0, 2000.0],
    ]
)
_SHARES = np.array([0.35, 0.25, 0.25, 0.15])
_IDENTICAL = _SHAPES[2]

THETA = (0.2, 0.1, 0.2, 0.3)
"""The planted sensitivities: a full worker is 30 % slower."""

_NOISE = 0.5
# Spread of log speeds: of workers, and of a type on a worker beyond that.
_WORKER_SPREAD, _PAIR_SPREAD = 0.5, 0.3


class Pattern(StrEnum):
    """How arrivals spread over time.

    Steady is a Poisson process. Burst: all come in bursts of about a hundred at one instant. Mixed: half
    steady, half in bursts. Diurnal: a Poisson process whose rate swings by 80 %, twice over the span.
    """

    STEADY = "steady"
    BURST = "burst"
    MIXED = "mixed"
    DIURNAL = "diurnal"


_BURST_SIZE = 100
_SWING, _DAYS = 0.8, 2.0


def make_machines(n: int, seed: int, *, identical: bool = False) -> Machines:
    """A cluster of n workers.

    Heterogeneous: four sizes, and speeds planted per worker (log-normal, spread 0.5) and type on it (0.3);
    the mean slowdown of a type is 1. Identical: one size with 8 devices, all of speed 1.
    """
    rng = np.random.default_rng([seed, n, 11])
    shapes = rng.choice(len(_SHAPES), size=n, p=_SHARES)
    slowdown_tw = np.exp(
        rng.normal(0.0, _WORKER_SPREAD, n)[None, :] + rng.normal(0.0, _PAIR_SPREAD, (len(TASK_TYPES), n))
    )
    slowdown_tw /= slowdown_tw.mean(axis=1, keepdims=True)
    # The largest machine is there in any cluster: every type can run somewhere.
    shapes[0] = len(_SHAPES) - 1
    if identical:
        slowdown_tw[:] = 1.0
    return Machines(
        worker_ids=tuple(f"w{j:05d}" for j in range(n)),
        totals=np.tile(_IDENTICAL, (n, 1)) if identical else _SHAPES[shapes],
        slowdown_tw=slowdown_tw,
        theta=np.array(THETA),
    )


def make_workload(
    n: int,
    machines: Machines,
    load: float,
    seed: int,
    *,
    pattern: Pattern = Pattern.STEADY,
    start: float = 0.0,
    sla_multiplier: float = DEFAULT_SLA_MULTIPLIER,
) -> Workload:
    """n tasks that offer the machines a load.

    Parameters
    ----------
    load : float
        Of the resource that is asked most: what the tasks need (resource-seconds on average workers, with the
        stretch of one that is busy to this degree, at most full) over what the cluster can do in the span of
        the arrivals (amount times speed, summed over workers). 0.7 is 70 %; a policy that does not prefer
        fast workers needs more than that of the cluster.
    start : float
        The first instant, in Unix seconds.
    """
    rng = np.random.default_rng([seed, n, 12])
    type_ = rng.choice(len(_TYPES), size=n, p=[share for share, _ in _TYPES]).astype(np.int8)
    low, high = (np.array([[b[k] for b in bounds] for _, bounds in _TYPES])[type_] for k in (0, 1))
    request = np.round((low + rng.random((n, 4)) * (high - low)) * 2.0) / 2.0
    tau = np.array([DEFAULT_TAU[name] for name in TASK_TYPES])[type_]
    base_s = tau * np.exp(rng.normal(0.0, _NOISE, n))
    at = _arrivals(n, pattern, rng) * span_for(request, base_s, machines, load)
    arrival = start + at
    return Workload(
        task_ids=tuple(f"t{i:06d}" for i in range(n)),
        arrival=arrival,
        type=type_,
        cpu=request[:, 0],
        memory=request[:, 1],
        gpu=request[:, 2],
        storage=request[:, 3],
        tau=tau,
        deadline=arrival + sla_multiplier * tau,
        base_s=base_s,
        sla_multiplier=np.full(n, sla_multiplier),
    )


def span_for(request: F64, base_s: F64, machines: Machines, load: float) -> float:
    """Seconds in which tasks that ask `request`, shape (n, 4), for `base_s` must arrive to offer a load."""
    if not load > 0.0:
        raise ValueError(f"load is {load!r}; a positive number is allowed")
    busy = min(load, 1.0)
    totals, has_w = machines.totals.sum(axis=0), (machines.totals > 0.0).sum(axis=0)
    # On a worker that has the resource and has given away half of what a full one would.
    free = totals[:3] / np.maximum(has_w[:3], 1) * (1.0 - 0.5 * busy)
    ratios = np.divide(request[:, :3], free, out=np.zeros((len(request), 3)), where=free > 0.0)
    stretch = 1.0 + ratios @ machines.theta[:3] + machines.theta[3] * busy
    need = (request * (base_s * stretch)[:, None]).sum(axis=0)
    # A worker of double speed does double work.
    totals = (machines.totals * (1.0 / machines.slowdown_tw).mean(axis=0)[:, None]).sum(axis=0)
    has = totals > 0.0
    return float((need[has] / totals[has]).max() / load)


def write_tasks(workload: Workload, path: str | os.PathLike[str]) -> None:
    """Write one JSON object per line and task: request, explicit type, τ, and when it arrives, in seconds."""
    encoder = msgspec.json.Encoder()
    columns = [getattr(workload, name).tolist() for name in _COLUMNS]
    with Path(path).open("wb") as file:
        for name, code, *values in zip(workload.task_ids, workload.type.tolist(), *columns, strict=True):
            line = {
                "task_id": name,
                "task_type": str(TASK_TYPES[code]),
                **dict(zip(_NAMES, values, strict=True)),
            }
            file.write(encoder.encode(line) + b"\n")


class TaskLine(msgspec.Struct, frozen=True):
    """A line of a workload file. `runtime_s` is the one on an average idle worker."""

    task_id: str
    task_type: str
    arrival: float
    cpu: float
    memory: float
    gpu: float
    storage: float
    tau: float
    deadline: float
    runtime_s: float
    sla_multiplier: float = DEFAULT_SLA_MULTIPLIER


_NAMES = TaskLine.__struct_fields__[2:]
_COLUMNS = tuple("base_s" if name == "runtime_s" else name for name in _NAMES)


def read_tasks(path: str | os.PathLike[str]) -> Workload:
    """The workload of a file that `write_tasks` wrote, in order of arrival.

    Raises
    ------
    OSError
        When the file cannot be read.
    ValueError
        When a line is no such object; the message has its number.
    """
    code = {str(name): i for i, name in enumerate(TASK_TYPES)}

    def check(line: TaskLine) -> None:
        if line.task_type not in code:
            raise ValueError(f"task_type {line.task_type!r} came; allowed are {', '.join(TASK_TYPES)}")

    lines = read_objects(path, TaskLine, check)
    lines.sort(key=lambda line: line.arrival)
    return Workload(
        tuple(line.task_id for line in lines),
        type=np.array([code[line.task_type] for line in lines], np.int8),
        **{
            column: np.array([getattr(line, name) for line in lines], np.float64)
            for name, column in zip(_NAMES, _COLUMNS, strict=True)
        },
    )


def _arrivals(n: int, pattern: Pattern, rng: np.random.Generator) -> F64:
    """Instants in [0, 1], in order."""
    steady = np.sort(rng.random(n))
    if pattern is Pattern.STEADY:
        return steady
    if pattern is Pattern.DIURNAL:
        grid = np.linspace(0.0, 1.0, 10_001)
        rate = 1.0 - _SWING * np.cos(2.0 * np.pi * _DAYS * grid)
        reached = np.concatenate([[0.0], np.cumsum((rate[1:] + rate[:-1]) / 2.0)])
        return np.interp(steady, reached / reached[-1], grid)
    bursts = np.sort(rng.random(max(n // _BURST_SIZE, 1)))
    in_burst = bursts[rng.integers(0, len(bursts), n)]
    if pattern is Pattern.BURST:
        return np.sort(in_burst)
    return np.sort(np.where(rng.random(n) < 0.5, in_burst, steady))
