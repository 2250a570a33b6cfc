"""A cluster in a file: one worker a line, its amounts and, where it is known, its speed."""

from __future__ import annotations

import os

import msgspec
import numpy as np

from aod.jsonlines import read_objects
from aod.replay import Machines
from aod.workloads import THETA
from rtscore.tasks import MAX_AMOUNT, TASK_TYPES

_SLOWEST, _FASTEST = 1e-3, 1e3


class WorkerLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line: cores, GiB, devices, GiB; `speed` 2 is twice as fast as an average worker.

    A speed may be one number, or one per task type; a type that is not named has 1.
    """

    worker_id: str
    cpu: float
    memory: float
    gpu: float = 0.0
    storage: float = 0.0
    speed: float | dict[str, float] | None = None


def read_cluster(path: str | os.PathLike[str]) -> list[WorkerLine]:
    """The workers of a file, in its order; blank lines are skipped.

    Raises
    ------
    OSError
        When the file cannot be read.
    ValueError
        When it holds no workers, one twice, or a line that is no worker; the message has its number.
    """
    seen: set[str] = set()

    def check(line: WorkerLine) -> None:
        _check(line)
        if line.worker_id in seen:
            raise ValueError(f"worker {line.worker_id!r} came before")
        seen.add(line.worker_id)

    lines = read_objects(path, WorkerLine, check)
    if not lines:
        raise ValueError(f"{os.fspath(path)} holds no workers; write one JSON object a line")
    return lines


def machines_of_lines(lines: list[WorkerLine]) -> Machines:
    """The workers with the speeds that the file says, and the sensitivities of made-up clusters."""
    slowdown_tw = np.ones((len(TASK_TYPES), len(lines)))
    for j, line in enumerate(lines):
        speed = line.speed
        for k, name in enumerate(TASK_TYPES):
            of_type = speed.get(name, 1.0) if isinstance(speed, dict) else speed
            slowdown_tw[k, j] = 1.0 / (1.0 if of_type is None else of_type)
    return Machines(
        tuple(line.worker_id for line in lines),
        np.array([[line.cpu, line.memory, line.gpu, line.storage] for line in lines]),
        slowdown_tw,
        np.array(THETA),
    )


def _check(line: WorkerLine) -> None:
    for name in ("cpu", "memory", "gpu", "storage"):
        value = getattr(line, name)
        if not 0.0 <= value <= MAX_AMOUNT:
            raise ValueError(f"{name} is {value!r}; a number in [0, {MAX_AMOUNT:g}] is allowed")
    speeds = line.speed if isinstance(line.speed, dict) else {"": line.speed}
    for name, speed in speeds.items():
        if name and name not in TASK_TYPES:
            raise ValueError(f"speed names {name!r}; allowed are {', '.join(TASK_TYPES)}")
        if speed is not None and not _SLOWEST <= speed <= _FASTEST:
            raise ValueError(
                f"speed{f' of {name}' if name else ''} is {speed!r}; {_SLOWEST:g} to {_FASTEST:g} is allowed"
            )
