"""What Linux says of processes: identity, group, use, and the marker in their environment."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class ProcessStat(NamedTuple):
    """One line of /proc/<pid>/stat: `cpu_seconds` with those of the children it waited for."""

    pid: int
    zombie: bool
    group: int
    cpu_seconds: float
    start_ticks: int
    resident_bytes: int


def read_stat(pid: int) -> ProcessStat | None:
    """Return the process's state, or None when there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            line = file.read()
    except OSError:
        return None
    # The name in parentheses may hold spaces and parentheses of its own.
    fields = line[line.rindex(b")") + 2 :].split()
    return ProcessStat(
        pid=pid,
        zombie=fields[0] in b"ZX",
        group=int(fields[2]),
        cpu_seconds=sum(map(int, fields[11:15])) / _TICKS_PER_S,
        start_ticks=int(fields[19]),
        resident_bytes=int(fields[21]) * _PAGE_BYTES,
    )


def processes() -> Iterator[ProcessStat]:
    """Yield every process there is; one that ends meanwhile is left out."""
    for name in os.listdir("/proc"):
        if name.isdecimal() and (stat := read_stat(int(name))) is not None:
            yield stat


def environment_value(pid: int, name: str) -> str | None:
    """Return a variable of the environment that the process was started with, if it can be read."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            environment = b"\0" + file.read()
    except OSError:
        return None
    marker = b"\0" + name.encode() + b"="
    start = environment.find(marker)
    if start < 0:
        return None
    start += len(marker)
    end = environment.find(b"\0", start)
    return os.fsdecode(environment[start : end if end >= 0 else len(environment)])


def boot_id() -> str:
    """Return what distinguishes this boot of the machine from every other."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()
