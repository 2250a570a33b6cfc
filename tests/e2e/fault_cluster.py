"""A cluster made to suffer: real processes, a link of its own to each worker, clocks that can be set."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, Self

import grpc
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc
from proof import Records
from rts_processes import Rts, end_for_good, free_port, until
from tcp_link import TcpLinks
from wall_clock import WallClock

from rtscore.client import ClientError, MasterClient, WorkerInfo

HEARTBEAT_S = 0.5
GRACE_S = 9.0
# Silent for three heartbeats, then for the grace.
LOST_S = 3 * HEARTBEAT_S + GRACE_S
# A fault may hit a task again and again; a run of minutes hits some more than three times.
MAX_ATTEMPTS = 10
WORKER_CPU = 6


class StoreUnderTest(Protocol):
    """What a kind of store has to offer to be tested here; `SqliteUnderTest` says what each method does.

    Attributes
    ----------
    masters : int
        How many may be started on it; all but one stand by.
    blocked : str
        What `block` does to it, in a table's words.
    can_fill : bool
        Whether `fill` and `drain` may be called.
    """

    masters: int
    blocked: str
    can_fill: bool

    def options(self) -> tuple[str, ...]: ...
    def block(self) -> None: ...
    def unblock(self) -> None: ...
    def fill(self, master: int) -> None: ...
    def drain(self) -> None: ...
    def records(self) -> Records: ...


class WorkerUnderTest:
    """One worker agent and its way to the master.

    Parameters
    ----------
    name : str
        Its id.
    directory : Path
        Of the whole test.
    masters : str
        The master's address, or those of all with commas between.
    """

    def __init__(self, name: str, directory: Path, masters: str) -> None:
        self.id = name
        self.link = TcpLinks(masters)
        self.log = directory / f"{name}.log"
        self.work_dir = directory / name
        self.clock = WallClock(directory / f"{name}.clock")
        self.process = self.start()

    def start(self, cpu: int = WORKER_CPU) -> Rts:
        """Start the agent, with so many cores to offer."""
        self.process = self.agent(self.log, self.work_dir, cpu)
        return self.process

    def agent(self, log: Path, work_dir: Path, cpu: int = WORKER_CPU) -> Rts:
        """Any agent of this worker's id."""
        return Rts(
            log,
            *("worker", "--master", self.link.address, "--id", self.id, "--work-dir", str(work_dir)),
            *("--cpu", str(cpu), "--memory", "16", "--gpu", "0", "--storage", "1", "--drain-timeout", "20"),
            **self.clock.environment(),
        )

    def kill(self) -> None:
        """SIGKILL to the agent; its commands go on, as nobody tells them."""
        self.process.kill()

    def end(self) -> None:
        """Stop it, whatever state it is in."""
        with contextlib.suppress(RuntimeError):
            self.link.heal()
        end_for_good(self.process)
        self.link.close()


class MasterUnderTest:
    """One master: where it is, and its present process."""

    def __init__(self, address: str, log: Path, start: Callable[[MasterUnderTest], Rts]) -> None:
        self.address = address
        self.log = log
        self._start = start
        # Dead on purpose: nobody is to start it again.
        self.held_down = False
        self.rts = self.start()

    def start(self) -> Rts:
        """Start a process."""
        self.rts = self._start(self)
        return self.rts

    def health(self) -> int:
        """What it says of itself, a ServingStatus; UNKNOWN while it does not answer."""
        try:
            with grpc.insecure_channel(self.address) as channel:
                check = health_pb2_grpc.HealthStub(channel).Check(
                    health_pb2.HealthCheckRequest(), timeout=2.0
                )
        except grpc.RpcError:
            return int(health_pb2.HealthCheckResponse.UNKNOWN)
        return int(check.status)

    def serves(self) -> bool:
        """Whether it is in office."""
        return self.health() == health_pb2.HealthCheckResponse.SERVING

    def stands_by(self) -> bool:
        """Whether it waits for its turn."""
        return self.health() == health_pb2.HealthCheckResponse.NOT_SERVING


class FaultCluster:
    """A master, or as many as the store lets in, and workers behind links.

    Parameters
    ----------
    directory : Path
    store : StoreUnderTest
    workers : int
    grace_s : float
        Of the master, for a worker that is silent.
    settings : str
        Environment variables of the master.
    """

    def __init__(
        self,
        directory: Path,
        store: StoreUnderTest,
        workers: int = 2,
        grace_s: float = GRACE_S,
        **settings: str,
    ) -> None:
        self.directory = directory
        self._grace_s = grace_s
        self.store = store
        self.clock = WallClock(directory / "master.clock")
        self._settings = settings
        self._starting = threading.Lock()
        # Held by a fault that is about this very process.
        self.master_stays = threading.Lock()
        names = ["master"] if store.masters == 1 else [f"master{n + 1}" for n in range(store.masters)]
        self.masters = [
            MasterUnderTest(f"127.0.0.1:{free_port()}", directory / f"{name}.log", self._start_master)
            for name in names
        ]
        # Of all masters, with commas between.
        self.address = ",".join(master.address for master in self.masters)
        self.workers = [WorkerUnderTest(f"w{n + 1}", directory, self.address) for n in range(workers)]

    @property
    def master(self) -> Rts:
        """The process of the only master."""
        (only,) = self.masters
        return only.rts

    @property
    def log(self) -> Path:
        """What the only master says."""
        (only,) = self.masters
        return only.log

    def _start_master(self, master: MasterUnderTest) -> Rts:
        return Rts(
            master.log,
            *("master", "--listen", master.address, *self.store.options()),
            *("--heartbeat-interval", str(HEARTBEAT_S), "--worker-grace", str(self._grace_s)),
            **{"RTS_MAX_ATTEMPTS": str(MAX_ATTEMPTS), "GA_EPOCH_INTERVAL": "0"},
            **self.clock.environment(),
            **self._settings,
        )

    def keep_masters(self) -> None:
        """Start each master again that ended and should not have: its store could not be opened then, say."""
        with self._starting:
            for master in self.masters:
                if not master.held_down and master.rts.process.poll() is not None:
                    master.start()

    def in_office(self, timeout_s: float = 60.0) -> MasterUnderTest:
        """The master that takes calls, once there is one."""

        def serving() -> MasterUnderTest | None:
            self.keep_masters()
            return next((master for master in self.masters if master.serves()), None)

        found = until(serving, timeout_s, "a master in office")
        assert found is not None
        return found

    def settled(self, timeout_s: float = 60.0) -> MasterUnderTest:
        """The master in office, once every other one stands by."""

        def all_but_one_wait() -> MasterUnderTest | None:
            found = self.in_office(timeout_s)
            waiting = all(master.stands_by() for master in self.masters if master is not found)
            return found if waiting else None

        found = until(all_but_one_wait, timeout_s, "one master in office, the others standing by")
        assert found is not None
        return found

    def client(self, **options: Any) -> MasterClient:
        """A client that goes straight to the master."""
        return MasterClient(self.address, **{"retry_for_s": 20.0, **options})

    def state(self, client: MasterClient, worker: WorkerUnderTest) -> str:
        """How the master sees a worker: its state, "gone", or "unknown" while the master does not answer."""
        with contextlib.suppress(ClientError):
            return next((w.state for w in client.workers() if w.worker_id == worker.id), "gone")
        return "unknown"

    def ready(self, timeout_s: float = 60.0) -> None:
        """Return when every worker is active."""
        with self.client() as client:
            self.settled(timeout_s)
            for worker in self.workers:
                until(lambda w=worker: self.state(client, w) == "active", timeout_s, f"{worker.id} is active")

    def idle(self, timeout_s: float = 120.0) -> list[WorkerInfo]:
        """Wait until no task is open and every worker has all of its room, and return the workers."""
        with self.client() as client:
            until(lambda: _open(client) == 0, timeout_s, "the end of every task")
            until(lambda: not any(w.live_attempts for w in client.workers()), timeout_s, "the last release")
            workers = client.workers()
        for worker in workers:
            assert (worker.cpu_avail, worker.memory_avail) == (worker.total_cpu, worker.total_memory), worker
        return workers

    def stop(self) -> None:
        """Stop the workers, then who stands by, then the master; each has to say that it went well."""
        for worker in self.workers:
            assert worker.process.stop(40.0) == 0, worker.process.said()[-2000:]
        last = self.settled()
        for master in sorted(self.masters, key=lambda master: master is last):
            assert master.rts.stop(30.0) == 0, master.rts.said()[-2000:]

    def leftovers(self) -> list[str]:
        """Processes of tasks that are still there."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("RTS_TASK_DIR", "").startswith(str(self.directory)):
                    found.append(f"{process.pid} {' '.join(process.cmdline())}")
        return found

    def end(self) -> None:
        """End everything, whatever state it is in."""
        for worker in self.workers:
            worker.end()
        for master in self.masters:
            end_for_good(master.rts)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.end()


def said_after(log: Path, offset: int, words: str) -> Callable[[], bool]:
    """Whether a log says something beyond a size that it had."""

    def said() -> bool:
        with log.open("rb") as file:
            file.seek(offset)
            return words.encode() in file.read()

    return said


def seconds_until(condition: Callable[[], Any], timeout_s: float, what: str) -> float:
    """How long it took."""
    began = time.monotonic()
    until(condition, timeout_s, what)
    return time.monotonic() - began


def size(log: Path) -> int:
    """How long a log is."""
    return os.stat(log).st_size


def _open(client: MasterClient) -> int:
    with contextlib.suppress(ClientError):
        stats = client.stats()
        return stats.queued + stats.assigned + stats.running
    return -1
