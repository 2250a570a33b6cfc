"""A master as a whole and as a process: how it starts, how it stops, what keeps it from either."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from peers import SessionWorker, config, refusal, serving, until

from master.config import ConfigError
from master.errors import StoreUnavailableError
from master.server import MasterServer, serve
from master.store.base import StoreConflictError, StoreOpenError
from master.timed import WINDOW, TimedScheduler
from rtscore import (
    GAParams,
    RoundRobinScheduler,
    RTSScheduler,
    Task,
    Theta,
    WorkerTable,
    save_ga_params,
)
from rtscore.client import MasterClient, TaskSpec
from rtscore.rpc import scheduler_pb2

PROGRAM = (
    "import sys; from master.config import load_config; from master.server import run; "
    "run(load_config({'listen': '127.0.0.1:0', 'store': sys.argv[1], 'log_format': 'json'}), "
    "lambda address: print(address, flush=True))"
)


@contextlib.contextmanager
def process(store: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A master in a process of its own, and its address."""
    master = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(store)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert master.stdout is not None
        yield master, master.stdout.readline().strip()
    finally:
        master.kill()
        master.communicate()


async def _health(address: str) -> int:
    async with grpc.aio.insecure_channel(address) as channel:
        reply = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        return int(reply.status)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_process_gracefully(tmp_path: Path, number: int) -> None:
    with process(tmp_path / "m.db") as (master, address):
        with MasterClient(address) as client:
            task = client.submit(TaskSpec("true"))
        master.send_signal(number)
        _, errors = master.communicate(timeout=20)
        assert master.returncode == 0
        lines = [json.loads(line) for line in errors.splitlines()]
        events = [line["event"] for line in lines]
        assert [line for line in lines if line["level"] not in ("info", "debug")] == []
        assert events[0] == "master serves"
        assert events[-1] == "master stopped"
    with process(tmp_path / "m.db") as (_, address), MasterClient(address) as client:
        assert client.task(task.task_id).state == "queued"


def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    with process(tmp_path / "m.db") as (master, address), MasterClient(address) as client:
        ids = [client.submit(TaskSpec(f"echo {number}")).task_id for number in range(20)]
        master.kill()
        master.wait()
    with process(tmp_path / "m.db") as (_, address), MasterClient(address) as client:
        assert sorted(ids) == sorted(task.task_id for task in client.tasks())


async def test_a_stopping_master_says_not_serving_and_finishes_calls_under_way(tmp_path: Any) -> None:
    async with serving(config(tmp_path)) as (server, stub):
        assert await _health(server.address) == health_pb2.HealthCheckResponse.SERVING
        commit, go = server.store.commit, asyncio.Event()

        async def slow(writes: Any) -> None:
            await go.wait()
            await commit(writes)

        server.store.commit = slow  # type: ignore[method-assign]
        call = asyncio.ensure_future(stub.SubmitTask(scheduler_pb2.TaskSpec(task_id="t", command="true")))
        await until(lambda: server.master.cluster.task("t"))
        stopping = asyncio.create_task(server.stop())

        async def not_serving() -> bool:
            return await _health(server.address) == health_pb2.HealthCheckResponse.NOT_SERVING

        await until(not_serving)
        go.set()
        assert (await call).spec.task_id == "t"
        await stopping
        await server.stop()


async def test_a_stopping_master_ends_watches_with_a_sentence(tmp_path: Any) -> None:
    async with serving(config(tmp_path)) as (server, stub):
        watch = stub.WatchTasks(scheduler_pb2.WatchTasksRequest())
        reading = asyncio.ensure_future(watch.read())
        await until(lambda: server.master.watchers.count)
        await server.stop()
        error = await refusal(reading)
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert "stopping" in error.details()


async def test_a_stop_ends_within_its_grace_though_a_worker_stays(tmp_path: Any) -> None:
    async with serving(config(tmp_path, stop_grace_s=1.0)) as (server, _):
        worker = await SessionWorker(server.address).connect()
        begin = asyncio.get_running_loop().time()
        await server.stop()
        assert asyncio.get_running_loop().time() - begin < 3.0
        await worker.close()


async def test_two_masters_do_not_share_a_port(tmp_path: Any) -> None:
    async with MasterServer(config(tmp_path)) as first:
        second = MasterServer(config(tmp_path, store=str(tmp_path / "other.db"), listen=first.address))
        try:
            with pytest.raises(ConfigError, match=first.address):
                await second.start()
        finally:
            await second.stop()


async def test_two_masters_do_not_share_a_store(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("master.store.sqlite.LOCK_WAIT_S", 0.1)
    async with MasterServer(config(tmp_path)):
        with pytest.raises(StoreOpenError, match=r"master\.db"):
            await MasterServer(config(tmp_path)).start()


async def test_a_store_that_does_not_answer_while_a_master_starts_is_told_as_one_that_cannot_be_opened(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the server is replaced just after a standby has taken over."""

    async def away() -> None:
        raise StoreUnavailableError("the store answers: not primary")

    server = MasterServer(config(tmp_path))
    monkeypatch.setattr(server.store, "load", away)
    with pytest.raises(StoreOpenError, match="not primary"):
        await server.start()


def test_an_open_address_is_refused_even_without_load_config(tmp_path: Any) -> None:
    with pytest.raises(ConfigError, match="insecure"):
        MasterServer(config(tmp_path, listen="0.0.0.0:0"))


async def test_a_master_whose_store_does_not_fit_stops_and_says_so(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    address: list[str] = []
    serving_ = asyncio.create_task(serve(config(tmp_path), address.append))
    await until(lambda: address)

    async def conflict(self: Any, writes: Any) -> None:
        raise StoreConflictError("task t exists")

    monkeypatch.setattr("master.store.sqlite.SqliteStore.commit", conflict)
    async with grpc.aio.insecure_channel(address[0]) as channel:
        from rtscore.rpc import scheduler_pb2_grpc

        stub = scheduler_pb2_grpc.SchedulerServiceStub(channel)
        error = await refusal(stub.SubmitTask(scheduler_pb2.TaskSpec(command="true")))
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    with pytest.raises(StoreConflictError, match="task t exists"):
        await asyncio.wait_for(serving_, 60)


async def test_the_parameter_file_is_loaded_at_the_start_and_again_when_it_changes(tmp_path: Any) -> None:
    file = tmp_path / "params.json"
    save_ga_params(GAParams(theta=Theta(theta1=0.5)), file)
    settings = config(tmp_path, params=str(file), params_reload_interval_s=0.02)
    async with MasterServer(settings) as server:
        assert server.master.scheduler.params.theta.theta1 == 0.5
        save_ga_params(GAParams(theta=Theta(theta1=0.75)), file)
        await until(lambda: server.master.scheduler.params.theta.theta1 == 0.75)
        file.write_text("{")
        async with SessionWorker(server.address):
            assert server.master.scheduler.params.theta.theta1 == 0.75


async def test_the_round_robin_scheduler_can_be_chosen(tmp_path: Any) -> None:
    async with (
        serving(config(tmp_path, scheduler="round-robin")) as (server, stub),
        SessionWorker(server.address, "w1") as first,
        SessionWorker(server.address, "w2") as second,
    ):
        for _ in range(4):
            await stub.SubmitTask(scheduler_pb2.TaskSpec(command="true"))
        await until(lambda: len(first.assignments) == len(second.assignments) == 2)
        stats = await stub.GetClusterStats(scheduler_pb2.ClusterStatsRequest())
        assert (stats.scheduler, stats.decisions, stats.fallbacks) == ("round-robin", 4, 0)


def test_decisions_are_counted_and_timed_over_a_window() -> None:
    table = WorkerTable()
    timed = TimedScheduler(RTSScheduler(table))
    assert timed.latency().decisions == 0
    assert timed.latency().p99_us == 0.0
    table.add("w1", cpu=8, memory=8)
    for number in range(WINDOW + 5):
        assert timed.select_worker(Task(f"t{number}", cpu=1)).worker_id == "w1"
    latency = timed.latency()
    assert (latency.decisions, latency.fallbacks) == (WINDOW + 5, 0)
    assert 0.0 < latency.p50_us <= latency.p99_us


def test_only_decisions_that_were_left_to_round_robin_are_fallbacks() -> None:
    table = WorkerTable()
    table.add("w1", cpu=8, memory=8)
    timed = TimedScheduler(RTSScheduler(table))
    # Its risk is not finite on any worker.
    task = Task("t", cpu=1, tau=1e308, deadline=0.0)
    assert timed.select_worker(task).source == "round-robin"
    assert timed.latency().fallbacks == 1
    plain = TimedScheduler(RoundRobinScheduler(table))
    plain.select_worker(task)
    assert plain.latency().fallbacks == 0
