"""How a worker finds its master, loses it and comes back."""

from __future__ import annotations

import random
import socket

import grpc
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs
from worker_peer import ScriptedMaster, agent, config, task, until

from worker.session import Backoff


async def test_hello_says_who_the_worker_is_and_what_it_offers(master, tmp_path):
    async with agent(config(master, tmp_path)):
        await until(lambda: master.hellos)
    hello = master.hellos[0]
    assert hello.info.worker_id == "w1"
    info = hello.info
    assert (info.total_cpu, info.total_memory, info.total_gpu, info.total_storage) == (4, 8, 1, 10)
    assert list(hello.executors) == ["process"]
    assert not hello.live


async def test_heartbeats_come_at_the_interval_of_the_welcome(master, tmp_path):
    async with agent(config(master, tmp_path, heartbeat_interval_s=1000.0)):
        await until(lambda: len(master.heartbeats) >= 4)
    assert master.heartbeats[0].worker_id == "w1"


async def test_worker_waits_for_a_master_that_is_not_there_yet(tmp_path):
    master = ScriptedMaster()
    with socket.create_server(("127.0.0.1", 0)) as free:
        master.port = free.getsockname()[1]
    async with agent(config(master, tmp_path)):
        await master.start()
        await until(lambda: master.hellos)
    await master.stop()


async def test_worker_goes_to_the_next_master(master, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    absent = ScriptedMaster()
    absent.port = port
    settings = config(absent, tmp_path)
    settings = type(settings)(
        masters=(absent.address, master.address), worker_id="w1", work_dir=str(tmp_path)
    )
    async with agent(settings):
        await until(lambda: master.hellos)


async def test_each_of_several_masters_is_tried_as_often_as_if_it_were_the_only_one(
    master, tmp_path, monkeypatch
):
    longest_s = 0.4
    monkeypatch.setattr("worker.session._LONGEST_DELAY_S", longest_s)
    master.refuses_with = grpc.StatusCode.INVALID_ARGUMENT
    several = msgspec.structs.replace(config(master, tmp_path), masters=(master.address, master.address))
    with capture_logs() as logs:
        async with agent(several):
            await until(lambda: master.calls == 5)
    delays = [entry["retry_in_s"] for entry in logs if entry["event"] == "no session"]
    assert len(delays) >= 4
    assert all(delay <= longest_s / 2 for delay in delays)


async def test_closed_session_is_opened_again(master, tmp_path):
    async with agent(config(master, tmp_path)):
        for sessions in range(1, 4):
            await until(lambda n=sessions: len(master.hellos) == n)
            master.drop_session()
        await until(lambda: len(master.hellos) == 4)


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.INVALID_ARGUMENT])
async def test_refused_worker_asks_again_but_slowly(master, tmp_path, code, monkeypatch):
    longest_s = 0.4
    monkeypatch.setattr("worker.session._LONGEST_DELAY_S", longest_s)
    master.refuses_with = code
    with capture_logs() as logs:
        async with agent(config(master, tmp_path)):
            await until(lambda: master.calls == 3)
            master.refuses_with = None
            await until(lambda: master.hellos)
    delays = [entry["retry_in_s"] for entry in logs if entry["event"] == "no session"]
    assert len(delays) >= 2
    assert all(longest_s / 2 <= delay <= longest_s for delay in delays)


@pytest.mark.parametrize(
    "code", [grpc.StatusCode.CANCELLED, grpc.StatusCode.ABORTED, grpc.StatusCode.INTERNAL]
)
async def test_worker_comes_back_however_its_session_ended(master, tmp_path, code):
    async with agent(config(master, tmp_path)):
        await until(lambda: master.hellos)
        master.refuses_with = code
        master.drop_session(code)
        await until(lambda: master.calls >= 3)
        master.refuses_with = None
        await until(lambda: len(master.hellos) == 2)


async def test_session_without_a_welcome_is_given_up(master, tmp_path, monkeypatch):
    monkeypatch.setattr("worker.session._LONGEST_DELAY_S", 0.1)
    master.welcomes = False
    async with agent(config(master, tmp_path)):
        await until(lambda: master.calls >= 2)
        assert not master.heartbeats
        master.welcomes = True
        await until(lambda: master.heartbeats)


async def test_start_that_the_lost_master_may_have_missed_is_told_again(master, tmp_path):
    async with agent(config(master, tmp_path)):
        await until(lambda: master.hellos)
        master.assign(task("t", "sleep 300"))
        await until(lambda: master.ran("t"))
        await master.stop()
        master.started.clear()
        await master.start()
        await until(lambda: master.ran("t"))
        assert [(live.task_id, live.attempt) for live in master.hellos[-1].live] == [("t", 1)]


@settings(deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 2000))
def test_delay_is_random_bounded_and_short_again_after_a_good_session(seed, failures):
    backoff = Backoff(random.Random(seed))
    delays = [backoff.next_delay(refused=False) for _ in range(failures)]
    assert all(0 <= delay <= min(5.0, 0.2 * 2.0 ** min(n, 30)) for n, delay in enumerate(delays))
    assert 2.5 <= backoff.next_delay(refused=True) <= 5.0
    backoff.reset()
    assert backoff.next_delay(refused=False) <= 0.2
