"""A master that waits for its turn: refuses every call, says where the one in office is, and takes over."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Any, NoReturn, Self

import grpc
import structlog
from grpc_health.v1 import health, health_pb2_grpc
from grpc_health.v1.health_pb2 import HealthCheckResponse

from master.config import ConfigError, split_address
from master.interceptors import Context, Handler
from master.store.base import Store, StoreInUseError, StoreUnreachableError

log = structlog.get_logger(__name__)

RETRY_S = 0.5
"""Between two tries while the store does not answer."""


class Standby(grpc.GenericRpcHandler):
    """Serves refusals at an address; an async context manager.

    Parameters
    ----------
    server : grpc.aio.Server
        Not started; this one's alone.
    listen : str
        "host:port"; port 0 takes a free one.
    tls : grpc.ServerCredentials or None
        None: connections are not encrypted.
    services : sequence of str
        Whose health is NOT_SERVING.

    Raises
    ------
    ConfigError
        On entering, when the address cannot be listened on.
    """

    def __init__(
        self,
        server: grpc.aio.Server,
        listen: str,
        tls: grpc.ServerCredentials | None,
        services: Sequence[str],
    ) -> None:
        self._server = server
        self._listen = listen
        self._tls = tls
        self._services = services
        self._in_office = ""
        self.port = 0

    async def __aenter__(self) -> Self:
        checks = health.aio.HealthServicer()
        for service in ("", *self._services):
            await checks.set(service, HealthCheckResponse.NOT_SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(checks, self._server)
        self._server.add_generic_rpc_handlers((self,))
        try:
            if self._tls is None:
                self.port = self._server.add_insecure_port(self._listen)
            else:
                self.port = self._server.add_secure_port(self._listen, self._tls)
        except RuntimeError:
            raise ConfigError(
                f"listen: cannot listen on {self._listen}, another may be there; give another address"
            ) from None
        await self._server.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._server.stop(None)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler | None:
        """Handle whatever method it is: a stream of bytes both ways fits every kind of call."""
        return grpc.stream_stream_rpc_method_handler(self._refuse)

    async def open(self, store: Store, in_use: StoreInUseError) -> None:
        """Return once the store is ours; `in_use` is why it was not at first.

        Raises
        ------
        StoreOpenError
            When it cannot be used, for another reason than that it does not answer.
        """
        host, _ = split_address(self._listen)
        while True:
            if in_use.address != self._in_office:
                self._in_office = in_use.address
                log.info("standing by", listen=f"{host}:{self.port}", in_office=self._in_office)
            try:
                await store.open()
            except StoreInUseError as error:
                in_use = error
                _require_wanted()
            except StoreUnreachableError as error:
                _require_wanted()
                log.warning("standing by, and the store does not answer", error=str(error))
                await asyncio.sleep(RETRY_S)
            else:
                _require_wanted()
                log.info("taking over", after=self._in_office)
                return

    async def _refuse(self, requests: Any, context: Context) -> NoReturn:
        where = f"the master at {self._in_office}" if self._in_office else "another master"
        await context.abort(
            grpc.StatusCode.UNAVAILABLE, f"this master stands by and takes no calls; {where} does"
        )


def _require_wanted() -> None:
    """Raise when this task was told to end: the driver may take a cancellation for itself, and go on."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
