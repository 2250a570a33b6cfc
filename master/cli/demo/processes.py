"""The demo's child processes: started in sessions of their own, stopped in order, none left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import psutil

from master.config import PROTECTION_VARIABLES as SERVER_VARIABLES
from rtscore.credentials import CREDENTIAL_VARIABLES


class ChildFailedError(Exception):
    """A child process ended when it should have run; the message holds what it said last."""


class Processes:
    """Children that run `rts` commands, each with a log file in `directory`.

    Each gets a session of its own, so that Ctrl-C on the terminal reaches the demo alone and the demo stops
    them in order. Leaving the `with` block ends every child and everything that they started.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Newest first: workers before the master they report to.
        self.stop(*reversed(self._children), grace_s=3.0)

    def start(self, name: str, *arguments: str, **environment: str) -> None:
        """Run `rts` with these arguments, and more in its environment, as the child `name`."""
        with open(self.log_path(name), "ab") as log:
            self._children[name] = subprocess.Popen(
                [sys.executable, "-m", "master.cli.app", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**_own_environment(), **environment},
            )

    def log_path(self, name: str) -> Path:
        """Where the child's output goes."""
        return self._directory / f"{name}.log"

    def check(self) -> None:
        """Raise ChildFailedError when a child has ended."""
        for name, child in self._children.items():
            code = child.poll()
            if code is not None:
                raise ChildFailedError(f"{name} ended with code {code}. Its last words:\n{self._tail(name)}")

    def stop(self, *names: str, grace_s: float) -> None:
        """SIGTERM to all of these at once, then SIGKILL to what is left of them and of their descendants."""
        ending = {name: child for name in names if (child := self._children.pop(name, None)) is not None}
        descendants = [found for child in ending.values() for found in _descendants(child.pid)]
        for child in ending.values():
            if child.poll() is None:
                child.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + grace_s
        for child in ending.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(max(0.0, deadline - time.monotonic()))
        for child in ending.values():
            if child.poll() is None:
                descendants += _descendants(child.pid)
                child.kill()
                child.wait()
        # psutil compares creation times, so a process number that was given anew is safe.
        for left in descendants:
            with contextlib.suppress(psutil.NoSuchProcess):
                left.kill()
        psutil.wait_procs(descendants, timeout=2.0)

    def _tail(self, name: str, lines: int = 12) -> str:
        text = self.log_path(name).read_text(errors="replace").strip()
        return "\n".join(text.splitlines()[-lines:]) or "(it said nothing)"


def _descendants(pid: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).children(recursive=True)
    return []


class StoppedBySignalError(Exception):
    """The demo was told to stop; `number` is the signal."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number


class SignalWatch:
    """Remembers SIGINT, SIGTERM and SIGHUP until `check` is called at a moment when stopping is safe.

    An exception out of the handler itself could fall between the start of a child and the note of it.
    """

    def __init__(self) -> None:
        self._number = 0
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(each, self._remember)

    def check(self) -> None:
        """Raise StoppedBySignalError when one of them has come."""
        if self._number:
            raise StoppedBySignalError(self._number)

    def wait(self, meanwhile: Callable[[], None]) -> None:
        """Return when one of them has come; `meanwhile` is called now and then."""
        while not self._number:
            meanwhile()
            time.sleep(0.2)

    def _remember(self, number: int, frame: object) -> None:
        self._number = self._number or number


def _own_environment() -> dict[str, str]:
    # The demo's cluster is open and of this machine only, whatever protects the user's.
    protection = {*SERVER_VARIABLES, *CREDENTIAL_VARIABLES}
    return {name: value for name, value in os.environ.items() if name not in protection}


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nothing listens on at this moment."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
