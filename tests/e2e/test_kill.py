"""The master killed with SIGKILL under load, again and again: nothing acknowledged is lost or told twice.

`RTS_KILL_ROUNDS` says how many rounds; `RTS_KILL_SEED` repeats a run's moments.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import shutil
import sqlite3
import time
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from load import LoadClient, all_acknowledged
from rts_processes import Rts, end_for_good, free_port, until

from master.store.schema import RESULT_COLUMNS
from rtscore.client import MasterClient, WorkerInfo

ROUNDS = int(os.environ.get("RTS_KILL_ROUNDS", "5"))
SEED = int(os.environ.get("RTS_KILL_SEED", str(random.SystemRandom().randrange(1 << 30))))

Results = dict[str, tuple[object, ...]]


def wait_for_writers(store: Path) -> None:
    """Return when nothing of a killed master writes any more: until then it holds the lock."""
    with open(f"{store}.lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)


def crash_state(store: Path, scratch: Path) -> sqlite3.Connection:
    """The store as the crash left it: a copy with its log, so that looking does not mend the original."""
    wait_for_writers(store)
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    for suffix in ("", "-wal"):
        with contextlib.suppress(FileNotFoundError):
            shutil.copy(f"{store}{suffix}", f"{scratch / store.name}{suffix}")
    return sqlite3.connect(scratch / store.name)


def check_rows(rows: sqlite3.Connection, acknowledged: set[str], earlier: Results) -> Results:
    """The recorded results, after a look at everything that must hold at any moment.

    Nothing acknowledged is missing; a task has a result exactly when it has ended; a result that was there
    at an earlier look has not changed; only the last attempt of a task can be open, and none of an ended one
    (a cancelled one aside, and nothing here is cancelled).
    """
    if not rows.execute("SELECT 1 FROM sqlite_master WHERE name = 'tasks'").fetchone():
        assert not acknowledged, "tasks were acknowledged before there was a store"
        return {}
    tasks = dict(rows.execute("SELECT task_id, status FROM tasks"))
    assert acknowledged <= tasks.keys(), f"lost: {sorted(acknowledged - tasks.keys())}"
    told = rows.execute(f"SELECT {RESULT_COLUMNS} FROM results").fetchall()
    results: Results = {row[0]: row for row in told}
    assert len(results) == len(told), "a task has two results"
    assert results.keys() == {task_id for task_id, state in tasks.items() if state in ("completed", "failed")}
    assert "cancelled" not in tasks.values()
    for task_id, result in earlier.items():
        assert results.get(task_id) == result, f"{task_id} was {result} and is {results.get(task_id)}"
    ends: dict[str, list[str | None]] = defaultdict(list)
    for task_id, end in rows.execute("SELECT task_id, outcome FROM assignments ORDER BY task_id, attempt"):
        ends[task_id].append(end)
    for task_id, outcomes in ends.items():
        assert all(end in ("lost", "refused") for end in outcomes[:-1]), (task_id, outcomes)
        if task_id in results:
            assert outcomes[-1] == tasks[task_id], (task_id, outcomes)
    return results


class Cluster:
    """One master that is killed and started again on the same store and port, and two workers that stay."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.store = directory / "rts.db"
        self.address = f"127.0.0.1:{free_port()}"
        self.master = self.start_master()
        self.workers = [self._start_worker(name) for name in ("w1", "w2")]

    def start_master(self) -> Rts:
        return Rts(
            self.directory / "master.log",
            *("master", "--listen", self.address, "--store", str(self.store)),
            *("--heartbeat-interval", "0.3", "--worker-grace", "5"),
        )

    def _start_worker(self, name: str) -> Rts:
        return Rts(
            self.directory / f"{name}.log",
            *("worker", "--master", self.address, "--id", name, "--cpu", "6", "--memory", "8", "--gpu", "0"),
            *("--storage", "1", "--work-dir", str(self.directory / name)),
        )

    def end(self) -> None:
        for process in (*self.workers, self.master):
            end_for_good(process)


def wait_for_more(clients: list[LoadClient], known: int) -> None:
    until(lambda: len(all_acknowledged(clients)) > known, timeout_s=60.0, what="an acknowledgement")


@pytest.mark.slow
@pytest.mark.timeout(120 + 30 * ROUNDS)
def test_a_master_killed_at_any_moment_loses_nothing_acknowledged_and_tells_nothing_twice(
    tmp_path: Path,
) -> None:
    print(f"RTS_KILL_SEED={SEED} RTS_KILL_ROUNDS={ROUNDS}")
    chance = random.Random(SEED)
    ran = tmp_path / "ran.txt"
    cluster = Cluster(tmp_path)
    clients = [LoadClient(f"c{n}", cluster.address, ran, chance.randrange(1 << 30)) for n in range(3)]
    results: Results = {}
    acknowledged: set[str] = set()
    in_flight = 0
    try:
        for client in clients:
            client.start()
        for round_ in range(ROUNDS):
            if chance.random() < 0.25:
                # While it starts, loads and hears its workers again.
                time.sleep(chance.uniform(0.0, 0.8))
            else:
                # Clients come back at growing intervals; a kill before the first would meet nobody.
                wait_for_more(clients, len(acknowledged))
                time.sleep(chance.uniform(0.0, 1.2))
            cluster.master.kill()
            acknowledged = all_acknowledged(clients)
            with contextlib.closing(crash_state(cluster.store, tmp_path / "crash")) as rows:
                results = check_rows(rows, acknowledged, results)
            in_flight += len(acknowledged) - len(results)
            print(f"round {round_ + 1}: {len(acknowledged)} acknowledged, {len(results)} ended", flush=True)
            cluster.master = cluster.start_master()
        for client in clients:
            client.stop.set()
        for client in clients:
            client.join(90)
            assert not client.is_alive()
            assert client.error is None, client.error
        acknowledged = all_acknowledged(clients)
        with MasterClient(cluster.address, retry_for_s=20.0) as client:
            until(lambda: open_tasks(client) == 0, timeout_s=90.0, what="the end of every task")
            # The last tasks may end on one worker while the other still waits for its next try to come back.
            until(lambda: all(is_free(worker) for worker in client.workers()), what="every worker's return")
        assert cluster.master.stop() == 0, cluster.master.said()
        with contextlib.closing(crash_state(cluster.store, tmp_path / "crash")) as rows:
            results = check_rows(rows, acknowledged, results)
            assert acknowledged <= results.keys()
            assert rows.execute("SELECT count(*) FROM assignments WHERE ended_at IS NULL").fetchone() == (0,)
            check_that_it_ran(rows, ran)
        assert acknowledged, "nothing was submitted"
        assert ROUNDS < 5 or in_flight, "no kill ever met a task under way"
        for worker in cluster.workers:
            assert worker.stop() == 0, worker.said()
    finally:
        for client in clients:
            client.stop.set()
        cluster.end()


def is_free(worker: WorkerInfo) -> bool:
    room = (worker.cpu_avail, worker.memory_avail) == (worker.total_cpu, worker.total_memory)
    return worker.state == "active" and worker.live_attempts == 0 and room


def open_tasks(client: MasterClient) -> int:
    stats = client.stats()
    return stats.queued + stats.assigned + stats.running


def check_that_it_ran(rows: sqlite3.Connection, ran: Path) -> None:
    """Each recorded attempt wrote its line once, and its exit code is that of its command."""
    lines = Counter(ran.read_text().splitlines())
    for task_id, attempt, success, exit_code, command in rows.execute(
        "SELECT task_id, results.attempt, success, results.exit_code, command"
        " FROM results JOIN tasks USING (task_id)"
    ):
        assert lines[f"{task_id} {attempt}"] == 1, (task_id, attempt, lines[f"{task_id} {attempt}"])
        assert exit_code == (3 if "exit 3" in command else 0), (task_id, exit_code)
        assert bool(success) == (exit_code == 0)
