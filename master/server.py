"""A whole master: started in order, stopped in order, and the process around it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from master.access import ANYONE, ANYONE_CERTIFIED
from master.agents import Agents
from master.authentication import Authentication
from master.cluster import Cluster
from master.config import ConfigError, MasterConfig, refuse_open_address, split_address
from master.decision_log import ToldCluster, ToldScheduler
from master.errors import MasterError, StoppingError, StoreUnavailableError
from master.interceptors import Errors, tells_no_hang_up
from master.learning import Learning
from master.log_output import configure_logging
from master.metrics.counters import Calls
from master.metrics.endpoint import PATH, MetricsEndpoint
from master.metrics.readings import Readings
from master.planner import PlannerService
from master.runner import Master
from master.service import SchedulerService
from master.sessions import Sessions
from master.standby import Standby
from master.store.base import StoreInUseError, StoreOpenError
from master.store.choose import make_store
from master.store.target import is_mongo, without_secrets
from master.task_logs import TaskLogs
from master.timed import TimedScheduler
from master.tls import server_credentials
from master.tokens import load_tokens
from master.training import Trainer
from master.versions import Versions
from rtscore import InMemoryTauStore, RoundRobinScheduler, RTSScheduler, WorkerTable
from rtscore.rpc import (
    agent_pb2,
    agent_pb2_grpc,
    cluster_pb2,
    cluster_pb2_grpc,
    scheduler_pb2,
    scheduler_pb2_grpc,
)

log = structlog.get_logger(__name__)

MESSAGE_LIMIT = 16 * 1024 * 1024

_SERVICES = (
    scheduler_pb2.DESCRIPTOR.services_by_name["SchedulerService"].full_name,
    scheduler_pb2.DESCRIPTOR.services_by_name["WorkerService"].full_name,
    cluster_pb2.DESCRIPTOR.services_by_name["MasterWorker"].full_name,
    agent_pb2.DESCRIPTOR.services_by_name["MasterAgent"].full_name,
)
_EVERY_HOST = frozenset({"0.0.0.0", "::"})
_OPTIONS = (
    ("grpc.max_receive_message_length", MESSAGE_LIMIT),
    # A second master on the same port is an error, not a partner.
    ("grpc.so_reuseport", 0),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # Clients and workers ping too; by default gRPC takes pings without data for an attack.
    ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
    ("grpc.http2.max_pings_without_data", 0),
)


class MasterServer:
    """One master and its gRPC server.

    Start: the metrics are served, if they are to be; the store opens, for which a standby waits (see
    `Standby`); what it holds is loaded and handed to the core; the journal and the clock begin; the newest
    parameters are put to use and learning begins; the port opens; health says SERVING. Stop: see `stop`.
    """

    def __init__(self, config: MasterConfig) -> None:
        refuse_open_address(config)
        certificates = bool(config.client_ca)
        self._tls = server_credentials(config)
        self._calls = Calls()
        self._authentication = Authentication(
            load_tokens(config.tokens, certificates=certificates) if config.tokens else None,
            ANYONE_CERTIFIED if certificates else ANYONE,
            self._calls,
        )
        self.config = config
        self.address = ""
        table = WorkerTable()
        policy = RTSScheduler(table) if config.scheduler == "rts" else RoundRobinScheduler(table)
        scheduler = TimedScheduler(policy)
        tau = InMemoryTauStore()
        debug = config.log_level == "debug"
        cluster = (ToldCluster if debug else Cluster)(
            table,
            ToldScheduler(scheduler, config.log_risk_sample) if debug else scheduler,
            tau,
            sla_multiplier=config.sla_multiplier,
            max_attempts=config.max_attempts,
            max_queued=config.max_queued,
            max_queued_per_user=config.max_queued_per_user,
            heartbeat_interval_s=config.heartbeat_interval_s,
            grace_s=config.worker_grace_s,
        )
        self.store = make_store(config.store, config.lease_period_s)
        self._listen_on = config.listen
        self.master = Master(cluster, scheduler, self.store, tick_s=config.heartbeat_interval_s / 2.0)
        self.learning: Learning | None = None
        if isinstance(policy, RTSScheduler):
            versions = Versions(self.master, policy, config.params, config.params_reload_interval_s)
            self.learning = Learning(self.master, versions, Trainer(), config)
        self._health = health.aio.HealthServicer()
        self.sessions = Sessions(self.master, socket.gethostname(), config.heartbeat_interval_s)
        self._agents = Agents(self.master)
        logs = TaskLogs(self.master, self.sessions.logs, self._agents)
        self._service = SchedulerService(self.master, tau, logs, self.learning)
        self.metrics_readings = Readings(config, self.master, tau, self.sessions, self._calls, self.learning)
        self._metrics: MetricsEndpoint | None = None
        self.metrics_address = ""
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        """Return when the master serves at `address`.

        Raises
        ------
        StoreOpenError
            When the store cannot be used; the sentence says why.
        ConfigError
            When the address cannot be listened on.
        """
        try:
            self._serve_metrics()
            await self._open_store()
            snapshot = await self.master.start()
            self._agents.restore(snapshot.workers)
            if self.learning is not None:
                await self.learning.start()
            await self._listen()
            self.metrics_readings.active = True
        except BaseException as error:
            await self.stop()
            if isinstance(error, StoreUnavailableError):
                raise StoreOpenError(str(error)) from error
            raise
        log.info(
            "master serves",
            address=self.address,
            store=without_secrets(self.config.store),
            scheduler=self.config.scheduler,
            tls="mutual" if self.config.client_ca else self._tls is not None,
            tokens=bool(self.config.tokens),
            params=self.learning.versions.number if self.learning else 0,
            tasks=len(snapshot.tasks),
            workers=len(snapshot.workers),
        )

    async def stop(self) -> None:
        """Stop in order, within the configured grace; calling it again does nothing.

        1. Health says NOT_SERVING and nothing is placed any more; nothing is learned, and the trainer ends.
        2. What has gathered becomes durable.
        3. Watchers are told; sessions get what waits for them and end; calls under way may finish.
        4. What came in meanwhile becomes durable, and the store closes; the metrics are served until then.
        """
        grace_s = self.config.stop_grace_s
        until = asyncio.get_running_loop().time() + grace_s
        self.master.stop_placing()
        server, self._server = self._server, None
        if server is not None:
            await self._health.enter_graceful_shutdown()
        if self.learning is not None:
            await self.learning.stop()
        if server is not None:
            with contextlib.suppress(MasterError, TimeoutError):
                await asyncio.wait_for(self.master.durable(), grace_s / 2.0)
            self.master.watchers.end_all(StoppingError("the master is stopping; watch again when it is back"))
            self.sessions.close()
            await server.stop(max(0.0, until - asyncio.get_running_loop().time()) / 2.0)
        await self._agents.close()
        await self.master.stop(max(0.0, until - asyncio.get_running_loop().time()))
        await self.store.close()
        metrics, self._metrics = self._metrics, None
        if metrics is not None:
            await asyncio.to_thread(metrics.close)
        if server is not None:
            log.info("master stopped", address=self.address)

    async def failed(self) -> None:
        """Return only by raising what made it impossible to go on, say StoreConflictError."""
        watched = [asyncio.create_task(each) for each in (self.master.failed(), self.store.lost())]
        try:
            done, _ = await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in watched:
                task.cancel()
        for task in done:
            task.result()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def _serve_metrics(self) -> None:
        if not self.config.metrics_listen:
            return
        file = not is_mongo(self.config.store)
        directory = Path(self.config.store).absolute().parent if file else None
        self._metrics = MetricsEndpoint(self.config.metrics_listen, self.metrics_readings, directory)
        self.metrics_address = self._metrics.address
        log.info("metrics are served", url=f"http://{self.metrics_address}{PATH}")

    async def _open_store(self) -> None:
        """Open the store; of the masters on one MongoDB deployment all but one wait here for their turn."""
        try:
            await self.store.open()
        except StoreInUseError as in_use:
            if not is_mongo(self.config.store):
                raise
            server = grpc.aio.server(interceptors=(self._authentication,), options=_OPTIONS)
            async with Standby(server, self._listen_on, self._tls, _SERVICES) as standby:
                host, _, _ = self._listen_on.rpartition(":")
                self._listen_on = f"{host}:{standby.port}"
                await standby.open(self.store, in_use)

    async def _listen(self) -> None:
        server = grpc.aio.server(interceptors=(self._authentication, Errors(self._calls)), options=_OPTIONS)
        scheduler_pb2_grpc.add_SchedulerServiceServicer_to_server(self._service, server)
        scheduler_pb2_grpc.add_WorkerServiceServicer_to_server(self.sessions, server)
        cluster_pb2_grpc.add_MasterWorkerServicer_to_server(self._agents, server)
        agent_pb2_grpc.add_MasterAgentServicer_to_server(PlannerService(self.master), server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        reflection.enable_server_reflection(
            (*_SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), server
        )
        host, _ = split_address(self._listen_on)
        try:
            if self._tls is None:
                port = server.add_insecure_port(self._listen_on)
            else:
                port = server.add_secure_port(self._listen_on, self._tls)
        except RuntimeError:
            raise ConfigError(
                f"listen: cannot listen on {self._listen_on}, another may be there; give another address"
            ) from None
        await server.start()
        self._server = server
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self.store.serves_at(self.address if host not in _EVERY_HOST else f"{socket.gethostname()}:{port}")
        for service in ("", *_SERVICES):
            await self._health.set(service, health_pb2.HealthCheckResponse.SERVING)


async def serve(config: MasterConfig, ready: Callable[[str], None] | None = None) -> None:
    """Run a master until cancelled, then stop it gracefully.

    Parameters
    ----------
    config : MasterConfig
    ready : callable, optional
        Called with the address once the master serves.

    Raises
    ------
    StoreOpenError, ConfigError
        When it cannot start.
    StoreSupersededError
        When another master has taken over while this one was silent or cut off from the store.
    StoreConflictError
        When the store does not hold what the master believes: another master writes to it, or there is a bug.
        The master has stopped; what was acknowledged is in the store.
    """
    server = MasterServer(config)
    async with server:
        if ready is not None:
            ready(server.address)
        try:
            await server.failed()
        except Exception as error:
            log.error("the master cannot go on and stops", error=f"{type(error).__name__}: {error}")
            raise


def run(config: MasterConfig, ready: Callable[[str], None] | None = None) -> None:
    """Run a master as this process, until SIGTERM or SIGINT and a graceful stop; raises as `serve`."""

    async def until_told() -> None:
        serving = asyncio.create_task(serve(config, ready))
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, serving.cancel)
        try:
            await serving
        except asyncio.CancelledError:
            if not serving.cancelled():
                raise

    configure_logging(config.log_level, config.log_format)
    logging.getLogger("grpc._cython.cygrpc").addFilter(tells_no_hang_up)
    # Children log as we do.
    os.environ |= {"RTS_LOG_LEVEL": config.log_level, "RTS_LOG_FORMAT": config.log_format}
    # What lives long here lives very long: with the default thresholds the collector takes 10 to 15 % of a
    # batch submission for looking at the same records again and again.
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    asyncio.run(until_told())
