"""`make chaos`: a random, seeded schedule of every fault under load; then the store proves the promises."""

from __future__ import annotations

import argparse
import contextlib
import random
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path

from fault_cluster import LOST_S, MAX_ATTEMPTS, FaultCluster, StoreUnderTest, WorkerUnderTest
from faults import CLOCK_JUMP_S, Faults, Measured
from load import LoadClient, all_acknowledged
from mongo_server import NoServerError, start_server
from mongo_under_test import MongoUnderTest
from proof import Proof, judge
from sqlite_under_test import SqliteUnderTest
from standby_faults import StandbyFaults
from wall_clock import library

WORKERS = 3
CLIENTS = 2
# Below this a run has no time for faults that last longer than the grace.
LONG_RUN_S = 60.0

Inject = Callable[[float], Measured]


class Lane(threading.Thread):
    """Faults of one target, one after the other, at moments that the seed decides.

    Parameters
    ----------
    name : str
        The target.
    faults : Faults
    kinds : list of callable
        Each is injected in turn, in an order that changes from round to round.
    chance : Random
    began : float
        Where the printed times count from, on the monotonic clock.
    until : float
        No fault begins after this.
    pause_s : tuple of float
        Bounds of the pause before each fault.
    """

    def __init__(
        self,
        name: str,
        faults: Faults,
        kinds: list[tuple[str, Inject, tuple[float, float]]],
        chance: random.Random,
        began: float,
        until: float,
        pause_s: tuple[float, float],
    ) -> None:
        super().__init__(name=name, daemon=True)
        self.measured: list[Measured] = []
        self.error: BaseException | None = None
        self.faults = faults
        self._kinds = kinds
        self._chance = chance
        self._began = began
        self._until = until
        self._pause_s = pause_s

    def run(self) -> None:
        try:
            while True:
                for kind, inject, (shortest, longest) in self._chance.sample(self._kinds, len(self._kinds)):
                    pause_s = self._chance.uniform(*self._pause_s)
                    hold_s = self._chance.uniform(shortest, longest)
                    if time.monotonic() + pause_s > self._until:
                        return
                    time.sleep(pause_s)
                    at = time.monotonic() - self._began
                    print(f"{at:7.1f} s  {self.name:<7} {kind:<18} {hold_s:5.1f} s", flush=True)
                    self.measured.append(inject(hold_s))
        except BaseException as error:
            self.error = error


def run(directory: Path, store: StoreUnderTest, seconds: float, seed: int) -> tuple[Proof, list[Measured]]:
    """Let everything happen for so long, wait until all work is done, stop, and judge.

    Parameters
    ----------
    directory : Path
        Empty.
    store : StoreUnderTest
        New.
    seconds : float
        How long faults go on beginning.
    seed : int
        Of the schedule and of the load.

    Raises
    ------
    AssertionError
        When something did not recover, or a process did not end well.
    """
    chance = random.Random(seed)
    journal = directory / "ran.txt"
    with FaultCluster(directory, store, WORKERS) as cluster:
        cluster.ready()
        clients = [
            LoadClient(
                f"c{n}", cluster.address, journal, chance.randrange(1 << 30), cancels=0.1, pause_s=(0.05, 0.3)
            )
            for n in range(CLIENTS)
        ]
        lanes = _lanes(cluster, journal, chance, seconds)
        try:
            for thread in (*clients, *lanes):
                thread.start()
            for lane in lanes:
                lane.join()
        finally:
            for client in clients:
                client.stop.set()
        for client in clients:
            client.join(30.0)
        for thread in (*lanes, *clients):
            if thread.error is not None:
                raise AssertionError(f"{thread.name}: {thread.error}") from thread.error
        # The last fault of another target may have hit a worker after its own last one.
        cluster.ready()
        workers = cluster.idle()
        assert [worker.worker_id for worker in workers] == [worker.id for worker in cluster.workers], workers
        cluster.stop()
        left = cluster.leftovers()
        acknowledged = all_acknowledged(clients).union(*(lane.faults.acknowledged for lane in lanes))
        for lane in lanes:
            lane.faults.close()
    proof = judge(
        store.records(),
        acknowledged,
        cancelled=set().union(*(client.cancelled for client in clients)),
        seen={task: told for client in clients for task, told in client.seen.items()},
        ran=journal.read_text().splitlines(),
        max_attempts=MAX_ATTEMPTS,
    )
    proof.broken += [f"left behind: {process}" for process in left]
    return proof, [measured for lane in lanes for measured in lane.measured]


def _lanes(cluster: FaultCluster, journal: Path, chance: random.Random, seconds: float) -> list[Lane]:
    began = time.monotonic()
    long_run = seconds >= LONG_RUN_S
    workers = {worker.id for worker in cluster.workers}
    lanes = []

    def lane(name: str, kinds_of: Callable[[Faults], list[tuple[str, Inject, tuple[float, float]]]]) -> None:
        faults = Faults(cluster, journal, name)
        # A generator of its own, so that what one target goes through does not depend on the others' pace.
        own = random.Random(chance.randrange(1 << 30))
        # Faults of the master and its store reach every worker: in a long run they leave room between them,
        # so that the others are measured alone, too.
        pause_s = (0.5, 4.0) if name in workers or not long_run else (15.0, 45.0)
        lanes.append(Lane(name, faults, kinds_of(faults), own, began, began + seconds, pause_s))

    lane("master", partial(_of_master, cluster=cluster, clocks=library() is not None))
    lane("store", partial(_of_store, store=cluster.store))
    for worker in cluster.workers:
        lane(worker.id, partial(_of_worker, worker=worker, clocks=library() is not None, long_run=long_run))
    return lanes


def _of_master(
    faults: Faults, cluster: FaultCluster, clocks: bool
) -> list[tuple[str, Inject, tuple[float, float]]]:
    if cluster.store.masters == 1:
        kinds = [("killed", faults.master_killed, (0.0, 3.0))]
    else:
        standby = StandbyFaults(cluster, faults)
        kinds = [
            ("killed", standby.killed, (0.0, 3.0)),
            ("suspended", standby.suspended, (0.0, 3.0)),
            ("stopped", standby.stopped, (0.0, 1.0)),
            ("standby killed", standby.standby_killed, (0.0, 3.0)),
        ]
    if clocks:
        kinds += [
            ("clock forwards", partial(faults.master_clock, ahead_s=CLOCK_JUMP_S), (1.0, 5.0)),
            ("clock backwards", partial(faults.master_clock, ahead_s=-CLOCK_JUMP_S), (1.0, 5.0)),
        ]
    return kinds


def _of_store(faults: Faults, store: StoreUnderTest) -> list[tuple[str, Inject, tuple[float, float]]]:
    kinds = [("blocked", faults.store_blocked, (0.5, 5.0))]
    if store.can_fill:
        kinds.append(("disk full", faults.store_full, (0.5, 5.0)))
    return kinds


def _of_worker(
    faults: Faults, worker: WorkerUnderTest, clocks: bool, long_run: bool
) -> list[tuple[str, Inject, tuple[float, float]]]:
    kinds = [
        ("killed", partial(faults.worker_killed, worker), (0.0, 3.0)),
        ("network cut", partial(faults.network_cut, worker), (2.0, 0.7 * LOST_S)),
        ("network slow", partial(faults.network_slow, worker), (2.0, 5.0)),
        ("half-open", partial(faults.half_open, worker), (0.0, 0.0)),
        ("half-closed", partial(faults.half_closed, worker), (0.0, 0.0)),
        ("refused", partial(faults.connection_refused, worker), (0.0, 3.0)),
        ("disk full", partial(faults.worker_full, worker), (1.0, 4.0)),
        ("smaller", partial(faults.worker_resized, worker), (0.5, 3.0)),
        ("twin", partial(faults.worker_twice, worker), (0.0, 5.0)),
    ]
    if clocks:
        kinds += [
            ("clock forwards", partial(faults.worker_clock, worker, ahead_s=CLOCK_JUMP_S), (1.0, 4.0)),
            ("clock backwards", partial(faults.worker_clock, worker, ahead_s=-CLOCK_JUMP_S), (1.0, 4.0)),
        ]
    if long_run:
        kinds.append(("long cut", partial(faults.network_cut_long, worker), (0.0, 3.0)))
    return kinds


def table(measured: list[Measured]) -> str:
    """Per kind: how often, and the times of those that met no fault of the master or its store."""
    kinds: dict[str, list[Measured]] = defaultdict(list)
    for fault in measured:
        kinds[fault.kind].append(fault)
    lines = [
        "| fault | injected | alone | noticed after, s: median, worst | over after, s: median, worst |",
        "| --- | --- | --- | --- | --- |",
    ]
    for kind, faults in sorted(kinds.items()):
        alone = [fault for fault in faults if not _disturbed(fault, measured)]
        noticed = _both([fault.detect_s for fault in alone if fault.detect_s is not None])
        over = _both([fault.recover_s for fault in alone])
        lines.append(f"| {kind} | {len(faults)} | {len(alone)} | {noticed} | {over} |")
    return "\n".join(lines)


def _disturbed(fault: Measured, others: list[Measured]) -> bool:
    return any(
        other is not fault
        and other.target in ("master", "store")
        and other.began < fault.ended
        and fault.began < other.ended
        for other in others
    )


def _both(seconds: list[float]) -> str:
    return f"{statistics.median(seconds):.1f}, {max(seconds):.1f}" if seconds else "–"


def _store(kind: str, directory: Path, stack: contextlib.ExitStack) -> StoreUnderTest:
    if kind == "sqlite":
        return SqliteUnderTest(directory)
    server = start_server(directory)
    stack.callback(server.end)
    return MongoUnderTest(server)


def main() -> int:
    """Run it, and print seed, schedule, table and proof; 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=300.0, help="how long faults go on beginning (300)")
    parser.add_argument("--store", choices=("sqlite", "mongo"), default="sqlite", help="(sqlite)")
    parser.add_argument("--seed", type=int, help="of the schedule and the load; a random one when not given")
    arguments = parser.parse_args()
    seed = random.SystemRandom().randrange(1 << 30) if arguments.seed is None else arguments.seed
    print(f"SEED={seed} SECONDS={arguments.seconds:g}", flush=True)
    directory = Path(tempfile.mkdtemp(prefix="rts-chaos-"))
    print(f"logs and store, kept when it fails: {directory}", flush=True)
    if library() is None:
        print("no C compiler: clocks are left alone")
    with contextlib.ExitStack() as stack:
        try:
            store = _store(arguments.store, directory, stack)
            proof, measured = run(directory, store, arguments.seconds, seed)
        except (AssertionError, NoServerError) as error:
            print(f"FAILED (SEED={seed}): {error}")
            return 1
    print(f"\n{table(measured)}\n\n{proof}")
    for sentence in proof.broken[:20]:
        print(f"  {sentence}")
    print("FAILED" if proof.broken else "PROVED", f"(SEED={seed})")
    if not proof.broken:
        shutil.rmtree(directory)
    return 1 if proof.broken else 0


if __name__ == "__main__":
    sys.exit(main())
