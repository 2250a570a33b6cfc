"""Which workers the demo starts, and which tasks it submits when: seeded, of all six types."""

from __future__ import annotations

import random
import shlex
import sys

import msgspec

DEFAULT_TASKS = 72
MIN_TASKS = 60
# One of each size: the gpu types need the larger two.
MIN_WORKERS = 4
MAX_WORKERS = 64


class DemoWorker(msgspec.Struct, frozen=True):
    """What a worker declares: cores, GiB, devices. They are sizes for the scheduler, not the machine's."""

    worker_id: str
    cpu: float
    memory: float
    gpu: float
    storage: float = 50.0


class DemoTask(msgspec.Struct, frozen=True):
    """A task and the second, after the demo's start, at which it is submitted."""

    at_s: float
    task_id: str
    command: str
    cpu: float
    memory: float
    gpu: float
    task_type: str
    sla_multiplier: float


class _Shape(msgspec.Struct, frozen=True):
    """A request with the kinds of work it does, and the range of each kind's amount.

    `task_type` empty leaves the type to the master's inference, which must find `expected`.
    """

    expected: str
    task_type: str
    cpu: float
    memory: float
    gpu: float
    work: tuple[tuple[str, float, float], ...]


_SIZES = (
    ("small", 2.0, 6.0, 0.0),
    ("medium", 4.0, 12.0, 0.0),
    ("gpu", 8.0, 24.0, 2.0),
    ("large", 12.0, 48.0, 8.0),
)

# Amounts: MiB to hash or compress, millions to sort, rows of a matrix, seconds to sleep. They are about
# 0.3 to 2 s each on one 2.6 GHz core. The gpu types compute their products on the CPU.
_SHAPES = (
    _Shape("cpu-light", "", 1.0, 0.5, 0.0, (("hash", 300, 1000), ("compress", 2, 6))),
    _Shape("cpu-heavy", "", 5.0, 2.0, 0.0, (("compress", 7, 16), ("hash", 1000, 2200))),
    _Shape("memory-heavy", "memory-heavy", 2.0, 10.0, 0.0, (("sort", 3, 8),)),
    _Shape("gpu-inference", "", 1.0, 2.0, 0.5, (("multiply 600", 4, 20),)),
    _Shape("gpu-training", "gpu-training", 2.0, 6.0, 2.0, (("multiply 1200", 6, 16),)),
    _Shape("mixed", "", 0.0, 1.0, 0.0, (("sleep", 0.5, 2.5),)),
    _Shape("cpu-light", "cpu-light", 1.0, 0.5, 0.0, (("compress", 2, 6), ("sleep", 0.3, 1.0))),
    _Shape("gpu-training", "", 5.0, 8.0, 3.0, (("multiply 1200", 6, 16),)),
    _Shape("memory-heavy", "", 1.0, 9.0, 0.0, (("sort", 3, 8),)),
)

# From a deadline that only an idle cluster meets once τ has been learned, to a comfortable one.
_SLA_MULTIPLIERS = (1.2, 2.0, 2.0, 4.0)

# 40 % come at once, so that a queue forms; the rest at these mean distances, so that the later deadlines
# are set by what the cluster has learned of the earlier runtimes.
_BURST = 0.4
_MEAN_GAP_S = 0.3


def workers(count: int) -> list[DemoWorker]:
    """So many workers: the four sizes in turn."""
    found = []
    for number in range(count):
        name, cpu, memory, gpu = _SIZES[number % len(_SIZES)]
        turn = number // len(_SIZES)
        found.append(DemoWorker(f"{name}-{turn + 1}" if turn else name, cpu, memory, gpu))
    return found


def tasks(count: int, seed: int) -> list[DemoTask]:
    """So many tasks in the order of their submission; the same seed gives the same tasks."""
    chance = random.Random(seed)
    at_s = 0.0
    found = []
    for number in range(count):
        shape = _SHAPES[number % len(_SHAPES)]
        kind, least, most = chance.choice(shape.work)
        amount = chance.uniform(least, most)
        written = f"{amount:.2f}" if kind == "sleep" else f"{max(1.0, amount):.0f}"
        if number >= count * _BURST:
            at_s += chance.expovariate(1 / _MEAN_GAP_S)
        found.append(
            DemoTask(
                at_s=at_s,
                task_id=f"demo-{number + 1:03d}",
                command=f"{shlex.quote(sys.executable)} -m master.cli.demo.work {kind} {written}",
                cpu=shape.cpu,
                memory=shape.memory,
                gpu=shape.gpu,
                task_type=shape.task_type,
                sla_multiplier=chance.choice(_SLA_MULTIPLIERS),
            )
        )
    return found


def expected_types(count: int) -> list[str]:
    """The type that each of so many tasks must have after submission, given or inferred."""
    return [_SHAPES[number % len(_SHAPES)].expected for number in range(count)]
