"""What a worker agent is told at its start."""

from __future__ import annotations

import math
import os
import socket
from pathlib import Path

import msgspec

from rtscore.credentials import Credentials

# A batch of results must stay far below gRPC's 4 MiB default for a message.
MAX_LOG_LIMIT_BYTES = 1 << 20


class WorkerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of one worker agent.

    Parameters
    ----------
    masters : tuple of str
        "host:port" of each master, tried in turn until one welcomes the worker.
    worker_id : str
        Unique in the cluster; the host's name when not given.
    cpu, memory, gpu, storage : float or None
        Totals to offer, in cores, GiB, devices and GiB; None: what the machine has.
    work_dir : str
        The agent's own directory (tasks' working directories, results not yet recorded), one agent at a time;
        empty: rtscore/<worker_id> under $XDG_STATE_HOME or ~/.local/state.
    heartbeat_interval_s : float
        Seconds, until a master's welcome says otherwise.
    log_limit_bytes : int
        How much of a task's output is kept: its last bytes, at most 1 MiB.
    kill_grace_s : float
        Seconds between SIGTERM and SIGKILL.
    drain_timeout_s : float
        Seconds that a clean stop waits for running tasks before it ends them.
    credentials : Credentials
        What is shown to a master and trusted in it.
    container_host : str
        The engine for tasks with an image: the path of its socket, unix://PATH or tcp://HOST:PORT; empty:
        what DOCKER_HOST says, and without that such tasks are refused.
    container_network : str
        The engine's network that containers are connected to; "none": they have no network.
    container_pull : bool
        Whether images that the engine does not have are pulled.

    Raises
    ------
    ValueError
        When a field has a value that no agent can work with; names the field, the value and the bound.
    """

    masters: tuple[str, ...]
    worker_id: str = msgspec.field(default_factory=socket.gethostname)
    cpu: float | None = None
    memory: float | None = None
    gpu: float | None = None
    storage: float | None = None
    work_dir: str = ""
    heartbeat_interval_s: float = 2.0
    log_limit_bytes: int = 64 * 1024
    kill_grace_s: float = 5.0
    drain_timeout_s: float = 30.0
    credentials: Credentials = Credentials()
    container_host: str = ""
    container_network: str = "none"
    container_pull: bool = False

    def __post_init__(self) -> None:
        if not self.masters:
            raise ValueError("masters: none given; at least one host:port is needed")
        for address in self.masters:
            host, _, port = address.rpartition(":")
            if not host or not port.isdecimal() or not 0 < int(port) < 65536:
                raise ValueError(f"masters: {address!r} is not host:port with a port of 1 to 65535")
        if not 0 < len(self.worker_id) <= 256 or not self.worker_id.isprintable():
            raise ValueError(f"worker_id: {self.worker_id!r} is not 1 to 256 printable characters")
        for name in ("cpu", "memory", "gpu", "storage"):
            total = getattr(self, name)
            if total is not None and not (math.isfinite(total) and total >= 0):
                raise ValueError(f"{name}: {total!r} is not a finite amount of at least 0")
        if not (math.isfinite(self.heartbeat_interval_s) and self.heartbeat_interval_s > 0):
            raise ValueError(f"heartbeat_interval_s: {self.heartbeat_interval_s!r} is not a positive time")
        for name in ("kill_grace_s", "drain_timeout_s"):
            seconds = getattr(self, name)
            if not (math.isfinite(seconds) and seconds >= 0):
                raise ValueError(f"{name}: {seconds!r} is not a finite time of at least 0")
        if not 0 < self.log_limit_bytes <= MAX_LOG_LIMIT_BYTES:
            raise ValueError(
                f"log_limit_bytes: {self.log_limit_bytes!r} is not between 1 and {MAX_LOG_LIMIT_BYTES}"
            )

        if self.container_host and not self.container_host.startswith(("/", "unix:///", "tcp://")):
            raise ValueError(
                f"container_host: {self.container_host!r} is not an absolute path, unix:///PATH or tcp://HOST:PORT"
            )
        if not self.container_network:
            raise ValueError("container_network: '' came; the name of a network, or none, is allowed")

    def directory(self) -> Path:
        """Return the agent's directory as an absolute path."""
        if self.work_dir:
            return Path(self.work_dir).absolute()
        state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
        return Path(state).absolute() / "rtscore" / self.worker_id.replace("/", "_")
