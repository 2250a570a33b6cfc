"""Runs commands with /bin/sh, each in its own session, process group and working directory."""

from __future__ import annotations

import asyncio
import itertools
import math
import os
import resource
import shutil
import signal
import subprocess
from pathlib import Path

from rtscore.credentials import TOKEN_VARIABLES
from worker.executors.base import Assignment, Usage
from worker.executors.execution import ProcessExecution
from worker.executors.leftovers import MARKER, Leftovers, kill
from worker.executors.output import OutputTail
from worker.executors.proc import processes


class ProcessExecutor:
    """Runs commands as processes of this machine, without a limit on what they use.

    Parameters
    ----------
    worker_id : str
        Told to the commands as RTS_WORKER_ID.
    directory : Path
        Where the working directories and the journal are; no other executor may use it.
    log_limit_bytes : int
        How much output of each command is kept.
    kill_grace_s : float
        Seconds between SIGTERM and SIGKILL.
    """

    name = "process"

    def __init__(self, worker_id: str, directory: Path, log_limit_bytes: int, kill_grace_s: float) -> None:
        self._worker_id = worker_id
        self._tasks_dir = directory / "tasks"
        self._log_limit_bytes = log_limit_bytes
        self._kill_grace_s = kill_grace_s
        self._live: dict[str, ProcessExecution] = {}
        self._starts = itertools.count(1)
        self._garbage: list[str] = []
        self._collecting: asyncio.Future[None] | None = None
        self._leftovers = Leftovers(directory / "running", self._tasks_dir)

    def clean(self) -> int:
        """Kill what an earlier agent left running here; returns how many processes. It blocks."""
        return self._leftovers.clean()

    async def start(self, assignment: Assignment) -> ProcessExecution:
        """Start the command.

        Raises
        ------
        OSError, ValueError
            When there is no memory, process or file left for it, or the command is too long or has a null
            byte.
        """
        # The number, because the thread may still be removing what an earlier start of the same attempt left.
        name = f"{assignment.key.file_name}.{next(self._starts)}"
        work_dir = self._tasks_dir / name
        work_dir.mkdir()
        try:
            execution = self._spawn(assignment, work_dir)
        except (OSError, ValueError):
            shutil.rmtree(work_dir, ignore_errors=True)
            raise
        self._live[name] = execution
        execution.ended.add_done_callback(lambda _: self._forget(name))
        self._leftovers.started(name, execution.pid)
        if assignment.time_limit_s > 0:
            execution.limit(assignment.time_limit_s)
        return execution

    def usage(self) -> Usage:
        """Return the CPU seconds of all commands so far, and what is resident of those that run.

        Memory that processes share is counted once for each of them.
        """
        groups = {execution.pid for execution in list(self._live.values())}
        reaped = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_seconds, resident_bytes = reaped.ru_utime + reaped.ru_stime, 0
        for stat in processes() if groups else ():
            if stat.group in groups:
                cpu_seconds += stat.cpu_seconds
                resident_bytes += stat.resident_bytes
        return Usage(cpu_seconds, resident_bytes / 2**30)

    async def sweep(self) -> int:
        """Kill what left its group and outlived its attempt; returns how many processes that was."""
        # Which attempts are live is asked after the search: one that starts meanwhile is not killed by it.
        found = await asyncio.to_thread(self._leftovers.marked)
        escaped = [stat for stat, name in found if name not in self._live]
        for stat in escaped:
            kill(stat)
        return len(escaped)

    def _spawn(self, assignment: Assignment, work_dir: Path) -> ProcessExecution:
        # Popen and not asyncio's subprocess: on 3.11 that one starts a thread per child to wait for it.
        process = subprocess.Popen(
            ["/bin/sh", "-c", assignment.command],
            cwd=work_dir,
            env=self._environment(assignment, work_dir),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
            start_new_session=True,
        )
        try:
            return ProcessExecution(process, OutputTail(self._log_limit_bytes), self._kill_grace_s)
        except OSError:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise

    def _environment(self, assignment: Assignment, work_dir: Path) -> dict[str, str]:
        # A task is not to act as the worker that runs it.
        inherited = {name: value for name, value in os.environ.items() if name not in TOKEN_VARIABLES}
        return inherited | {
            "RTS_TASK_ID": assignment.key.task_id,
            "RTS_ATTEMPT": str(assignment.key.attempt),
            "RTS_WORKER_ID": self._worker_id,
            MARKER: str(work_dir),
            # Numerical libraries start a thread per core of the machine unless told what the task asked for.
            "OMP_NUM_THREADS": str(max(1, math.ceil(assignment.cpu))),
        }

    def _forget(self, name: str) -> None:
        del self._live[name]
        self._garbage.append(name)
        self._collect()

    def _collect(self) -> None:
        # On a busy disk the removals take as long as the start of a process: a thread does them in bursts.
        if self._garbage and self._collecting is None:
            names, self._garbage = self._garbage, []
            self._collecting = asyncio.get_running_loop().run_in_executor(None, self._remove, names)
            self._collecting.add_done_callback(self._collected)

    def _collected(self, _: asyncio.Future[None]) -> None:
        self._collecting = None
        self._collect()

    def _remove(self, names: list[str]) -> None:
        for name in names:
            self._leftovers.ended(name)
            shutil.rmtree(self._tasks_dir / name, ignore_errors=True)
