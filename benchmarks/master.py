"""`python -m benchmarks.master`: what the master costs, durable, beside a bare gRPC echo; verified."""

from __future__ import annotations

import argparse
import contextlib
import json
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from benchmarks.machine import facts

CONCURRENCY = 64
BATCH = 100
BATCHES_UNDER_WAY = 8
WORKERS = 8

# Section 14 of the design.
UNARY_SHARE_OF_ECHO = 0.60
BATCH_TIMES_UNARY = 12.0
CYCLE_MS = 0.1

_SERVE = "import sys; from master.server import run; from master.config import load_config; " + (
    "run(load_config({'listen': '127.0.0.1:0', 'store': sys.argv[1], 'log_level': 'warning'}, {}), "
    "lambda address: print(address, flush=True))"
)


class WrongAnswerError(Exception):
    """What was measured had not been done."""


@contextlib.contextmanager
def _process(*arguments: str, takes_input: bool = False) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, *arguments],
        stdin=subprocess.PIPE if takes_input else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        if process.stdin is not None:
            process.stdin.close()
        else:
            process.terminate()
        process.wait(30)


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise WrongAnswerError(f"{process.args} ended without a word")
    return line.strip()


def _load(role: str, address: str, **options: int) -> dict[str, float]:
    flags = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    with _process("-m", "benchmarks.master_load", role, "--address", address, *flags) as process:
        answer: dict[str, float] = json.loads(_line(process))
        return answer


@contextlib.contextmanager
def _master(store: Path) -> Iterator[tuple[str, psutil.Process]]:
    with _process("-c", _SERVE, str(store)) as process:
        yield _line(process), psutil.Process(process.pid)


def _cpu_s(process: psutil.Process) -> tuple[float, float]:
    """CPU seconds of the master's own process, and of its store's processes."""
    own = process.cpu_times()
    children = [child.cpu_times() for child in process.children(recursive=True)]
    return own.user + own.system, sum(times.user + times.system for times in children)


def _rows(store: Path, query: str) -> int:
    with contextlib.closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as connection:
        (count,) = connection.execute(query).fetchone()
        return int(count)


def _expect(store: Path, query: str, wanted: int) -> None:
    if (count := _rows(store, query)) != wanted:
        raise WrongAnswerError(f"{query}: {count} in the store, {wanted} were acknowledged")


def echo(calls: int) -> float:
    """Calls per second of a server that does nothing."""
    with _process("-m", "benchmarks.master_load", "echo", takes_input=True) as server:
        address = json.loads(_line(server))["address"]
        answer = _load("echo-client", address, tasks=calls, concurrency=CONCURRENCY)
        return answer["calls"] / answer["seconds"]


def submit(directory: Path, tasks: int, batch: int) -> dict[str, float]:
    """Durable submissions per second, one by one or in batches, to a cluster without workers."""
    store = directory / f"submit-{time.monotonic_ns()}.db"
    with _master(store) as (address, _):
        concurrency = CONCURRENCY if batch == 1 else BATCHES_UNDER_WAY
        answer = _load("client", address, tasks=tasks, batch=batch, concurrency=concurrency)
    _expect(store, "SELECT count(*) FROM tasks", tasks)
    return {
        "tasks_per_s": answer["calls"] * batch / answer["seconds"],
        "p50_ms": answer["p50_ms"],
        "p99_ms": answer["p99_ms"],
    }


def cycle(directory: Path, tasks: int) -> dict[str, float]:
    """CPU milliseconds per task of a master that takes, places, sends and completes them, durably."""
    store = directory / f"cycle-{time.monotonic_ns()}.db"
    with _master(store) as (address, process):
        workers = ("-m", "benchmarks.master_load", "workers", "--address", address, "--workers", str(WORKERS))
        with _process(*workers) as crowd:
            for _ in range(WORKERS):
                _line(crowd)
            own_before, store_before = _cpu_s(process)
            begin = time.perf_counter()
            _load("client", address, tasks=tasks, batch=BATCH, concurrency=BATCHES_UNDER_WAY)
            _until_completed(address, tasks)
            seconds = time.perf_counter() - begin
            own, stores = _cpu_s(process)
    _expect(store, "SELECT count(*) FROM tasks WHERE status = 'completed'", tasks)
    _expect(store, "SELECT count(*) FROM results", tasks)
    return {
        "master_cpu_ms": (own - own_before) * 1e3 / tasks,
        "store_cpu_ms": (stores - store_before) * 1e3 / tasks,
        "tasks_per_s": tasks / seconds,
    }


def _until_completed(address: str, tasks: int) -> None:
    from rtscore.client import MasterClient

    end = time.monotonic() + 120.0
    with MasterClient(address) as client:
        while (done := client.stats().completed) < tasks:
            if time.monotonic() > end:
                raise WrongAnswerError(f"{done} of {tasks} tasks had completed after 120 s")
            time.sleep(0.02)


def measure(rounds: int, calls: int, tasks: int) -> dict[str, Any]:
    """All figures; medians over interleaved rounds, so that drift of the machine hits all alike."""
    echoes, unary, batched, cycles = [], [], [], []
    with tempfile.TemporaryDirectory(prefix="rts-bench-") as name:
        directory = Path(name)
        for _ in range(rounds):
            echoes.append(echo(calls))
            unary.append(submit(directory, calls, 1))
            batched.append(submit(directory, tasks, BATCH))
            cycles.append(cycle(directory, tasks))

    def median(rows: list[dict[str, float]], key: str) -> float:
        return statistics.median(row[key] for row in rows)

    echo_rate, unary_rate = statistics.median(echoes), median(unary, "tasks_per_s")
    batch_rate, cycle_ms = median(batched, "tasks_per_s"), median(cycles, "master_cpu_ms")
    return {
        "machine": facts(),
        "rounds": rounds,
        "echo_per_s": echo_rate,
        "unary_per_s": unary_rate,
        "unary_p50_ms": median(unary, "p50_ms"),
        "unary_p99_ms": median(unary, "p99_ms"),
        "batch_per_s": batch_rate,
        "cycle_per_s": median(cycles, "tasks_per_s"),
        "cycle_master_cpu_ms": cycle_ms,
        "cycle_store_cpu_ms": median(cycles, "store_cpu_ms"),
        "bars": [
            _bar("unary submit, durable, of a bare echo", unary_rate / echo_rate, UNARY_SHARE_OF_ECHO),
            _bar("batch submit, durable, times unary", batch_rate / unary_rate, BATCH_TIMES_UNARY),
            _bar("full cycle, durable: ms of master CPU a task", cycle_ms, CYCLE_MS, at_most=True),
        ],
    }


def _bar(what: str, value: float, bar: float, *, at_most: bool = False) -> dict[str, Any]:
    reached = value <= bar if at_most else value >= bar
    return {"what": what, "value": value, "bar": bar, "at_most": at_most, "reached": reached}


def _print(result: dict[str, Any]) -> None:
    print(f"bare echo          {result['echo_per_s']:>10,.0f} calls/s, {CONCURRENCY} under way")
    latency = f"p50 {result['unary_p50_ms']:.1f} ms, p99 {result['unary_p99_ms']:.1f} ms"
    print(f"unary submit       {result['unary_per_s']:>10,.0f} tasks/s, {latency}")
    print(f"batches of {BATCH}     {result['batch_per_s']:>10,.0f} tasks/s")
    print(f"full cycle         {result['cycle_per_s']:>10,.0f} tasks/s, {WORKERS} workers")
    print(f"  its store        {result['cycle_store_cpu_ms']:>10.4f} ms of CPU a task, in other processes")
    for bar in result["bars"]:
        verdict = "PASS" if bar["reached"] else "FAIL"
        sign = "<=" if bar["at_most"] else ">="
        print(f"{verdict}  {bar['what']}: {bar['value']:.3f} ({sign} {bar['bar']:g})")


def main() -> int:
    """Measure and print; 1 when an answer was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--quick", action="store_true", help="one short round, to try the command")
    arguments = parser.parse_args()
    try:
        result = measure(1, 3_000, 10_000) if arguments.quick else measure(5, 10_000, 50_000)
    except WrongAnswerError as error:
        print(error, file=sys.stderr)
        return 1
    if arguments.json:
        print(json.dumps(result, indent=2))
    else:
        _print(result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
