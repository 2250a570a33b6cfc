"""Which workers the demo starts, and which tasks it submits when: seeded, of all six types."""

from __future__ import annotations

import random
import shlex
import sys

import msgspec

# An epoch of learning needs 100, and sees little in so few.
DEFAULT_TASKS = 200
MIN_TASKS = 60
# One of each size: the gpu types need the larger two.
MIN_WORKERS = 4
MAX_WORKERS = 64


class DemoWorker(msgspec.Struct, frozen=True):
    """What a worker declares: cores, GiB, devices. They are sizes for the scheduler, not the machine's.

    `times` is how often tasks do their work there: a worker where they do it thrice is a slow machine.
    """

    worker_id: str
    cpu: float
    memory: float
    gpu: float
    storage: float = 50.0
    times: int = 1


class DemoTask(msgspec.Struct, frozen=True):
    """A task and the second, after the demo's start, at which it is submitted."""

    at_s: float
    task_id: str
    command: str
    cpu: float
    memory: float
    gpu: float
    task_type: str
    deadline_s: float


class _Shape(msgspec.Struct, frozen=True):
    """A request with the kinds of work it does, and the range of each kind's amount.

    `task_type` empty leaves the type to the master's inference, which must find `expected`. `usual_s` is how
    long such a task runs, about, on two idle cores.
    """

    expected: str
    task_type: str
    cpu: float
    memory: float
    gpu: float
    usual_s: float
    work: tuple[tuple[str, float, float], ...]


_SIZES = (
    ("small", 4.0, 12.0, 0.0),
    ("medium", 8.0, 24.0, 0.0),
    ("gpu", 8.0, 24.0, 4.0),
    ("large", 16.0, 64.0, 8.0),
)

# One of them is a slow machine, for the learning to find out.
TIMES = {"medium": 3}

# Amounts: MiB to hash or compress, millions to sort, rows of a matrix, seconds to sleep. They are about
# 0.1 to 0.7 s each on one 2.6 GHz core. The gpu types compute their products on the CPU.
_SHAPES = (
    _Shape("cpu-light", "", 1.0, 0.5, 0.0, 0.5, (("hash", 100, 300), ("compress", 0.5, 2))),
    _Shape("cpu-heavy", "", 5.0, 2.0, 0.0, 0.8, (("compress", 2, 6), ("hash", 300, 600))),
    _Shape("memory-heavy", "memory-heavy", 2.0, 10.0, 0.0, 0.7, (("sort", 0.7, 2),)),
    _Shape("gpu-inference", "", 1.0, 2.0, 0.5, 0.5, (("multiply 400", 2, 8),)),
    _Shape("gpu-training", "gpu-training", 2.0, 6.0, 2.0, 0.8, (("multiply 800", 3, 8),)),
    _Shape("mixed", "", 0.0, 1.0, 0.0, 0.8, (("sleep", 0.25, 1.2),)),
    _Shape("cpu-light", "cpu-light", 1.0, 0.5, 0.0, 0.5, (("compress", 0.5, 2), ("sleep", 0.2, 0.5))),
    _Shape("gpu-training", "", 5.0, 8.0, 3.0, 0.8, (("multiply 800", 3, 8),)),
    _Shape("memory-heavy", "", 1.0, 9.0, 0.0, 0.7, (("sort", 0.7, 2),)),
)

# Deadlines in usual runtimes, from one that needs a fast worker to a comfortable one. They are given with the
# tasks, so that what a run makes of them can be compared with another: those made from τ move with it.
_DEADLINES = (1.6, 2.5, 2.5, 6.0)

# Tasks come in bursts, so that there is a queue and a choice from the first to the last: an epoch judges by
# the newest.
_BURST = 4
_MEAN_GAP_S = 1.2


def workers(count: int) -> list[DemoWorker]:
    """So many workers: the four sizes in turn."""
    found = []
    for number in range(count):
        name, cpu, memory, gpu = _SIZES[number % len(_SIZES)]
        turn = number // len(_SIZES)
        worker_id = f"{name}-{turn + 1}" if turn else name
        found.append(DemoWorker(worker_id, cpu, memory, gpu, times=TIMES.get(name, 1)))
    return found


def tasks(count: int, seed: int, run: int = 1) -> list[DemoTask]:
    """So many tasks in the order of their submission; the same seed gives the same tasks.

    `run` counts the runs on one store: it is part of the ids.
    """
    chance = random.Random(seed)
    at_s = 0.0
    found = []
    for number in range(count):
        shape = _SHAPES[number % len(_SHAPES)]
        kind, least, most = chance.choice(shape.work)
        amount = chance.uniform(least, most)
        written = f"{amount:.0f}" if amount >= 3.0 else f"{amount:.2f}"
        if number and number % _BURST == 0:
            at_s += chance.expovariate(1 / _MEAN_GAP_S)
        found.append(
            DemoTask(
                at_s=at_s,
                task_id=f"demo-{run}-{number + 1:03d}",
                command=f"{shlex.quote(sys.executable)} -m master.cli.demo.work {kind} {written}",
                cpu=shape.cpu,
                memory=shape.memory,
                gpu=shape.gpu,
                task_type=shape.task_type,
                deadline_s=shape.usual_s * chance.choice(_DEADLINES),
            )
        )
    return found


def expected_types(count: int) -> list[str]:
    """The type that each of so many tasks must have after submission, given or inferred."""
    return [_SHAPES[number % len(_SHAPES)].expected for number in range(count)]
