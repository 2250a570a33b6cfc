"""Whether this worker runs containers: which engine, who said so, and what happens when it is not there."""

from __future__ import annotations

import os
from pathlib import Path

import structlog

from worker.config import WorkerConfig
from worker.executors.base import Executor

_log = structlog.get_logger("worker.agent")


class NoEngineError(RuntimeError):
    """The engine that the settings name cannot be used."""


def container_executor(config: WorkerConfig, directory: Path) -> Executor | None:
    """Return the executor for tasks with an image, or None when no engine is named; it blocks.

    An engine that only DOCKER_HOST names may be meant for other programs: without it the worker starts all
    the same, and says so.

    Raises
    ------
    NoEngineError
        When the engine that the settings name does not answer, or the SDK is not installed.
    """
    host = config.container_host or os.environ.get("DOCKER_HOST", "")
    if not host:
        return None
    try:
        executor = _executor(host if "://" in host else f"unix://{host}", config, directory)
    except (ImportError, OSError) as error:
        reason = str(error)
        if isinstance(error, ImportError):
            reason = f"{error}; pip install 'rtscore[container]' brings it"
        if config.container_host:
            raise NoEngineError(f"container_host {host}: {reason}") from None
        _log.warning("no containers: the engine of DOCKER_HOST is not used", host=_shown(host), reason=reason)
        return None
    return executor


def _executor(host: str, config: WorkerConfig, directory: Path) -> Executor:
    # Here, because the SDK is an extra that workers without containers do not need.
    from worker.executors.container import ContainerExecutor
    from worker.executors.engine import Engine

    engine = Engine(host)
    _log.info("containers run here", engine=_shown(host), network=config.container_network)
    return ContainerExecutor(
        engine,
        config.worker_id,
        directory,
        config.log_limit_bytes,
        config.kill_grace_s,
        network=config.container_network,
        pull=config.container_pull,
    )


def _shown(host: str) -> str:
    """An engine's address without a user and password."""
    scheme, colon, rest = host.partition("://")
    return f"{scheme}{colon}{rest.rpartition('@')[2]}"
