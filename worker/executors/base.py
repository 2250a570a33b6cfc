"""What an executor is: it takes an assignment and gives back a running command with one outcome."""

from __future__ import annotations

import hashlib
from typing import NamedTuple, Protocol
from urllib.parse import quote

import msgspec

from worker.executors.output import OutputTail


class AttemptKey(NamedTuple):
    """One attempt at one task."""

    task_id: str
    attempt: int

    @property
    def file_name(self) -> str:
        """A name of at most 255 bytes that no other attempt has and that cannot leave its directory."""
        quoted = quote(self.task_id, safe="")
        if len(quoted) > 200:
            quoted = quoted[:100] + "%" + hashlib.sha256(self.task_id.encode()).hexdigest()
        return f"{quoted}-{self.attempt}"


class Assignment(msgspec.Struct, frozen=True):
    """What the master wants run: amounts in cores, GiB and devices; time_limit_s 0 means none."""

    key: AttemptKey
    command: str
    docker_image: str = ""
    cpu: float = 0.0
    memory: float = 0.0
    gpu: float = 0.0
    storage: float = 0.0
    time_limit_s: float = 0.0


class Outcome(msgspec.Struct, frozen=True):
    """How a command ended.

    The instants are Unix seconds, `runtime_s` is monotonic. `exit_code` is the shell's: 128 + n after signal
    n. `reason` is a sentence, empty on success. `output` is what is kept of what was printed, after
    `output_offset` bytes that are not.
    """

    success: bool
    exit_code: int
    started_at: float
    finished_at: float
    runtime_s: float
    output: bytes = b""
    reason: str = ""
    output_offset: int = 0


class Execution(Protocol):
    """A command that runs, or has run."""

    @property
    def started_at(self) -> float:
        """Unix seconds."""

    @property
    def tail(self) -> OutputTail:
        """What it has printed, as far as that is kept."""

    def stop(self, reason: str) -> None:
        """Ask the command to end, and make it after the grace time; the first reason is reported."""

    def kill(self) -> None:
        """End the command now."""

    async def wait(self) -> Outcome:
        """Return the outcome once nothing of the command runs any more."""


class Usage(NamedTuple):
    """What an executor's commands use: CPU seconds since the executor began, and resident GiB now."""

    cpu_seconds: float
    memory_gib: float


class Executor(Protocol):
    """A way to run commands."""

    @property
    def name(self) -> str:
        """What the master calls it."""

    async def start(self, assignment: Assignment) -> Execution:
        """Start the command; OSError or ValueError when it cannot be started, and then nothing runs."""

    def usage(self) -> Usage:
        """Return what the commands use; called from a thread of its own."""

    async def sweep(self) -> int:
        """End what outlived its attempt; returns how many processes that was."""

    def clean(self) -> int:
        """End what an earlier agent left running; blocks, and returns how many that was."""
