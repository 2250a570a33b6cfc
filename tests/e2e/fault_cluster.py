"""A cluster made to suffer: real processes, a link of its own to each worker, clocks that can be set."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, Self

import psutil
from proof import Records
from rts_processes import Rts, end_for_good, free_port, until
from tcp_link import TcpLink
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
    """What a kind of store has to offer to be tested here; `SqliteUnderTest` says what each method does."""

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
    master : str
        The master's address.
    """

    def __init__(self, name: str, directory: Path, master: str) -> None:
        self.id = name
        self.link = TcpLink(master)
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


class FaultCluster:
    """A master and workers behind links.

    Parameters
    ----------
    directory : Path
    store : StoreUnderTest
    workers : int
    settings : str
        Environment variables of the master.
    """

    def __init__(self, directory: Path, store: StoreUnderTest, workers: int = 2, **settings: str) -> None:
        self.directory = directory
        self.store = store
        self.address = f"127.0.0.1:{free_port()}"
        self.log = directory / "master.log"
        self.clock = WallClock(directory / "master.clock")
        self._settings = settings
        self._starting = threading.Lock()
        # Held by a fault that is about this very process.
        self.master_stays = threading.Lock()
        # Dead on purpose: nobody is to start it again.
        self.master_held_down = False
        self.master = self.start_master()
        self.workers = [WorkerUnderTest(f"w{n + 1}", directory, self.address) for n in range(workers)]

    def start_master(self) -> Rts:
        """Start the master; that its store is under a fault of its own may end it again."""
        self.master = Rts(
            self.log,
            *("master", "--listen", self.address, *self.store.options()),
            *("--heartbeat-interval", str(HEARTBEAT_S), "--worker-grace", str(GRACE_S)),
            **{"RTS_MAX_ATTEMPTS": str(MAX_ATTEMPTS), "GA_EPOCH_INTERVAL": "0"},
            **self.clock.environment(),
            **self._settings,
        )
        return self.master

    def keep_master(self) -> None:
        """Start the master again if it ended and should not have: its store could not be opened then, say."""
        with self._starting:
            if not self.master_held_down and self.master.process.poll() is not None:
                self.start_master()

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
        """Stop the workers, then the master, gracefully; each has to say that it went well."""
        for worker in self.workers:
            assert worker.process.stop(40.0) == 0, worker.process.said()[-2000:]
        assert self.master.stop(30.0) == 0, self.master.said()[-2000:]

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
        end_for_good(self.master)

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
