"""Real `rts` processes for the tests: started, watched, killed, and never left behind."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import psutil

T = TypeVar("T")

# No file may grow beyond this many bytes; every file that matters is longer.
FULL = 1

RTS = (sys.executable, "-m", "master.cli.app")


def until(find: Callable[[], T], timeout_s: float = 60.0, what: str = "") -> T:
    """Poll until `find` returns something true, and return that."""
    deadline = time.monotonic() + timeout_s
    while not (found := find()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what or find} did not happen within {timeout_s} s")
        time.sleep(0.02)
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def environment() -> dict[str, str]:
    """This process's environment without settings that would change what a test means."""
    # NiceGUI takes a process with pytest's variable for a test of its own.
    ours = ("RTS_", "SCHED_", "GA_", "NICEGUI_", "PYTEST_")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    return kept | {"COLUMNS": "80", "NO_COLOR": "1"}


class Rts:
    """One `rts` process that goes on until it is told to end; its output goes to `log`.

    `settings` are environment variables.
    """

    def __init__(self, log: Path, *arguments: str, **settings: str) -> None:
        self.log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [*RTS, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment() | settings,
                start_new_session=True,
            )

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def kill(self) -> None:
        """SIGKILL: no chance to say goodbye."""
        self.process.kill()
        self.process.wait()

    def stop(self, timeout_s: float = 60.0) -> int:
        """SIGTERM, and its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)


@contextlib.contextmanager
def running(log: Path, *arguments: str, **settings: str) -> Iterator[Rts]:
    """A process for the time of a `with` block; what is left of it and its children afterwards is killed."""
    rts = Rts(log, *arguments, **settings)
    try:
        yield rts
    finally:
        end_for_good(rts)


def end_for_good(rts: Rts) -> None:
    """Stop, and kill whatever is left."""
    left = []
    with contextlib.suppress(psutil.NoSuchProcess):
        left = psutil.Process(rts.process.pid).children(recursive=True)
    try:
        rts.stop(20.0)
    except subprocess.TimeoutExpired:
        rts.kill()
    for child in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()


def call(*arguments: str, master: str = "", stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run one `rts` command to its end, as a script would: piped, 80 columns."""
    env = environment() | ({"RTS_MASTER": master} if master else {})
    return subprocess.run(
        [*RTS, *arguments], capture_output=True, text=True, timeout=120, env=env, input=stdin or None
    )


def limit_files(pid: int, size: int) -> None:
    """Bound the files of a process, of its children, and of what they start: a full disk for them alone."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for each in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
                resource.prlimit(each.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
