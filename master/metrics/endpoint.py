"""/metrics over HTTP: prometheus_client's exposition, in threads, of what the event loop hands over."""

from __future__ import annotations

import asyncio
import concurrent.futures
import shutil
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import accumulate
from pathlib import Path
from socketserver import TCPServer, ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import structlog
from prometheus_client import CollectorRegistry, ProcessCollector, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family

from master.config import ConfigError, split_address
from master.metrics.catalogue import METRICS, Metric
from master.metrics.counters import Histogram
from master.metrics.readings import Readings, Values

log = structlog.get_logger(__name__)

# Prometheus itself gives up after 10 s unless it is told otherwise.
LOOP_PATIENCE_S = 5.0
# A connection that says nothing is closed, and a closing server notices within this.
SOCKET_PATIENCE_S = 10.0
# Prometheus needs one or two; of more the master would run out of what its calls need.
CONNECTIONS = 16
POLL_S = 0.1
PATH = "/metrics"

_FAMILIES = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily, "histogram": HistogramMetricFamily}


class _NoReadingError(Exception):
    """The event loop did not hand over a reading; the sentence says why."""


class _Handler(WSGIRequestHandler):
    timeout = SOCKET_PATIENCE_S

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: scrapes are many and say little."""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def __init__(self, *arguments: Any) -> None:
        self._room = threading.BoundedSemaphore(CONNECTIONS)
        super().__init__(*arguments)

    def server_bind(self) -> None:
        """Bind, without the library's search for this machine's name, which may take DNS many seconds."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread, or close it."""
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing when a client was silent or hung up; the library would write a traceback to stderr."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            log.error("a request for metrics failed", exc_info=error)


class _ServerV6(_Server):
    address_family = socket.AF_INET6


class _Collector:
    """What a registry asks for families."""

    def __init__(self, read: Callable[[], dict[str, Values]], disk: Path | None) -> None:
        self._read = read
        self._disk = disk

    def describe(self) -> Iterator[Family]:
        """Every family, empty."""
        return map(_family, METRICS.values())

    def collect(self) -> Iterator[Family]:
        """Every family that there is something to say of."""
        values = self._read()
        if self._disk is not None:
            values |= _disk_usage(self._disk)
        for name, metric in METRICS.items():
            if name in values:
                yield _filled(_family(metric), values[name])


class MetricsEndpoint:
    """Serves the metrics over HTTP until closed; whoever reaches it may read them.

    Parameters
    ----------
    listen : str
        "host:port"; port 0 takes a free one.
    readings : Readings
        Read on the event loop that this is made on.
    disk : path or None
        A directory whose file system's room is told, too.

    Raises
    ------
    ConfigError
        When the address cannot be listened on.
    """

    def __init__(self, listen: str, readings: Readings, disk: Path | None) -> None:
        self._loop = asyncio.get_running_loop()
        self._readings = readings
        # One scrape at a time: each takes a little of the loop, and more of the interpreter.
        self._turn = threading.Lock()
        registry = CollectorRegistry()
        registry.register(_Collector(self._read, disk))
        ProcessCollector(registry=registry)
        self._exposition = make_wsgi_app(registry)
        host, port = split_address(listen)
        kind = _ServerV6 if ":" in host else _Server
        try:
            self._server = make_server(host, port, self._answer, kind, _Handler)
        except OSError as error:
            raise ConfigError(f"metrics_listen: cannot listen on {listen}: {error.strerror}") from None
        port = self._server.server_port
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        serve = partial(self._server.serve_forever, POLL_S)
        self._thread = threading.Thread(target=serve, name="metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving and return then, which takes up to `POLL_S`; not for the event loop's thread."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _read(self) -> dict[str, Values]:
        reading = self._readings.read()
        try:
            future = asyncio.run_coroutine_threadsafe(reading, self._loop)
        except RuntimeError:
            reading.close()
            raise _NoReadingError("the master has stopped") from None
        try:
            return future.result(LOOP_PATIENCE_S)
        except concurrent.futures.TimeoutError:
            future.cancel()
            raise _NoReadingError(
                f"the master's event loop has not answered for {LOOP_PATIENCE_S:g} s"
            ) from None
        except concurrent.futures.CancelledError:
            raise _NoReadingError("the master is stopping") from None

    def _answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] != PATH:
            return _say(start_response, "404 Not Found", f"there is nothing but {PATH} here")
        if not self._turn.acquire(timeout=LOOP_PATIENCE_S):
            return _say(start_response, "503 Service Unavailable", "other scrapes take too long")
        try:
            page: Iterable[bytes] = self._exposition(environ, start_response)
            return page
        except _NoReadingError as error:
            return _say(start_response, "503 Service Unavailable", str(error))
        except Exception:
            log.exception("the metrics cannot be told")
            return _say(start_response, "500 Internal Server Error", "the master's log says more")
        finally:
            self._turn.release()


def _say(start_response: Callable[..., Any], status: str, sentence: str) -> Iterable[bytes]:
    start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
    return [f"{sentence}\n".encode()]


def _family(metric: Metric) -> Any:
    return _FAMILIES[metric.kind](metric.name, metric.help, labels=metric.labels)


def _filled(family: Any, values: Values) -> Any:
    for labels, value in values.items():
        if isinstance(value, Histogram):
            family.add_metric(labels, _buckets(value), value.total)
        else:
            family.add_metric(labels, value)
    return family


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    """The counts as Prometheus wants them: each with all below it."""
    names = [*(repr(float(bound)) for bound in histogram.bounds), "+Inf"]
    return list(zip(names, map(float, accumulate(histogram.counts)), strict=True))


def _disk_usage(directory: Path) -> dict[str, Values]:
    try:
        usage = shutil.disk_usage(directory)
    except OSError:
        # What cannot be asked cannot be told; that the store fails then is told elsewhere.
        return {}
    return {"rts_store_disk_free_bytes": {(): usage.free}, "rts_store_disk_size_bytes": {(): usage.total}}
