"""A container's control group as the kernel of this machine shows it: what it uses, and its kills for memory.

Both versions of the interface are read. Where the group is not visible, because the engine runs on another
machine or inside a virtual one, there is none: usage counts as 0 then, and the engine alone can say that
memory ran out.
"""

from __future__ import annotations

import os
import select
import threading
from contextlib import suppress
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")


class ContainerCgroup:
    """The directories of one container's group: one on version 2, one for each controller on version 1."""

    def __init__(self, memory: Path, cpu: Path, version: int) -> None:
        self._memory = memory
        self._cpu = cpu
        self._version = version

    @classmethod
    def of(cls, pid: int, container_id: str) -> ContainerCgroup | None:
        """Return the group of the container whose first process is `pid`, or None when it is not visible."""
        try:
            lines = Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8").splitlines()
        except OSError:
            return None
        paths = {}
        for line in lines:
            _, controllers, path = line.split(":", 2)
            # Anything else is a process that has the same number on another machine.
            if container_id in path:
                end = path.find("/", path.index(container_id))
                for controller in controllers.split(","):
                    paths[controller] = path.lstrip("/") if end < 0 else path[1:end]
        if "memory" in paths and "cpuacct" in paths:
            found = cls(_ROOT / "memory" / paths["memory"], _ROOT / "cpuacct" / paths["cpuacct"], 1)
        elif "" in paths:
            found = cls(_ROOT / paths[""], _ROOT / paths[""], 2)
        else:
            return None
        return found if found.oom_kills() is not None else None

    def cpu_seconds(self) -> float | None:
        """Return the CPU time of every process so far, or None when the group is gone."""
        try:
            if self._version == 1:
                return int((self._cpu / "cpuacct.usage").read_bytes()) / 1e9
            return _field(self._cpu / "cpu.stat", "usage_usec") / 1e6
        except (OSError, ValueError):
            return None

    def memory_bytes(self) -> int:
        """Return what is in use without the file cache that can be dropped, or 0 when the group is gone."""
        try:
            if self._version == 1:
                used = int((self._memory / "memory.usage_in_bytes").read_bytes())
                return max(0, used - _field(self._memory / "memory.stat", "total_inactive_file"))
            used = int((self._memory / "memory.current").read_bytes())
            return max(0, used - _field(self._memory / "memory.stat", "inactive_file"))
        except (OSError, ValueError):
            return 0

    def oom_kills(self) -> int | None:
        """Return how many processes were killed because memory ran out, or None when the group is gone."""
        name = "memory.oom_control" if self._version == 1 else "memory.events"
        try:
            return _field(self._memory / name, "oom_kill")
        except (OSError, ValueError):
            return None

    def oom_signal(self) -> tuple[int, int]:
        """Return a descriptor that is ready when memory runs out, and the poll event that says so.

        The caller closes it. On version 1 it is also ready when the group goes.

        Raises
        ------
        OSError
            When the group is gone or this process may not ask to be told.
        """
        if self._version == 2:
            return os.open(self._memory / "memory.events", os.O_RDONLY | os.O_CLOEXEC), select.POLLPRI
        event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        try:
            control = os.open(self._memory / "memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
            try:
                (self._memory / "cgroup.event_control").write_text(f"{event} {control}", encoding="ascii")
            finally:
                os.close(control)
        except OSError:
            os.close(event)
            raise
        return event, select.POLLIN


class OomWatch:
    """Notes that a group's memory ran out, at the moment it does: the group goes when its container ends.

    Engines say it themselves, but podman before 5.0 does not notice. A thread waits for the kernel's signal,
    because a busy event loop could look for the group after the engine has removed it.
    """

    def __init__(self, cgroup: ContainerCgroup) -> None:
        self._cgroup = cgroup
        self._closing = os.eventfd(0, os.EFD_CLOEXEC)
        self._seen = False
        self._thread = threading.Thread(target=self._run, name="out-of-memory", daemon=True)
        self._thread.start()

    @property
    def seen(self) -> bool:
        """Whether memory has run out."""
        return self._seen or bool(self._cgroup.oom_kills())

    def close(self) -> None:
        """Stop watching."""
        os.eventfd_write(self._closing, 1)
        self._thread.join()
        os.close(self._closing)

    def _run(self) -> None:
        with suppress(OSError):
            source, event = self._cgroup.oom_signal()
            try:
                self._wait(source, event)
            finally:
                os.close(source)

    def _wait(self, source: int, event: int) -> None:
        poll = select.poll()
        poll.register(source, event)
        poll.register(self._closing, select.POLLIN)
        while True:
            if event == select.POLLPRI:
                # A file is ready until what has changed was read through the same descriptor.
                os.pread(source, 4096, 0)
            # On version 1 the signal comes before the kill is counted: that the group is there has to do.
            kills = self._cgroup.oom_kills()
            if kills is None:
                return
            if kills:
                self._seen = True
                return
            ready = dict(poll.poll())
            if self._closing in ready:
                return
            if event == select.POLLIN:
                self._seen = self._cgroup.oom_kills() is not None
                return


def _field(path: Path, name: str) -> int:
    for line in path.read_text(encoding="ascii").splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    raise ValueError(f"{path} has no field {name}")
