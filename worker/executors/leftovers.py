"""Finds and kills processes of attempts that are over: left by a crash, or escaped from their group.

A child cannot be tied to its parent's life from Python without running code between fork and exec, which is
unsafe in a process with threads (gRPC's), so what a killed agent leaves running is found by the next one, in
two ways. The journal has a file per started command with its process group, its leader's start time and the
boot: it finds commands that cleared their environment. `RTS_TASK_DIR` in the environment of every command
finds what left the group, and what was started but not yet in the journal.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path

import msgspec

from worker.executors.proc import ProcessStat, boot_id, environment_value, processes, read_stat

MARKER = "RTS_TASK_DIR"

# SIGKILL acts at once, except on a process in an uninterruptible system call.
_KILL_WAIT_S = 5.0


class _Entry(msgspec.Struct, frozen=True):
    """One started command: its group is its leader's pid."""

    pid: int
    start_ticks: int
    boot: str


class Leftovers:
    """The journal of started commands, and the search for what they left.

    Parameters
    ----------
    journal_dir : Path
        One file per command that runs.
    tasks_dir : Path
        The parent of the commands' working directories.
    """

    def __init__(self, journal_dir: Path, tasks_dir: Path) -> None:
        self._journal_dir = journal_dir
        self._tasks_dir = tasks_dir
        self._boot = boot_id()
        journal_dir.mkdir(parents=True, exist_ok=True)
        tasks_dir.mkdir(parents=True, exist_ok=True)

    def started(self, name: str, pid: int) -> None:
        """Write down a started command.

        Not synced to disk: it must survive this process, and no command survives the machine.
        """
        stat = read_stat(pid)
        if stat is not None:
            entry = _Entry(pid=pid, start_ticks=stat.start_ticks, boot=self._boot)
            # On a full disk the command runs all the same: the marker still finds it.
            with suppress(OSError):
                (self._journal_dir / name).write_bytes(msgspec.json.encode(entry))

    def ended(self, name: str) -> None:
        """Forget a command of which nothing runs any more."""
        (self._journal_dir / name).unlink(missing_ok=True)

    def clean(self) -> int:
        """Kill everything of an earlier agent, remove its files, and return how many processes that was.

        For the start of an agent, before it runs anything; blocks until the processes are gone.

        Raises
        ------
        TimeoutError
            When processes are still there five seconds after SIGKILL.
        """
        killed: set[int] = set()
        give_up = time.monotonic() + _KILL_WAIT_S
        while found := self._journalled() + [stat for stat, _ in self.marked()]:
            if time.monotonic() > give_up:
                pids = sorted({stat.pid for stat in found})
                raise TimeoutError(f"processes {pids} of an earlier agent do not die of SIGKILL")
            for stat in found:
                kill(stat)
                killed.add(stat.pid)
            # Also catches what a process forked between the search and its end.
            time.sleep(0.01)
        for directory in (self._journal_dir, self._tasks_dir):
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir(exist_ok=True)
        return len(killed)

    def marked(self) -> list[tuple[ProcessStat, str]]:
        """Return every process of a command, with the name under which the command was started."""
        prefix = f"{self._tasks_dir}{os.sep}"
        found = []
        for stat in processes():
            value = "" if stat.zombie else environment_value(stat.pid, MARKER) or ""
            if value.startswith(prefix):
                found.append((stat, value.removeprefix(prefix)))
        return found

    def _journalled(self) -> list[ProcessStat]:
        groups = set()
        for path in self._journal_dir.iterdir():
            try:
                entry = msgspec.json.decode(path.read_bytes(), type=_Entry)
            except msgspec.DecodeError:
                # Cut off by the crash while it was written: the marker finds that one.
                continue
            leader = read_stat(entry.pid)
            if entry.boot == self._boot and leader is not None and leader.start_ticks == entry.start_ticks:
                groups.add(entry.pid)
        return [stat for stat in processes() if stat.group in groups and not stat.zombie] if groups else []


def kill(stat: ProcessStat) -> None:
    """Kill the process, unless its number belongs to another one by now."""
    now = read_stat(stat.pid)
    if now is not None and now.start_ticks == stat.start_ticks:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(stat.pid, signal.SIGKILL)
