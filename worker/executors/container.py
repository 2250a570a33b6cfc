"""Runs commands in containers of a Docker-compatible engine, within the cores and memory they asked for."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import structlog
from docker.types import DeviceRequest

from worker.executors.base import Assignment, AttemptKey, Usage
from worker.executors.container_execution import ContainerExecution, StartedContainer
from worker.executors.engine import Connection, Engine, EngineError
from worker.executors.threads import in_thread

_log = structlog.get_logger("worker.container")

# The first process of a container ignores SIGTERM unless it handles it, and the container ends with it: run
# as that process, a command could hardly be asked to end, and its children would not live through their grace
# time. So a shell of the image is the first process, and after SIGTERM it stays until the others are gone.
# (docker-init does the first half, and podman often has no such program.) Its own remarks ("Terminated") are
# no output of the task.
_WRAPPER = """\
exec 3>&2 2>/dev/null
trap stop=1 TERM
/bin/sh -c "$1" 2>&3 3>&-
status=$?
while [ "$stop" ] && kill -0 -1 && sleep 1; do :; done
exit $status
"""

# A guess: stops a fork bomb, and no program that means well.
_PIDS_LIMIT = 4096
# Engines refuse less.
_LEAST_MEMORY_BYTES = 6 * 2**20
_LEAST_CPUS = 0.01

_WORKER, _DIRECTORY = "rtscore.worker", "rtscore.directory"
_TASK, _ATTEMPT = "rtscore.task", "rtscore.attempt"


class ContainerExecutor:
    """Runs tasks that name an image; an empty command is the image's own.

    A container has the cores and the memory of its request (0: no limit), no swap, no network unless one is
    named, no new privileges, at most 4,096 processes, and what it prints is not written to the engine's disk.
    One with a share of a gpu sees every device, as commands of the process executor do.

    Parameters
    ----------
    engine : Engine
        Where the containers run.
    worker_id : str
        Told to the commands as RTS_WORKER_ID.
    directory : Path
        The agent's own; with the worker's id it tells its containers from another's.
    log_limit_bytes : int
        How much output of each container is kept.
    kill_grace_s : float
        Seconds between SIGTERM and SIGKILL.
    network : str
        What containers are connected to: a network of the engine, "none" for none.
    pull : bool
        Fetch images that the engine does not have; they are refused otherwise.
    """

    name = "container"

    def __init__(
        self,
        engine: Engine,
        worker_id: str,
        directory: Path,
        log_limit_bytes: int,
        kill_grace_s: float,
        network: str,
        pull: bool,
    ) -> None:
        self._engine = engine
        self._worker_id = worker_id
        self._log_limit_bytes = log_limit_bytes
        self._kill_grace_s = kill_grace_s
        self._network = network
        self._pull = pull
        self._labels = {_WORKER: worker_id, _DIRECTORY: str(directory)}
        # None while the container is being made.
        self._live: dict[AttemptKey, ContainerExecution | None] = {}
        self._usage_lock = threading.Lock()
        self._ended_cpu_seconds = 0.0

    def clean(self) -> int:
        """Remove the containers that an earlier agent left here; returns how many. It blocks."""
        with self._engine.connect() as connection:
            left = connection.labelled(self._labels)
            for container_id in left:
                connection.remove(container_id)
        return len(left)

    async def start(self, assignment: Assignment) -> ContainerExecution:
        """Start a container; cancelled, it leaves none behind.

        Raises
        ------
        EngineError, ValueError
            When the image is not there, the engine refuses or does not answer, or the command has a null
            byte.
        """
        if "\0" in assignment.command:
            raise ValueError("the command has a null byte")
        key = assignment.key
        self._live[key] = None
        given_up = threading.Event()
        begun = None
        try:
            begun = in_thread(lambda: self._begin(assignment, given_up), "start container")
            # The thread goes on when this is cancelled, and what it started then has to be removed.
            started = await asyncio.shield(begun)
            execution = ContainerExecution(
                self._engine, started, assignment, self._log_limit_bytes, self._kill_grace_s
            )
        except BaseException:
            del self._live[key]
            given_up.set()
            if begun is not None:
                begun.add_done_callback(self._discard)
            raise
        self._live[key] = execution
        execution.ended.add_done_callback(lambda _: self._forget(key))
        return execution

    def usage(self) -> Usage:
        """Return the CPU seconds of all containers so far, and what is resident in those that run."""
        with self._usage_lock:
            live = [execution for execution in list(self._live.values()) if execution is not None]
            cpu_seconds = self._ended_cpu_seconds + sum(execution.cpu_seconds for execution in live)
            return Usage(cpu_seconds, sum(execution.memory_bytes for execution in live) / 2**30)

    async def sweep(self) -> int:
        """Remove containers that outlived their attempt; returns how many that was."""
        try:
            return await in_thread(self._sweep, "sweep containers")
        except OSError as error:
            _log.warning("containers not swept", error=str(error))
            return 0

    def _sweep(self) -> int:
        removed = 0
        with self._engine.connect() as connection:
            for container_id, labels in connection.labelled(self._labels).items():
                # Asked after the search: an attempt that starts meanwhile is not ended by it.
                if AttemptKey(labels[_TASK], int(labels[_ATTEMPT])) not in self._live:
                    connection.remove(container_id)
                    removed += 1
        return removed

    def _forget(self, key: AttemptKey) -> None:
        with self._usage_lock:
            execution = self._live.pop(key)
            self._ended_cpu_seconds += execution.cpu_seconds if execution is not None else 0.0

    def _begin(self, assignment: Assignment, given_up: threading.Event) -> StartedContainer:
        image = assignment.docker_image
        with self._engine.connect() as connection:
            if not connection.has_image(image):
                if not self._pull:
                    raise EngineError(
                        f"the image {image} is not here, and this worker pulls none (--container-pull)"
                    )
                connection.pull(image, given_up.is_set)
            if given_up.is_set():
                raise EngineError("the container is not wanted any more")
            host, options = self.options(assignment)
            container_id = connection.create(image, host, **options)
            try:
                # Before the start, or the first words would be missed.
                stream = connection.attach(container_id)
                connection.start(container_id)
                return StartedContainer(connection, container_id, stream)
            except EngineError:
                self._remove(connection, container_id)
                raise

    def _discard(self, begun: asyncio.Future[StartedContainer]) -> None:
        if not begun.cancelled() and begun.exception() is None:
            in_thread(partial(self._remove_unwanted, begun.result().id), "remove container")

    def _remove_unwanted(self, container_id: str) -> None:
        with self._engine.connect() as connection:
            self._remove(connection, container_id)

    def _remove(self, connection: Connection, container_id: str) -> None:
        # A container that is left is swept.
        with suppress(EngineError):
            connection.remove(container_id)

    def options(self, assignment: Assignment) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return what the engine is asked for: the limits, and the rest."""
        host: dict[str, Any] = {
            "network_mode": self._network,
            "pids_limit": _PIDS_LIMIT,
            "security_opt": ["no-new-privileges"],
            # What is printed goes to the agent alone: an engine's log files grow without a bound.
            "log_config": {"Type": "none"},
        }
        if assignment.cpu > 0:
            # Engines refuse more than they have; a worker may offer more.
            host["nano_cpus"] = round(max(_LEAST_CPUS, min(assignment.cpu, self._engine.cpus)) * 1e9)
        if assignment.memory > 0:
            limit = max(_LEAST_MEMORY_BYTES, math.ceil(assignment.memory * 2**30))
            host |= {"mem_limit": limit, "memswap_limit": limit}
        if assignment.gpu > 0:
            host["device_requests"] = [DeviceRequest(count=-1, capabilities=[["gpu"]])]
        options: dict[str, Any] = {
            "environment": self._environment(assignment),
            "labels": self._label(assignment),
        }
        if assignment.command:
            options |= {"entrypoint": ["/bin/sh", "-c", _WRAPPER, "sh"], "command": [assignment.command]}
        elif self._engine.has_init:
            host["init"] = True
        return host, options

    def _label(self, assignment: Assignment) -> dict[str, str]:
        return self._labels | {_TASK: assignment.key.task_id, _ATTEMPT: str(assignment.key.attempt)}

    def _environment(self, assignment: Assignment) -> Mapping[str, str]:
        return {
            "RTS_TASK_ID": assignment.key.task_id,
            "RTS_ATTEMPT": str(assignment.key.attempt),
            "RTS_WORKER_ID": self._worker_id,
            # Numerical libraries start a thread per core of the machine unless told what the task asked for.
            "OMP_NUM_THREADS": str(max(1, math.ceil(assignment.cpu))),
        }
