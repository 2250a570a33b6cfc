"""One shell command that runs: its output, its time limit, and the end of its whole process group.

When the shell ends, whatever it left in its group is killed: a task's resources are free when the task is
over. While a stop is under way the rest of the group still has its grace time, so that a child of the shell
can finish its own clean-up. The shell is reaped last: until then its number, which is the group's, cannot be
another's.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from contextlib import suppress

from worker.executors.base import Outcome
from worker.executors.exits import exit_reason
from worker.executors.output import OutputTail
from worker.executors.proc import processes

_READ_BYTES = 64 * 1024
_GROUP_POLL_S = 0.05


class ProcessExecution:
    """A shell and its process group; made by `ProcessExecutor.start` on the event loop that will watch it."""

    def __init__(self, process: subprocess.Popen[bytes], tail: OutputTail, kill_grace_s: float) -> None:
        assert process.stdout is not None
        self._started_at = time.time()
        self._started_monotonic = time.monotonic()
        self._finished_at = 0.0
        self._runtime_s = 0.0
        self._process = process
        self._tail = tail
        self._kill_grace_s = kill_grace_s
        self._stop_reason = ""
        self._killed = False
        self._timers: list[asyncio.TimerHandle] = []
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[Outcome] = self._loop.create_future()
        self._pidfd = os.pidfd_open(process.pid)
        self._pipe = process.stdout.fileno()
        os.set_blocking(self._pipe, False)
        self._loop.add_reader(self._pipe, self._read)
        self._loop.add_reader(self._pidfd, self._exited)

    @property
    def pid(self) -> int:
        """The shell's process id, and its group's."""
        return self._process.pid

    @property
    def started_at(self) -> float:
        """Unix seconds."""
        return self._started_at

    @property
    def tail(self) -> OutputTail:
        """What it has printed, as far as that is kept."""
        return self._tail

    def limit(self, seconds: float) -> None:
        """Stop the command when it still runs then."""
        reason = f"ran longer than its time limit of {seconds:g} s"
        self._timers.append(self._loop.call_later(seconds, self.stop, reason))

    def stop(self, reason: str) -> None:
        """Send SIGTERM to the group now and SIGKILL after the grace time; the first reason is reported."""
        if self.ended.done() or self._stop_reason:
            return
        self._stop_reason = reason
        self._signal(signal.SIGTERM)
        # A stopped process acts on SIGTERM only when it is continued.
        self._signal(signal.SIGCONT)
        self._timers.append(self._loop.call_later(self._kill_grace_s, self.kill))

    def kill(self) -> None:
        """Send SIGKILL to the group."""
        if not self.ended.done():
            self._killed = True
            self._stop_reason = self._stop_reason or "killed by the worker"
            self._signal(signal.SIGKILL)

    async def wait(self) -> Outcome:
        """Return the outcome once nothing of the group runs any more."""
        return await asyncio.shield(self.ended)

    def _signal(self, number: signal.Signals) -> None:
        # PermissionError: all that is left of the group changed to another user.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def _read(self) -> bool:
        """Take what is in the pipe; False when there was nothing."""
        try:
            data = os.read(self._pipe, _READ_BYTES)
        except BlockingIOError:
            return False
        if not data:
            self._loop.remove_reader(self._pipe)
            return False
        self._tail.add(data)
        return True

    def _exited(self) -> None:
        self._finished_at = time.time()
        self._runtime_s = time.monotonic() - self._started_monotonic
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._end_group()

    def _end_group(self) -> None:
        if self._stop_reason and not self._killed and self._others_run():
            self._loop.call_later(_GROUP_POLL_S, self._end_group)
            return
        for timer in self._timers:
            timer.cancel()
        self._signal(signal.SIGKILL)
        # At most what a pipe can hold (1 MiB by default): a process that escaped may go on writing.
        for _ in range(16):
            if not self._read():
                break
        self._loop.remove_reader(self._pipe)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self.ended.set_result(self._outcome(self._process.wait()))

    def _others_run(self) -> bool:
        pid = self._process.pid
        return any(stat.group == pid and stat.pid != pid and not stat.zombie for stat in processes())

    def _outcome(self, returncode: int) -> Outcome:
        exit_code = returncode if returncode >= 0 else 128 - returncode
        offset, output = self._tail.last()
        return Outcome(
            success=not self._stop_reason and returncode == 0,
            exit_code=exit_code,
            started_at=self._started_at,
            finished_at=self._finished_at,
            runtime_s=self._runtime_s,
            output=output,
            reason=self._stop_reason or exit_reason(returncode),
            output_offset=offset,
        )
