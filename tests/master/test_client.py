"""Both clients against a real master: typed answers, refusals, repetition, waiting."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import msgspec
import pytest
from peers import SessionWorker, config, serving, until

from master import convert
from master.errors import StoreUnavailableError
from master.interceptors import _details
from master.server import MasterServer
from rtscore.client import (
    AsyncMasterClient,
    CallTimeoutError,
    ClusterStats,
    LogPiece,
    MasterClient,
    MasterUnreachableError,
    RequestError,
    SubmitError,
    TaskInfo,
    TaskSpec,
    WorkerInfo,
)
from rtscore.client.calls import Attempts


class Eager(SessionWorker):
    """A worker that completes what it is given at once."""

    async def __aenter__(self) -> Eager:
        await super().__aenter__()
        self._work = asyncio.create_task(self._complete())
        return self

    async def __aexit__(self, *exception: object) -> None:
        self._work.cancel()
        await super().__aexit__(*exception)

    async def _complete(self) -> None:
        while True:
            task = await self.next_assignment()
            await self.finished(task, logs=f"output of {task.task_id}", runtime_s=0.1)


class Blocking:
    """MasterClient, called from threads, under the names of AsyncMasterClient; so one test serves both."""

    def __init__(self, address: str, **options: Any) -> None:
        self._client = MasterClient(address, **options)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        if name in ("tasks", "logs", "log_pieces", "watch"):

            async def items(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
                for item in await asyncio.to_thread(lambda: list(method(*args, **kwargs))):
                    yield item

            return items

        async def call(*args: Any, **kwargs: Any) -> Any:
            return await asyncio.to_thread(method, *args, **kwargs)

        return call

    async def __aenter__(self) -> Blocking:
        return self

    async def __aexit__(self, *exception: object) -> None:
        self._client.close()


@pytest.fixture(params=[AsyncMasterClient, Blocking], ids=["asyncio", "blocking"])
def connect(request: pytest.FixtureRequest) -> Any:
    return request.param


async def test_a_task_is_submitted_waited_for_and_read(tmp_path: Any, connect: Any) -> None:
    async with (
        serving(config(tmp_path)) as (server, _),
        Eager(server.address),
        connect(server.address) as client,
    ):
        task = await client.submit(TaskSpec("true", cpu=1, memory=2, user_id="ann"))
        assert isinstance(task, TaskInfo)
        assert task.task_id
        assert (task.cpu, task.memory, task.task_type, task.user_id) == (1.0, 2.0, "cpu-light", "ann")
        (ended,) = await client.wait([task.task_id], timeout_s=60)
        assert (ended.state, ended.sla_success, ended.worker_id, ended.finished) == (
            "completed",
            True,
            "w1",
            True,
        )
        assert await client.task(task.task_id) == ended
        pieces = [piece async for piece in client.logs(task.task_id)]
        assert "".join(pieces) == f"output of {task.task_id}"
        (worker,) = await client.workers()
        assert isinstance(worker, WorkerInfo)
        assert (worker.tasks_finished, worker.sla_met, worker.live_attempts) == (1, 1, 0)
        stats = await client.stats()
        assert isinstance(stats, ClusterStats)
        assert (stats.completed, stats.scheduler) == (1, "rts")
        assert set(stats.tau) >= {"cpu-light", "mixed"}


async def test_many_are_submitted_in_batches_and_answered_in_order(
    tmp_path: Any, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rtscore.client.calls.BATCH", 7)
    async with serving(config(tmp_path)) as (server, _), connect(server.address) as client:
        specs = [TaskSpec("true", task_id=f"t{number}") for number in range(20)]
        specs[5] = TaskSpec("true", cpu=-1.0)
        outcomes = await client.submit_many(specs)
        assert isinstance(outcomes[5], SubmitError)
        assert outcomes[5].code == "INVALID_ARGUMENT"
        names = [outcome.task_id for outcome in outcomes if isinstance(outcome, TaskInfo)]
        assert names == [f"t{number}" for number in range(20) if number != 5]
        assert await client.submit_many([]) == []


async def test_a_listing_goes_through_all_pages(
    tmp_path: Any, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rtscore.client.calls.PAGE", 3)
    async with serving(config(tmp_path)) as (server, _), connect(server.address) as client:
        for number in range(8):
            await client.submit(TaskSpec("true", task_id=f"t{number}", user_id=f"u{number % 2}"))
        await client.cancel("t7")
        assert [t.task_id async for t in client.tasks()] == [f"t{n}" for n in range(8)][::-1]
        assert [t.task_id async for t in client.tasks(user_id="u1")] == ["t7", "t5", "t3", "t1"]
        assert [t.task_id async for t in client.tasks(states=["cancelled"])] == ["t7"]
        with pytest.raises(ValueError, match="queued, assigned"):
            [t async for t in client.tasks(states=["lazy"])]


async def test_a_refusal_has_code_sentence_and_field(tmp_path: Any, connect: Any) -> None:
    async with serving(config(tmp_path)) as (server, _), connect(server.address) as client:
        with pytest.raises(RequestError) as caught:
            await client.submit(TaskSpec("true", task_type="huge"))
        error = caught.value
        assert (error.code, error.field) == ("INVALID_ARGUMENT", "task_type")
        assert "huge" in error.message
        assert str(error) == error.message
        with pytest.raises(RequestError) as caught:
            await client.task("no")
        assert (caught.value.code, caught.value.field) == ("NOT_FOUND", "")
        with pytest.raises(RequestError):
            [piece async for piece in client.logs("no")]
        with pytest.raises(RequestError):
            await client.wait(["no"])


async def test_long_commands_are_sent_in_batches_that_a_master_takes(tmp_path: Any, connect: Any) -> None:
    async with serving(config(tmp_path)) as (server, _), connect(server.address) as client:
        specs = [TaskSpec("x" * 120_000, task_id=str(n)) for n in range(150)]
        assert [task.task_id for task in await client.submit_many(specs)] == [str(n) for n in range(150)]


async def test_what_is_too_large_for_the_master_is_said_in_bytes(tmp_path: Any, connect: Any) -> None:
    async with serving(config(tmp_path)) as (server, _), connect(server.address) as client:
        with pytest.raises(
            RequestError, match=r"1700\d{4} bytes; the master takes at most 16777216"
        ) as caught:
            await client.submit(TaskSpec("x" * 17_000_000))
        assert caught.value.code == "RESOURCE_EXHAUSTED"


async def _running(server: Any, client: Any, worker: SessionWorker) -> Any:
    await client.submit(TaskSpec("true", task_id="t"))
    task = await worker.next_assignment()
    await worker.started(task)
    return task


async def test_output_is_followed_until_the_task_has_ended(tmp_path: Any, connect: Any) -> None:
    async with (
        serving(config(tmp_path)) as (server, _),
        SessionWorker(server.address) as worker,
        connect(server.address) as client,
    ):
        task = await _running(server, client, worker)

        async def pieces() -> list[LogPiece]:
            return [piece async for piece in client.log_pieces("t", follow=True)]

        async def text() -> str:
            return "".join([text async for text in client.logs("t", follow=True)])

        reading = asyncio.create_task(pieces()), asyncio.create_task(text())
        await until(lambda: server.sessions.logs.readers == 2)
        await worker.printed(await worker.next_read(), b"one\n")
        await worker.printed(await worker.next_read(), b"two\n", offset=1004, ended=True)
        await worker.finished(task, status="failed", logs="two\n", logs_offset=1004)
        found, whole = await asyncio.gather(*reading)
        assert whole == "one\n[1000 bytes are missing here]\ntwo\n"
        assert [(p.text, p.missed, p.offset) for p in found if p.text] == [
            ("one\n", 0, 4),
            ("two\n", 1000, 1008),
        ]
        assert [piece.last for piece in found] == [False] * (len(found) - 1) + [True]
        assert [piece.state for piece in found if piece.state][-1] == "failed"
        assert {piece.attempt for piece in found if piece.text} == {1}


async def test_following_goes_on_after_a_restart_of_the_master_without_a_gap(
    tmp_path: Any, connect: Any
) -> None:
    settings = config(tmp_path)
    async with serving(settings) as (server, _):
        settings = msgspec.structs.replace(settings, listen=server.address)
        client, worker = connect(server.address, retry_for_s=20.0), SessionWorker(server.address)
        await worker.connect()
        task = await _running(server, client, worker)

        async def text() -> str:
            return "".join([text async for text in client.logs("t", follow=True)])

        reading = asyncio.create_task(text())
        await worker.printed(await worker.next_read(), b"before ")
        await worker.next_read()
        await worker.close()
    async with (
        serving(settings) as (server, _),
        await SessionWorker(server.address).connect(live=[("t", 1)]) as back,
    ):
        read = await back.next_read()
        # The new master has nothing yet; the reader gets what it has not.
        assert read.offset == 0
        await back.printed(read, b"before after", ended=True)
        await back.finished(task, logs="before after")
        assert await asyncio.wait_for(reading, 60) == "before after"
    await client.__aexit__(None, None, None)


async def test_a_drained_worker_gets_nothing_until_the_drain_is_taken_back(
    tmp_path: Any, connect: Any
) -> None:
    async with (
        serving(config(tmp_path)) as (server, _),
        Eager(server.address),
        connect(server.address) as client,
    ):
        assert (await client.drain("w1")).state == "draining"
        task = await client.submit(TaskSpec("true"))
        assert (await client.task(task.task_id)).state == "queued"
        assert (await client.drain("w1", drain=False)).state == "active"
        assert (await client.wait([task.task_id], timeout_s=60))[0].state == "completed"


async def test_no_master_is_said_after_the_time_for_repetition(connect: Any, free_address: str) -> None:
    async with connect(free_address, retry_for_s=0.3) as client:
        begin = time.monotonic()
        with pytest.raises(MasterUnreachableError):
            await client.stats()
        with pytest.raises(MasterUnreachableError):
            await client.wait(["t"])
        assert time.monotonic() - begin < 20.0


async def test_calls_and_waits_survive_a_restart_of_the_master(tmp_path: Any, connect: Any) -> None:
    async with serving(config(tmp_path)) as (server, _):
        address = server.address
        async with connect(address, retry_for_s=20.0) as client:
            task = await client.submit(TaskSpec("true"))
            waiting = asyncio.create_task(client.wait([task.task_id, task.task_id], timeout_s=60))
            await until(lambda: server.master.watchers.count)
            await server.stop()
            reading = asyncio.create_task(client.task(task.task_id))
            async with MasterServer(config(tmp_path, listen=address)), Eager(address):
                assert (await reading).task_id == task.task_id
                first, second = await waiting
                assert first == second
                assert first.state == "completed"


async def test_a_submission_whose_answer_was_lost_is_repeated_and_is_one_task(
    tmp_path: Any, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, lost = convert.task_info, []

    def lose_the_first(*args: Any) -> Any:
        if not lost:
            lost.append(args)
            raise StoreUnavailableError("as the test wants it")
        return answer(*args)

    monkeypatch.setattr(convert, "task_info", lose_the_first)
    async with serving(config(tmp_path)) as (server, _), connect(server.address) as client:
        task = await client.submit(TaskSpec("true"))
        assert lost
        assert [t.task_id async for t in client.tasks()] == [task.task_id]


async def test_waiting_too_long_says_how_many_are_left(tmp_path: Any, connect: Any) -> None:
    async with serving(config(tmp_path)) as (server, _), connect(server.address) as client:
        await client.submit(TaskSpec("true", task_id="t"))
        with pytest.raises(CallTimeoutError, match="1 of 1 tasks"):
            await client.wait(["t"], timeout_s=0.2)
        assert await client.wait([]) == []


async def test_a_call_that_takes_too_long_is_a_timeout(tmp_path: Any, connect: Any) -> None:
    async with serving(config(tmp_path)) as (server, _), connect(server.address, timeout_s=0.3) as client:
        commit, go = server.store.commit, asyncio.Event()

        async def slow(writes: Any) -> None:
            await go.wait()
            await commit(writes)

        server.store.commit = slow  # type: ignore[method-assign]
        with pytest.raises(CallTimeoutError):
            await client.submit(TaskSpec("true"))
        go.set()


async def test_explain_is_typed(tmp_path: Any, connect: Any) -> None:
    async with (
        serving(config(tmp_path)) as (server, _),
        SessionWorker(server.address) as worker,
        connect(server.address) as client,
    ):
        await client.submit(TaskSpec("true", task_id="t", cpu=1))
        await worker.next_assignment()
        explanation = await client.explain("t")
        assert explanation.task.task_id == "t"
        assert explanation.placement.worker_id == "w1"
        (row,) = explanation.rows
        assert row.feasible
        assert row.worker_id == "w1"


async def test_explanations_and_plans_have_the_same_records(tmp_path: Any, connect: Any) -> None:
    async with (
        serving(config(tmp_path)) as (server, _),
        SessionWorker(server.address) as worker,
        connect(server.address) as client,
    ):
        plan = await client.plan(TaskSpec(cpu=1))
        assert (plan.worker_id, plan.verdict, plan.waiting) == ("w1", "meets", None)
        assert (plan.task.task_type, plan.task.command) == ("cpu-light", "")
        await client.submit(TaskSpec("true", task_id="t", cpu=1))
        await worker.next_assignment()
        decision = (await client.explain("t")).decision
        assert [c.worker_id for c in decision.candidates] == ["w1"]
        assert (decision.runner_up, decision.margin, decision.fitting) == ("", None, 1)
        assert plan.decision.candidates == decision.candidates
        await client.submit(TaskSpec("true", task_id="waits", cpu=100))
        waiting = (await client.explain("waits")).waiting
        assert (waiting.ahead, waiting.lacking, waiting.lacks[0].cpu) == (0, {"cpu": 1}, 93.0)
        behind = await client.plan(TaskSpec(cpu=100))
        assert behind.decision is None
        assert behind.waiting.ahead_ids == ("waits",)


def test_the_library_does_not_load_the_client() -> None:
    code = "import rtscore, sys; print([m for m in sys.modules if m.split('.')[0] in ('grpc', 'google')])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


class _Away(grpc.RpcError):
    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.UNAVAILABLE

    def details(self) -> str:
        return "away"

    def trailing_metadata(self) -> tuple[tuple[str, bytes], ...]:
        return ()


class _AwayFor(_Away):
    """With the hint of a master whose store takes no writes."""

    def trailing_metadata(self) -> tuple[tuple[str, bytes], ...]:
        return _details(StoreUnavailableError("locked"), self.code())


def test_pauses_grow_have_jitter_and_end() -> None:
    attempts = Attempts(timeout_s=None, retry_for_s=60.0)
    pauses = [attempts.after(_Away()) for _ in range(40)]
    assert all(pause <= 1.0 for pause in pauses)
    assert pauses[0] <= 0.05
    assert max(pauses[10:]) > 0.05
    assert len(set(pauses)) > 30
    with pytest.raises(MasterUnreachableError, match="away"):
        Attempts(timeout_s=None, retry_for_s=0.0).after(_Away())
    with pytest.raises(MasterUnreachableError):
        Attempts(timeout_s=0.0, retry_for_s=60.0).after(_Away())


def test_a_pause_is_at_least_as_long_as_the_master_asks() -> None:
    attempts = Attempts(timeout_s=None, retry_for_s=60.0)
    pauses = [attempts.after(_AwayFor()) for _ in range(40)]
    assert all(1.0 <= pause <= 2.0 for pause in pauses)
    assert len(set(pauses)) > 30
    with pytest.raises(MasterUnreachableError) as told:
        Attempts(timeout_s=None, retry_for_s=0.0).after(_AwayFor())
    assert told.value.retry_after_s == 1.0


@pytest.mark.parametrize("last", [_Away, _AwayFor])
def test_a_standbys_refusal_does_not_hide_what_the_master_in_office_said(last: type[_Away]) -> None:
    attempts = Attempts(timeout_s=5.0, retry_for_s=5.0)
    attempts.after(_AwayFor())
    attempts._give_up = 0.0
    with pytest.raises(MasterUnreachableError) as told:
        attempts.after(last())
    assert told.value.retry_after_s == 1.0
    attempts.answered()
    attempts._give_up = 0.0
    with pytest.raises(MasterUnreachableError, match="away") as told:
        attempts.after(_Away())
    assert told.value.retry_after_s == 0.0


@pytest.fixture
def free_address() -> str:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"
