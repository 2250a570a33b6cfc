"""Rows per second made durable: alone, in the journal's groups, beside a busy loop; what a restart reads.

`python -m benchmarks.store [--json] [--quick]`. Every case counts what is stored before its time counts. The
peer is the same database class in a thread of the master, which is how `sqlite3` is used by most programs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import resource
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from master.events import Effect, InsertTask, Write
from master.journal import Journal
from master.records import Submission, TaskSpec, TaskStatus
from master.store.base import Store
from master.store.database import Database
from master.store.rows import plan
from master.store.sqlite import SqliteStore

BATCH = 100
SLICE_S = 0.0002
"""What a handler holds the event loop for: a unary call costs the server about 220 µs."""


class ThreadStore:
    """The peer: the same plan and the same database, in a thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1)
        self._number = 0

    async def open(self) -> None:
        self._database = await self._in_thread(lambda: Database(self._path, write=True))

    async def close(self) -> None:
        await self._in_thread(self._database.close)
        self._thread.shutdown()

    async def commit(self, writes: list[Write]) -> None:
        runs = plan(writes)
        self._number += 1
        await self._in_thread(lambda: self._database.commit(self._number, runs))

    async def count_tasks(self) -> dict[str, int]:
        parts = await self._in_thread(lambda: list(self._database.count_tasks()))
        return {state: count for _, rows in parts for state, count in rows}

    def _in_thread(self, work: Callable[[], Any]) -> Awaitable[Any]:
        return asyncio.get_running_loop().run_in_executor(self._thread, work)


def task(task_id: str, submitted_at: float) -> InsertTask:
    """A task such as a client submits."""
    submission = Submission(
        task_id, "alice", "sha256sum /etc/hostname && sleep 1", cpu=4.0, memory=8.0, storage=1.0
    )
    spec = TaskSpec(submission, "cpu-light", 5.0, 2.0, submitted_at, submitted_at + 10.0)
    return InsertTask(spec, TaskStatus())


def batches(callers: int, rows: int, size: int, ordered: bool) -> list[list[list[Write]]]:
    """For each caller its batches; ids begin with the time, as those that the master makes, or are random."""
    dice = random.Random(7)
    each = rows // callers // size
    return [
        [
            [
                task(
                    f"{serial * size + row:012x}" * ordered + uuid.UUID(int=dice.getrandbits(128)).hex,
                    1.7e9 + serial * 0.01 + row * 1e-5,
                )
                for row in range(size)
            ]
            for serial in range(each)
        ]
        for _ in range(callers)
    ]


def _nothing(effect: Effect) -> None:
    """Deliver an effect to nobody: these cases have only writes."""


async def _handlers(stop: asyncio.Event) -> int:
    """Handlers in turn, each computing for a slice of its thread's own time; how many there were."""
    count = 0
    while not stop.is_set():
        until = time.thread_time() + SLICE_S
        while time.thread_time() < until:
            pass
        count += 1
        await asyncio.sleep(0)
    return count


async def _case(
    name: str, store: Any, work: list[list[list[Write]]], *, busy: bool = False
) -> dict[str, Any]:
    others_before = _cpu_s(resource.RUSAGE_CHILDREN)
    await store.open()
    journal, latencies = Journal(store, deliver=_nothing, before=lambda: None), list[float]()
    running = asyncio.create_task(journal.run())

    async def caller(mine: list[list[Write]]) -> None:
        for batch in mine:
            before = time.perf_counter()
            journal.append(batch)
            await journal.durable()
            latencies.append(time.perf_counter() - before)

    stop = asyncio.Event()
    load = asyncio.create_task(_handlers(stop)) if busy else None
    begun, used = time.perf_counter(), _cpu_s()
    await asyncio.gather(*map(caller, work))
    seconds, cpu_s = time.perf_counter() - begun, _cpu_s() - used
    stop.set()
    handlers = await load if load is not None else None
    journal.close()
    await running
    rows = sum(len(batch) for mine in work for batch in mine)
    stored = sum((await store.count_tasks()).values())
    if stored != rows:
        raise RuntimeError(f"{name}: {stored} tasks are stored, {rows} were acknowledged")
    await store.close()
    latencies.sort()
    return {
        "case": name,
        "rows": rows,
        "rows_per_s": rows / seconds,
        "p50_ms": latencies[len(latencies) // 2] * 1e3,
        "p99_ms": latencies[len(latencies) * 99 // 100] * 1e3,
        "own_cpu_us_per_row": None if busy else cpu_s / rows * 1e6,
        "store_cpu_us_per_row": (_cpu_s(resource.RUSAGE_CHILDREN) - others_before) / rows * 1e6,
        "handlers_per_s": None if handlers is None else handlers / seconds,
    }


async def _load(store: Store, rows: int) -> dict[str, Any]:
    await store.open()
    for (batch,) in zip(*batches(1, rows, 5 * BATCH, True), strict=True):
        await store.commit(batch)
    await store.close()
    await store.open()
    begun = time.perf_counter()
    found = len((await store.load()).tasks)
    seconds = time.perf_counter() - begun
    await store.close()
    if found != rows:
        raise RuntimeError(f"load: {found} tasks came back, {rows} were stored")
    return {"case": "load after a restart", "rows": rows, "rows_per_s": rows / seconds, "seconds": seconds}


def _cpu_s(whose: int = resource.RUSAGE_SELF) -> float:
    usage = resource.getrusage(whose)
    return usage.ru_utime + usage.ru_stime


async def measure(directory: Path, scale: float) -> list[dict[str, Any]]:
    """Run all cases; `scale` shrinks the number of rows."""

    def rows(wanted: int) -> int:
        return max(2000, int(wanted * scale))

    def path() -> Path:
        return directory / f"{time.monotonic_ns()}.db"

    grouped = batches(20, rows(200_000), BATCH, True)
    few = batches(20, rows(20_000), BATCH, True)
    return [
        await _case("one caller, rows one by one", SqliteStore(path()), batches(1, rows(4000), 1, True)),
        await _case("16 callers, rows one by one", SqliteStore(path()), batches(16, rows(32_000), 1, True)),
        await _case("20 callers, batches of 100", SqliteStore(path()), grouped),
        await _case("  with random ids", SqliteStore(path()), batches(20, rows(100_000), BATCH, False)),
        await _case("  in a thread instead", ThreadStore(path()), grouped),
        await _case("  beside a busy loop", SqliteStore(path()), few, busy=True),
        await _case("  in a thread beside a busy loop", ThreadStore(path()), few, busy=True),
        await _load(SqliteStore(path()), rows(200_000)),
    ]


def main() -> None:
    """Print the cases as a table, or all of it as JSON."""
    form = argparse.ArgumentParser(prog="python -m benchmarks.store", description=__doc__.split("\n")[0])
    form.add_argument("--json", action="store_true", help="one JSON document")
    form.add_argument("--quick", action="store_true", help="a tenth of the rows")
    options = form.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        cases = asyncio.run(measure(Path(directory), 0.1 if options.quick else 1.0))
    if options.json:
        print(json.dumps(cases, indent=2))
        return
    columns = {
        "p50_ms": "p50 ms",
        "p99_ms": "p99 ms",
        "own_cpu_us_per_row": "own CPU µs/row",
        "store_cpu_us_per_row": "its processes'",
        "handlers_per_s": "handlers/s",
    }
    print(f"{'case':34}{'rows/s':>10}", *(f"{title:>14}" for title in columns.values()))
    for case in cases:
        cells = [f"{case[key]:14.2f}" if case.get(key) else " " * 14 for key in columns]
        seconds = f"{case['seconds']:.2f} s for {case['rows']:,}" if "seconds" in case else ""
        print(f"{case['case']:34}{case['rows_per_s']:>10,.0f}", *cells, seconds)


if __name__ == "__main__":
    main()
