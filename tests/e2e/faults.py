"""The faults: each is injected, noticed, healed and got over, and says how long that took."""

from __future__ import annotations

import dataclasses
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fault_cluster import FaultCluster, WorkerUnderTest, said_after, seconds_until, size
from load import command
from rts_processes import FULL, end_for_good, limit_files

from rtscore.client import CallTimeoutError, ClientError, MasterClient, MasterUnreachableError, TaskSpec

# Nothing here takes longer, however busy the machine is.
PATIENCE_S = 60.0
SLOW_S = 0.2
CLOCK_JUMP_S = 3600
SMALL_CPU = 2


@dataclasses.dataclass
class Measured:
    """How long a fault took to be noticed, and from its end to be got over; None: nobody has to notice it."""

    kind: str
    target: str
    began: float
    detect_s: float | None = None
    recover_s: float = 0.0
    ended: float = 0.0


class Faults:
    """What can be done to a cluster; each method returns when the fault is over and got over.

    Parameters
    ----------
    cluster : FaultCluster
    journal : Path
        Where the commands of its own tasks are noted.
    name : str
        Begins the ids of its own tasks, by which it sees whether the master accepts any.
    """

    def __init__(self, cluster: FaultCluster, journal: Path, name: str) -> None:
        self.acknowledged: set[str] = set()
        self._cluster = cluster
        self._journal = journal
        self._name = name
        self._made = 0
        self._once = MasterClient(cluster.address, timeout_s=10.0, retry_for_s=0.0)

    def close(self) -> None:
        """Hang up."""
        self._once.close()

    # ---- the master and its store ----

    def master_killed(self, hold_s: float) -> Measured:
        """SIGKILL; started again after a while, and again if it cannot start yet."""
        measured = self._begin("master killed", "master")
        logs = [(worker.log, size(worker.log)) for worker in self._cluster.workers]
        (master,) = self._cluster.masters
        with self._cluster.master_stays:
            master.held_down = True
            master.rts.kill()
        noticed = [said_after(*log, "no session") for log in logs]
        measured.detect_s = seconds_until(
            lambda: any(said() for said in noticed), PATIENCE_S, "a worker notices"
        )
        time.sleep(hold_s)
        master.held_down = False
        self._cluster.keep_masters()
        return self._recovered(measured, self.serves)

    def store_blocked(self, hold_s: float) -> Measured:
        """The store answers nobody, for a reason of its kind."""
        store = self._cluster.store
        return self._store(store.blocked, hold_s, store.block, store.unblock)

    def store_full(self, hold_s: float) -> Measured:
        """No file of the master can grow."""
        store, cluster = self._cluster.store, self._cluster
        return self._store(
            "store's disk full", hold_s, lambda: store.fill(cluster.master.process.pid), store.drain
        )

    def master_clock(self, hold_s: float, ahead_s: int = CLOCK_JUMP_S) -> Measured:
        """The master's wall clock jumps, and later jumps back."""
        measured = self._begin(_jump("master", ahead_s), "master")
        self._cluster.clock.set(ahead_s)
        time.sleep(hold_s)
        self._cluster.clock.set(0)
        return self._recovered(measured, self.serves)

    # ---- a worker and its network ----

    def worker_killed(self, worker: WorkerUnderTest, hold_s: float) -> Measured:
        """SIGKILL to the agent, its commands go on; started again after a while."""
        measured = self._begin_at(worker, "worker killed")
        worker.kill()
        measured.detect_s = self._noticed(worker)
        time.sleep(hold_s)
        worker.start()
        return self._active_again(measured, worker)

    def network_cut(self, worker: WorkerUnderTest, hold_s: float) -> Measured:
        """Packets are lost for a time, within the grace or beyond it."""
        measured = self._begin_at(worker, "network cut")
        worker.link.cut()
        measured.detect_s = self._noticed(worker)
        time.sleep(max(0.0, measured.began + hold_s - time.monotonic()))
        worker.link.heal()
        return self._active_again(measured, worker)

    def network_cut_long(self, worker: WorkerUnderTest, hold_s: float) -> Measured:
        """Packets are lost until the worker is given up."""
        measured = self._begin_at(worker, "network cut beyond the grace")
        worker.link.cut()
        measured.detect_s = self._until_state(worker, "gone")
        time.sleep(hold_s)
        worker.link.heal()
        return self._active_again(measured, worker)

    def network_slow(self, worker: WorkerUnderTest, hold_s: float) -> Measured:
        """Everything is late."""
        measured = self._begin_at(worker, "network slow")
        worker.link.delay(SLOW_S)
        time.sleep(hold_s)
        worker.link.heal()
        return self._active_again(measured, worker)

    def half_open(self, worker: WorkerUnderTest, hold_s: float) -> Measured:
        """The connection is gone and neither end was told; a new one would work. It heals itself."""
        measured = self._begin_at(worker, "half-open connection")
        worker.link.strand()
        measured.detect_s = self._noticed(worker)
        return self._active_again(measured, worker)

    def half_closed(self, worker: WorkerUnderTest, hold_s: float) -> Measured:
        """The master is told that the worker says no more; the worker is told nothing. It heals itself."""
        measured = self._begin_at(worker, "half-closed connection")
        noticed = said_after(worker.log, size(worker.log), "no session")
        # Again and again, as a master that dies at this moment takes the connection with it.
        measured.detect_s = self._until(lambda: noticed() or worker.link.half_close(), "the worker notices")
        return self._active_again(measured, worker)

    def connection_refused(self, worker: WorkerUnderTest, hold_s: float) -> Measured:
        """Connections are reset, and refused for a while."""
        measured = self._begin_at(worker, "connection refused")
        worker.link.refuse()
        measured.detect_s = self._noticed(worker)
        time.sleep(hold_s)
        worker.link.heal()
        return self._active_again(measured, worker)

    def worker_clock(self, worker: WorkerUnderTest, hold_s: float, ahead_s: int = CLOCK_JUMP_S) -> Measured:
        """The worker's wall clock jumps, and later jumps back."""
        measured = self._begin_at(worker, _jump("worker", ahead_s))
        worker.clock.set(ahead_s)
        time.sleep(hold_s)
        worker.clock.set(0)
        return self._active_again(measured, worker)

    def worker_full(self, worker: WorkerUnderTest, hold_s: float) -> Measured:
        """No file of the worker can grow, nor of the commands that it starts."""
        measured = self._begin_at(worker, "worker's disk full")
        limit_files(worker.process.process.pid, FULL)
        time.sleep(hold_s)
        limit_files(worker.process.process.pid, resource.RLIM_INFINITY)
        return self._active_again(measured, worker)

    def worker_resized(self, worker: WorkerUnderTest, hold_s: float) -> Measured:
        """The agent dies and comes back under its id with fewer cores than it had, later with all of them."""
        measured = self._begin_at(worker, "worker smaller")
        worker.kill()
        worker.start(SMALL_CPU)
        self._until(lambda: self._cpu(worker) == SMALL_CPU, "the worker is smaller")
        time.sleep(hold_s)
        worker.kill()
        worker.start()
        return self._active_again(measured, worker)

    def worker_twice(self, worker: WorkerUnderTest, hold_s: float) -> Measured:
        """A second agent claims the id, from a directory of its own."""
        measured = self._begin_at(worker, "two workers, one id")
        log = worker.log.with_suffix(".twin.log")
        twin = worker.agent(log, worker.work_dir.with_suffix(".twin"))
        began = size(log)
        try:
            refused = said_after(log, began, "ALREADY_EXISTS")
            accepted = said_after(log, began, "session open")
            self._until(lambda: refused() or accepted(), "the twin has an answer")
            if refused():
                measured.detect_s = time.monotonic() - measured.began
            time.sleep(hold_s)
        finally:
            end_for_good(twin)
        return self._active_again(measured, worker)

    # ---- helpers ----

    def submit(self) -> str:
        """Submit a task that does little, once; raises ClientError unless it is acknowledged."""
        self._made += 1
        spec = TaskSpec(
            task_id=f"{self._name}-{self._made}",
            command=command(self._journal),
            cpu=1.0,
            memory=0.25,
            task_type="cpu-light",
        )
        task_id = self._once.submit(spec).task_id
        self.acknowledged.add(task_id)
        return task_id

    def _store(
        self, kind: str, hold_s: float, take: Callable[[], None], give: Callable[[], None]
    ) -> Measured:
        try:
            with self._cluster.master_stays:
                # A master that is dead at this moment would have nobody to refuse anything.
                self._until(self.serves, "a master serves")
                measured = self._begin(kind, "store")
                take()
                measured.detect_s = self._until(self._refuses, f"refused: {kind}")
            time.sleep(hold_s)
        finally:
            give()
        return self._recovered(measured, self.serves)

    def _begin(self, kind: str, target: str) -> Measured:
        return Measured(kind, target, time.monotonic())

    def _begin_at(self, worker: WorkerUnderTest, kind: str) -> Measured:
        self._until_state(worker, "active")
        return self._begin(kind, worker.id)

    def _recovered(self, measured: Measured, condition: Callable[[], Any]) -> Measured:
        measured.recover_s = self._until(condition, f"over: {measured.kind}")
        measured.ended = time.monotonic()
        return measured

    def _active_again(self, measured: Measured, worker: WorkerUnderTest) -> Measured:
        measured.recover_s = self._until_state(worker, "active")
        measured.ended = time.monotonic()
        return measured

    def _noticed(self, worker: WorkerUnderTest) -> float | None:
        """How long until the master places nothing there; None when it is away itself."""
        seen = ""

        def inactive() -> bool:
            nonlocal seen
            seen = self._cluster.state(self._once, worker)
            return seen != "active"

        took = self._until(inactive, f"{worker.id} is not active")
        return None if seen == "unknown" else took

    def _until_state(self, worker: WorkerUnderTest, state: str) -> float:
        return self._until(
            lambda: self._cluster.state(self._once, worker) == state, f"{worker.id} is {state}"
        )

    def _until(self, condition: Callable[[], Any], what: str) -> float:
        return seconds_until(condition, PATIENCE_S, what)

    def serves(self) -> bool:
        """Whether a task is accepted at present."""
        self._cluster.keep_masters()
        try:
            self.submit()
        except ClientError:
            return False
        return True

    def _refuses(self) -> bool:
        try:
            self.submit()
        except MasterUnreachableError as error:
            # A standby refuses, too, but has no reason to name a time.
            return error.retry_after_s > 0.0
        except CallTimeoutError:
            pass
        return False

    def _cpu(self, worker: WorkerUnderTest) -> float:
        try:
            return next((w.total_cpu for w in self._once.workers() if w.worker_id == worker.id), 0.0)
        except ClientError:
            return 0.0


def _jump(whose: str, ahead_s: int) -> str:
    return f"{whose}'s clock {'forwards' if ahead_s > 0 else 'backwards'} 1 h"
