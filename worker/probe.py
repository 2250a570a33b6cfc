"""What the machine has, and how much of it this worker's commands use."""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path
from typing import NamedTuple

import psutil

from worker.executors.base import Usage

_CGROUP = Path("/sys/fs/cgroup")
_NVIDIA = Path("/proc/driver/nvidia/gpus")


class Totals(NamedTuple):
    """What a worker offers: cores, GiB, devices, GiB."""

    cpu: float
    memory: float
    gpu: float
    storage: float


class Usages(NamedTuple):
    """Fractions of the totals in use."""

    cpu: float
    memory: float
    gpu: float
    storage: float


def machine_totals(directory: Path) -> Totals:
    """Return what this process may use of the machine.

    Cores and memory are those of the container when it has a limit (cgroup v2), gpu is the number of devices
    of the NVIDIA driver (0 without it), storage is what is free where `directory` is.
    """
    cpu = float(len(os.sched_getaffinity(0)))
    quota = _cgroup_fields("cpu.max")
    if len(quota) == 2 and quota[0] != "max":
        cpu = min(cpu, int(quota[0]) / int(quota[1]))
    memory_bytes = psutil.virtual_memory().total
    limit = _cgroup_fields("memory.max")
    if len(limit) == 1 and limit[0] != "max":
        memory_bytes = min(memory_bytes, int(limit[0]))
    gpu = len(list(_NVIDIA.iterdir())) if _NVIDIA.is_dir() else 0
    return Totals(cpu, memory_bytes / 2**30, float(gpu), shutil.disk_usage(directory).free / 2**30)


class UsageMeter:
    """Turns what the executors count into fractions of one worker's totals.

    The usage is that of this worker's own commands, not the machine's: several workers can share a machine,
    each with its own totals, and none of them must look busy because of another. GPU use is not measured and
    reported as 0; the master counts what it has promised of the devices. Storage is the share of the file
    system of `directory` that is in use, by whomever, because that is what fills up.
    """

    def __init__(self, totals: Totals, directory: Path) -> None:
        self._totals = totals
        self._directory = directory
        self._cpu_seconds = math.inf
        self._sampled_at = 0.0

    def sample(self, usage: Usage, now: float) -> Usages:
        """Return the fractions; cpu is the mean since the last sample, 0 at the first one."""
        used, elapsed = usage.cpu_seconds - self._cpu_seconds, now - self._sampled_at
        self._cpu_seconds, self._sampled_at = usage.cpu_seconds, now
        # The count falls when a process is reaped by another than its parent here: then nothing is known.
        cores = max(0.0, used / elapsed) if elapsed > 0 and math.isfinite(used) else 0.0
        disk = shutil.disk_usage(self._directory)
        return Usages(
            cpu=_fraction(cores, self._totals.cpu),
            memory=_fraction(usage.memory_gib, self._totals.memory),
            gpu=0.0,
            storage=_fraction(disk.used, disk.total),
        )


def _fraction(used: float, total: float) -> float:
    return used / total if total > 0 else 0.0


def _cgroup_fields(name: str) -> list[str]:
    try:
        return (_CGROUP / name).read_text(encoding="ascii").split()
    except OSError:
        return []
