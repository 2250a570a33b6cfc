"""`rts master` and `rts worker`: the long-running processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from master.cli.connect import (
    DEFAULT_MASTER,
    CaOption,
    CertOption,
    KeyOption,
    TokenFileOption,
    credentials,
    quiet_grpc,
)
from master.cli.failure import CommandError, Exit

if TYPE_CHECKING:
    from master.config import MasterConfig
    from worker.config import WorkerConfig

MASTER_EPILOG = """\b
Examples:
  rts master
  rts master --listen 127.0.0.1:7171 --store /var/lib/rts/master.db --params ga_output.json
  RTS_SCHEDULER=round-robin rts master
  rts master --metrics-listen 127.0.0.1:9470
  rts master --listen 0.0.0.0:7070 --tls-cert server.pem --tls-key server-key.pem --tokens tokens.toml
  MONGODB_URI='mongodb://db1,db2/rts?replicaSet=rs0' rts master

Of several masters on one MongoDB database one works and the others stand by: start the same command on each
machine, and name all of them to workers and clients.

Each setting may also come from the environment variable named beside it, or from a TOML file (--config)
whose keys are the flags' names with underscores, durations ending in _s (heartbeat_interval_s = 2).
Flags win over the environment, and that over the file.
"""

WORKER_EPILOG = """\b
Examples:
  rts worker
  rts worker --master 10.0.0.5:7070 --id gpu-3 --cpu 16 --memory 64 --gpu 2
  rts worker --master 10.0.0.5:7070,10.0.0.6:7070
  rts worker --master master.example.org:7070 --ca ca.pem --token-file token
  rts worker --container-socket /run/docker.sock --container-pull
"""


class LogLevel(StrEnum):
    """How much a worker logs."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """For whom a worker logs: people or machines."""

    CONSOLE = "console"
    JSON = "json"


def master(
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="A TOML file of settings.")] = None,
    listen: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT", help="[RTS_LISTEN, 127.0.0.1:7070] Where to listen; port 0: a free one."
        ),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|URI",
            help="[RTS_STORE or MONGODB_URI, .rts/master.db] A file, or the URI of a MongoDB database.",
        ),
    ] = None,
    lease_period: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="[RTS_LEASE_PERIOD, 2s] Two without a sign, and a standby takes over (MongoDB).",
        ),
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(metavar="NAME", help="[RTS_SCHEDULER, rts] rts (least risk) or round-robin.")
    ] = None,
    params: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="[RTS_PARAMS] Parameters: written when learned, read on change."),
    ] = None,
    params_reload_interval: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="[RTS_PARAMS_RELOAD_INTERVAL, 30s] How often --params is looked at."
        ),
    ] = None,
    sla_multiplier: Annotated[
        str | None,
        typer.Option(
            metavar="K",
            help="[SCHED_SLA_MULTIPLIER, 2] Deadline = submission + K times the expected runtime.",
        ),
    ] = None,
    max_attempts: Annotated[
        str | None,
        typer.Option(metavar="N", help="[RTS_MAX_ATTEMPTS, 3] Placements of a task whose worker is lost."),
    ] = None,
    max_queued: Annotated[
        str | None,
        typer.Option(
            metavar="N", help="[RTS_MAX_QUEUED, 1000000] Refuse tasks while so many wait; 0: no limit."
        ),
    ] = None,
    max_queued_per_user: Annotated[
        str | None,
        typer.Option(metavar="N", help="[RTS_MAX_QUEUED_PER_USER, 0] The same, of one user."),
    ] = None,
    heartbeat_interval: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="[RTS_HEARTBEAT_INTERVAL, 2s] Of the workers; three missed: inactive."
        ),
    ] = None,
    worker_grace: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="[RTS_WORKER_GRACE, 10s] From inactive to lost: its tasks go elsewhere."
        ),
    ] = None,
    stop_grace: Annotated[
        str | None, typer.Option(metavar="TIME", help="[RTS_STOP_GRACE, 10s] A stop takes no longer.")
    ] = None,
    ga_epoch_interval: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="[GA_EPOCH_INTERVAL, 60s] How often parameters are learned; 0: never."
        ),
    ] = None,
    ga_population_size: Annotated[
        str | None, typer.Option(metavar="N", help="[GA_POPULATION_SIZE, 20] Candidates of a generation.")
    ] = None,
    ga_generations: Annotated[
        str | None, typer.Option(metavar="N", help="[GA_GENERATIONS, 10] Generations of an epoch.")
    ] = None,
    ga_mutation_rate: Annotated[
        str | None,
        typer.Option(metavar="RATE", help="[GA_MUTATION_RATE, 0.1] Chance of each gene to change."),
    ] = None,
    ga_crossover_rate: Annotated[
        str | None,
        typer.Option(metavar="RATE", help="[GA_CROSSOVER_RATE, 0.7] Chance of two candidates to mix."),
    ] = None,
    train_window: Annotated[
        str | None, typer.Option(metavar="TIME", help="[RTS_TRAIN_WINDOW, 24h] How far back is learned from.")
    ] = None,
    tls_cert: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="[RTS_TLS_CERT] Encrypt: this machine's certificate (PEM)."),
    ] = None,
    tls_key: Annotated[str | None, typer.Option(metavar="FILE", help="[RTS_TLS_KEY] Its key (PEM).")] = None,
    client_ca: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="[RTS_CLIENT_CA] Clients and workers must show a certificate of these authorities.",
        ),
    ] = None,
    tokens: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="[RTS_TOKENS] Who may do what; see docs/SECURITY.md for its format."
        ),
    ] = None,
    insecure: Annotated[
        bool | None,
        typer.Option("--insecure", help="[RTS_INSECURE] Listen beyond this machine without protection."),
    ] = None,
    metrics_listen: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="[RTS_METRICS_LISTEN] Serve /metrics there for Prometheus; off if not given.",
        ),
    ] = None,
    metrics_workers: Annotated[
        str | None,
        typer.Option(
            metavar="N",
            help="[RTS_METRICS_WORKERS, 100] Workers with series of their own; others are summed.",
        ),
    ] = None,
    log_level: Annotated[
        str | None, typer.Option(metavar="LEVEL", help="[RTS_LOG_LEVEL, info] Least level that is logged.")
    ] = None,
    log_format: Annotated[
        str | None,
        typer.Option(
            metavar="FORMAT", help="[RTS_LOG_FORMAT, console] console for people, json for machines."
        ),
    ] = None,
    log_risk_sample: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="[RTS_LOG_RISK_SAMPLE, 0.01] At level debug, the share of tasks whose risks are logged.",
        ),
    ] = None,
) -> None:
    """Run a master.

    It ends on SIGTERM or Ctrl-C, gracefully. What it has acknowledged survives any other end too.
    """
    quiet_grpc("NONE")
    from master.config import ConfigError, load_config

    flags = {
        "listen": listen,
        "store": store,
        "lease_period_s": lease_period,
        "scheduler": scheduler,
        "params": params,
        "params_reload_interval_s": params_reload_interval,
        "sla_multiplier": sla_multiplier,
        "max_attempts": max_attempts,
        "max_queued": max_queued,
        "max_queued_per_user": max_queued_per_user,
        "heartbeat_interval_s": heartbeat_interval,
        "worker_grace_s": worker_grace,
        "stop_grace_s": stop_grace,
        "ga_epoch_interval_s": ga_epoch_interval,
        "ga_population_size": ga_population_size,
        "ga_generations": ga_generations,
        "ga_mutation_rate": ga_mutation_rate,
        "ga_crossover_rate": ga_crossover_rate,
        "train_window_s": train_window,
        "tls_cert": tls_cert,
        "tls_key": tls_key,
        "client_ca": client_ca,
        "tokens": tokens,
        "insecure": insecure,
        "metrics_listen": metrics_listen,
        "metrics_workers": metrics_workers,
        "log_level": log_level,
        "log_format": log_format,
        "log_risk_sample": log_risk_sample,
    }
    try:
        settings = load_config(flags, file=config)
    except ConfigError as error:
        raise CommandError(f"{error}.") from None
    with _said_in_log(settings.log_format):
        _serve(settings)


def _serve(settings: MasterConfig) -> None:
    from master.config import ConfigError
    from master.server import run
    from master.store.base import StoreConflictError, StoreOpenError, StoreSupersededError

    try:
        run(settings)
    except ConfigError as error:
        raise CommandError(f"{error}.") from None
    except StoreOpenError as error:
        raise CommandError(
            f"The store cannot be opened: {error}. Name another with --store.", Exit.NO
        ) from None
    except StoreSupersededError as error:
        raise CommandError(
            f"This master was replaced: {error}. What it acknowledged is safe; start it again to stand by.",
            Exit.NO,
        ) from None
    except StoreConflictError as error:
        raise CommandError(
            f"The store does not hold what this master wrote ({error}): does another one write to it? "
            "What was acknowledged is safe.",
            Exit.NO,
        ) from None


def worker(
    master: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST:PORT",
            envvar="RTS_MASTER",
            help="The master; repeat it, or use commas, for each one to try in turn.",
        ),
    ] = None,
    worker_id: Annotated[
        str | None,
        typer.Option("--id", metavar="ID", help="Unique in the cluster; this machine's name when not given."),
    ] = None,
    cpu: Annotated[
        float | None,
        typer.Option(metavar="CORES", help="Cores to offer; what the machine has when not given."),
    ] = None,
    memory: Annotated[float | None, typer.Option(metavar="GIB", help="Memory to offer.")] = None,
    gpu: Annotated[float | None, typer.Option(metavar="N", help="Devices to offer.")] = None,
    storage: Annotated[float | None, typer.Option(metavar="GIB", help="Storage to offer.")] = None,
    work_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="For tasks and unreported results; ~/.local/state/rtscore/ID otherwise."
        ),
    ] = None,
    drain_timeout: Annotated[
        float, typer.Option(metavar="SECONDS", help="How long a stop waits for running tasks.")
    ] = 30.0,
    ca: CaOption = "",
    cert: CertOption = "",
    key: KeyOption = "",
    token_file: TokenFileOption = "",
    container_socket: Annotated[
        str,
        typer.Option(
            metavar="ENGINE",
            envvar="RTS_CONTAINER_HOST",
            help="The Docker-compatible engine for tasks with an image: the path of its socket, or an "
            "address (unix://, tcp://); DOCKER_HOST when not given.",
        ),
    ] = "",
    container_network: Annotated[
        str, typer.Option(metavar="NAME", help="Connect containers to this network of the engine.")
    ] = "none",
    container_pull: Annotated[
        bool, typer.Option("--container-pull", help="Pull images that the engine does not have.")
    ] = False,
    log_level: Annotated[
        LogLevel, typer.Option(metavar="LEVEL", envvar="RTS_LOG_LEVEL", help=f"One of {', '.join(LogLevel)}.")
    ] = LogLevel.INFO,
    log_format: Annotated[
        LogFormat, typer.Option(metavar="FORMAT", envvar="RTS_LOG_FORMAT", help="console or json.")
    ] = LogFormat.CONSOLE,
) -> None:
    """Run a worker on this machine.

    It takes tasks from the master and runs them here, through restarts of the master. SIGTERM or Ctrl-C ends
    it: running tasks have --drain-timeout to finish; again, and they are ended at once and given back.
    """
    import socket

    quiet_grpc("NONE")
    from master.log_output import configure_logging
    from worker.config import WorkerConfig

    configure_logging(log_level, log_format)
    with _said_in_log(log_format):
        try:
            config = WorkerConfig(
                masters=tuple(each.strip() for one in master or (DEFAULT_MASTER,) for each in one.split(",")),
                worker_id=worker_id or socket.gethostname(),
                cpu=cpu,
                memory=memory,
                gpu=gpu,
                storage=storage,
                drain_timeout_s=drain_timeout,
                work_dir=str(work_dir or ""),
                credentials=credentials(ca, cert, key, token_file),
                container_host=container_socket,
                container_network=container_network,
                container_pull=container_pull,
            )
            for address in config.masters:
                config.credentials.check(address)
        except ValueError as error:
            raise CommandError(f"{error}.") from None
        _work(config)


def _work(config: WorkerConfig) -> None:
    import asyncio

    from worker.agent import WorkDirInUseError, run
    from worker.containers import NoEngineError

    try:
        asyncio.run(run(config))
    except WorkDirInUseError as error:
        raise CommandError(
            f"{error}. Stop it, or give this one another --id or --work-dir.", Exit.NO
        ) from None
    except NoEngineError as error:
        raise CommandError(
            f"Containers cannot run here: {error}. Name another engine with --container-socket.", Exit.NO
        ) from None
    except OSError as error:
        raise CommandError(
            f"The worker's directory cannot be used: {error}. Name another with --work-dir."
        ) from None


@contextmanager
def _said_in_log(log_format: str) -> Iterator[None]:
    """Where the log is JSON, the sentence that ends the process is a line of it."""
    try:
        yield
    except CommandError as error:
        if log_format != "json":
            raise
        import structlog

        structlog.get_logger(__name__).critical("cannot go on", reason=str(error))
        raise typer.Exit(error.code) from None
