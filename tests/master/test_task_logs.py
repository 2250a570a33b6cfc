"""StreamTaskLogs over a real connection: once and followed, through everything that may come between."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from peers import SessionWorker, UnaryAgent, config, ref, refusal, serving, until

import master.log_relay
import master.task_logs
from master.cli.connect import connect
from master.cli.failure import CommandError
from master.log_feed import KEEP_BYTES
from rtscore.rpc import cluster_pb2, scheduler_pb2

Ref, Spec, Chunk = scheduler_pb2.TaskRef, scheduler_pb2.TaskSpec, cluster_pb2.LogChunk


class Reader:
    """A call of StreamTaskLogs and what has come of it."""

    def __init__(self, stub: Any, task_id: str = "t", **fields: Any) -> None:
        self.call = stub.StreamTaskLogs(cluster_pb2.TaskLogRequest(task_id=task_id, **fields))
        self.chunks: list[Chunk] = []
        self.reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for chunk in self.call:
            self.chunks.append(chunk)

    @property
    def text(self) -> str:
        return "".join(chunk.content for chunk in self.chunks)

    @property
    def length(self) -> int:
        return sum(len(chunk.content) for chunk in self.chunks)

    @property
    def missed(self) -> int:
        return sum(chunk.missed for chunk in self.chunks)

    @property
    def told(self) -> list[tuple[str, int]]:
        return [(chunk.status, chunk.attempt) for chunk in self.chunks if chunk.status]

    async def all(self) -> str:
        """Everything until the end, which is the end of the call as well."""
        await asyncio.wait_for(self.reading, 60)
        assert [chunk.is_complete for chunk in self.chunks] == [False] * (len(self.chunks) - 1) + [True]
        return self.text

    def hang_up(self) -> None:
        self.call.cancel()
        self.reading.cancel()


def following(stub: Any, task_id: str = "t", **fields: Any) -> Reader:
    return Reader(stub, task_id, follow=True, **fields)


@contextlib.asynccontextmanager
async def running(tmp_path: Any, **changes: Any) -> AsyncIterator[tuple[Any, Any, SessionWorker, Any]]:
    """A master, a stub, a worker, and the task `t` that runs on it."""
    async with serving(config(tmp_path, **changes)) as (server, stub):
        worker = await SessionWorker(server.address).connect()
        await stub.SubmitTask(Spec(task_id="t", command="true"))
        task = await worker.next_assignment()
        await worker.started(task)
        await until(lambda: state(server) == "running")
        try:
            yield server, stub, worker, task
        finally:
            await worker.close()


def state(server: Any, task_id: str = "t") -> str:
    return server.master.cluster.task(task_id).status.state.value


# ---- once ----


async def test_stored_output_of_a_finished_task_comes_in_chunks(tmp_path: Any) -> None:
    async with running(tmp_path) as (_, stub, worker, task):
        text = "a" + "ü" * 100_000
        await worker.finished(task, logs=text)
        await until(lambda: worker.recorded)
        for reader in (Reader(stub), following(stub)):
            assert await reader.all() == text
            assert len(reader.chunks) == 5
            assert reader.told == [("completed", 1)]
            assert reader.chunks[-1].offset == 200_001


async def test_what_a_result_does_not_have_is_told(tmp_path: Any) -> None:
    async with running(tmp_path) as (_, stub, worker, task):
        await worker.finished(task, logs="the end", logs_offset=1234)
        await until(lambda: worker.recorded)
        reader = Reader(stub)
        assert await reader.all() == "the end"
        assert (reader.missed, reader.chunks[-1].offset) == (1234, 1241)
        rest = following(stub, attempt=1, offset=1238)
        assert (await rest.all(), rest.missed) == ("end", 0)
        assert await following(stub, attempt=1, offset=1241).all() == ""


async def test_output_so_far_is_asked_of_the_worker_and_read_up_to_what_there_is(tmp_path: Any) -> None:
    async with running(tmp_path) as (_, stub, worker, _task):
        reader = Reader(stub)
        read = await worker.next_read()
        assert (read.attempt.task_id, read.attempt.attempt, read.offset, read.wait) == ("t", 1, 0, False)
        half, rest = "aü".encode()[:2], "aü".encode()[2:]
        await worker.printed(read, half, printed=3)
        read = await worker.next_read()
        assert read.offset == 2
        # It goes on printing; what was there when it was asked is the answer.
        await worker.printed(read, rest, printed=1000)
        assert await reader.all() == "aü"
        assert reader.told == [("running", 1)]


async def test_a_task_that_has_not_begun_has_printed_nothing(tmp_path: Any) -> None:
    async with serving(config(tmp_path)) as (server, stub):
        await stub.SubmitTask(Spec(task_id="t", command="true"))
        reader = Reader(stub)
        assert (await reader.all(), reader.told) == ("", [("queued", 0)])
        async with SessionWorker(server.address) as worker:
            await worker.next_assignment()
            reader = Reader(stub)
            assert (await reader.all(), reader.told) == ("", [("assigned", 0)])
            assert worker.log_reads == []


async def test_a_worker_that_does_not_send_output_is_named(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(master.task_logs, "TIMEOUT_S", 0.05)
    async with running(tmp_path) as (server, stub, _worker, _task):
        error = await refusal(Reader(stub).reading)
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert "w1" in error.details()
        await until(lambda: server.sessions.logs.readers == 0)
        assert server.sessions.logs._feeds == {}


async def test_a_person_is_told_of_the_worker_and_not_that_no_master_answers(tmp_path: Any) -> None:
    async with running(tmp_path) as (server, _, worker, _task):
        await worker.close()
        await until(lambda: not server.sessions.logs.is_connected("w1"))

        def read() -> None:
            with connect(server.address) as client:
                list(client.log_pieces("t"))

        with pytest.raises(CommandError, match="worker w1, which runs it, is not connected"):
            await asyncio.to_thread(read)


async def test_who_waits_for_output_is_told_when_the_connection_breaks(tmp_path: Any) -> None:
    async with running(tmp_path) as (_, stub, worker, _task):
        reader = Reader(stub)
        await worker.next_read()
        await worker.close()
        error = await refusal(reader.reading)
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert "w1" in error.details()


# ---- followed ----


async def test_a_follower_of_a_queued_task_waits_and_ends_with_its_state(tmp_path: Any) -> None:
    async with serving(config(tmp_path)) as (server, stub):
        await stub.SubmitTask(Spec(task_id="t", command="true"))
        reader = following(stub)
        await until(lambda: reader.told == [("queued", 0)])
        async with SessionWorker(server.address) as worker:
            task = await worker.next_assignment()
            await worker.started(task)
            read = await worker.next_read()
            assert read.wait
            await worker.printed(read, b"one\n")
            await until(lambda: reader.text == "one\n")
            read = await worker.next_read()
            await worker.printed(read, b"two\n", ended=True)
            await worker.finished(task, status="failed", exit_code=3, logs="one\ntwo\n")
            assert await reader.all() == "one\ntwo\n"
            assert reader.told[-2:] == [("running", 1), ("failed", 1)]


async def test_nothing_is_asked_of_a_worker_once_nobody_reads(tmp_path: Any) -> None:
    async with running(tmp_path) as (server, stub, worker, _task):
        assert worker.log_reads == []
        reader = following(stub)
        read = await worker.next_read()
        reader.hang_up()
        await until(lambda: server.sessions.logs._feeds == {})
        await worker.printed(read, b"for nobody")
        again = following(stub)
        read = await worker.next_read()
        assert read.offset == 0
        await worker.printed(read, b"for somebody")
        await until(lambda: again.text == "for somebody")
        again.hang_up()


async def test_many_readers_share_what_the_worker_sends_once_and_a_late_one_gets_what_is_kept(
    tmp_path: Any,
) -> None:
    async with running(tmp_path) as (server, stub, worker, task):
        readers = [following(stub) for _ in range(20)]
        await until(lambda: server.sessions.logs.readers == 20)
        await worker.printed(await worker.next_read(), b"early ")
        await until(lambda: all(reader.text == "early " for reader in readers))
        readers.append(following(stub))
        await until(lambda: readers[-1].text == "early ")
        await worker.printed(await worker.next_read(), b"late", ended=True)
        await worker.finished(task, logs="early late")
        assert [await reader.all() for reader in readers] == ["early late"] * 21
        assert worker.log_reads == []


async def test_a_follower_survives_the_reconnection_of_the_worker(tmp_path: Any) -> None:
    async with running(tmp_path) as (server, stub, worker, task):
        reader = following(stub)
        await worker.printed(await worker.next_read(), b"before ")
        await worker.next_read()
        await worker.close()
        await until(lambda: not server.sessions.logs.is_connected("w1"))
        async with await SessionWorker(server.address).connect(live=[("t", 1)]) as back:
            read = await back.next_read()
            assert read.offset == 7
            # So much was printed meanwhile and is no longer kept.
            await back.printed(read, b"after", offset=1007, ended=True)
            await back.finished(task, logs="after", logs_offset=1007)
            assert await reader.all() == "before after"
            assert (reader.missed, reader.told) == (1000, [("running", 1), ("completed", 1)])


async def test_a_follower_goes_on_with_the_next_attempt_from_its_beginning(tmp_path: Any) -> None:
    async with running(tmp_path) as (server, stub, worker, _task):
        reader = following(stub)
        await worker.printed(await worker.next_read(), b"first, half \xc3")
        await until(lambda: "half" in reader.text)
        await worker.send(leaving=True)
        await until(lambda: ("queued", 1) in reader.told)
        async with SessionWorker(server.address, "w2") as other:
            task = await other.next_assignment()
            await other.started(task)
            read = await other.next_read()
            assert (read.attempt.attempt, read.offset) == (2, 0)
            await other.printed(read, b"second", ended=True)
            await other.finished(task, logs="second")
            assert await reader.all() == "first, half \ufffdsecond"
            assert [c.attempt for c in reader.chunks if c.content] == [1, 1, 2]
            assert reader.told[-2:] == [("running", 2), ("completed", 2)]


async def test_what_the_worker_has_forgotten_comes_from_the_store_without_a_gap(tmp_path: Any) -> None:
    async with running(tmp_path) as (_, stub, worker, task):
        reader = following(stub)
        await worker.printed(await worker.next_read(), b"0123456789")
        read = await worker.next_read()
        await worker.finished(task, logs="456789abcdef", logs_offset=4)
        await until(lambda: worker.recorded)
        await worker.printed(read, b"", unknown=True, ended=True)
        assert (await reader.all(), reader.missed) == ("0123456789abcdef", 0)


async def test_the_last_words_of_a_cancelled_task_are_followed(tmp_path: Any) -> None:
    async with running(tmp_path) as (_, stub, worker, task):
        reader = following(stub)
        await worker.printed(await worker.next_read(), b"working\n")
        read = await worker.next_read()
        await stub.CancelTask(Ref(task_id="t"))
        await until(lambda: worker.cancels)
        await worker.printed(read, b"tidying up\n", ended=True)
        await worker.finished(task, status="failed", reason="cancelled")
        assert await reader.all() == "working\ntidying up\n"
        assert reader.told[-1] == ("cancelled", 1)


async def test_a_task_that_has_ended_does_not_hold_its_followers_for_a_worker_that_is_silent(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(master.task_logs, "TIMEOUT_S", 0.1)
    async with running(tmp_path) as (_, stub, worker, _task):
        silent = following(stub)
        await worker.next_read()
        await stub.CancelTask(Ref(task_id="t"))
        assert (await silent.all(), silent.told[-1]) == ("", ("cancelled", 1))


async def test_a_task_that_is_cancelled_while_it_waits_ends_its_followers(tmp_path: Any) -> None:
    async with serving(config(tmp_path)) as (_, stub):
        await stub.SubmitTask(Spec(task_id="t", command="true"))
        reader = following(stub)
        await until(lambda: reader.told)
        await stub.CancelTask(Ref(task_id="t"))
        assert await reader.all() == ""
        assert reader.told == [("queued", 0), ("cancelled", 0)]


async def test_a_reader_that_stands_still_costs_a_fixed_amount_and_is_told_what_it_missed(
    tmp_path: Any,
) -> None:
    async with running(tmp_path) as (server, stub, worker, task):
        still = aiter(stub.StreamTaskLogs(cluster_pb2.TaskLogRequest(task_id="t", follow=True)))
        assert (await anext(still)).status == "running"
        quick = following(stub)
        # The quick one alone sets the pace; what is on its way to the other one fills up and stays.
        size, total = 128 * 1024, 0
        for _ in range(120):
            read = await worker.next_read()
            await worker.printed(read, b"x" * size)
            total += size
            await until(lambda total=total: quick.length == total)
            (feed,) = server.sessions.logs._feeds["w1"].values()
            assert feed._kept <= KEEP_BYTES
        assert quick.missed == 0
        read = await worker.next_read()
        await worker.printed(read, b"", ended=True)
        await worker.finished(task)
        assert len(await quick.all()) == total
        chunks = [chunk async for chunk in still]
        got, missed = sum(len(chunk.content) for chunk in chunks), sum(chunk.missed for chunk in chunks)
        assert got + missed == total
        assert missed > total / 2
        assert chunks[-1].status == "completed"


async def test_when_every_reader_stands_still_nothing_more_is_asked_of_the_worker(tmp_path: Any) -> None:
    async with running(tmp_path) as (server, stub, worker, _task):
        still = stub.StreamTaskLogs(cluster_pb2.TaskLogRequest(task_id="t", follow=True))
        sent = 0

        async def print_on() -> None:
            nonlocal sent
            while True:
                await worker.printed(await worker.next_read(), b"x" * 128 * 1024)
                sent += 1

        printing = asyncio.create_task(print_on())
        (feed,) = await until(lambda: list(server.sessions.logs._feeds.get("w1", {}).values()))
        seen = -1
        while seen != sent:
            # Long against the milliseconds that an answer takes.
            seen = sent
            await asyncio.sleep(0.3)
        assert sent < 100, "what fits between two ends of a connection"
        assert not worker.log_reads
        assert feed._kept <= KEEP_BYTES
        printing.cancel()
        still.cancel()
        await until(lambda: server.sessions.logs._feeds == {})


async def test_a_reader_that_comes_back_goes_on_where_it_was(tmp_path: Any) -> None:
    async with running(tmp_path) as (_, stub, worker, _task):
        first = following(stub)
        await worker.printed(await worker.next_read(), b"one \xc3")
        await until(lambda: first.text == "one ")
        last = first.chunks[-1]
        assert (last.attempt, last.offset) == (1, 4)
        first.hang_up()
        again = following(stub, attempt=last.attempt, offset=last.offset)
        await worker.next_read()
        read = await worker.next_read()
        await worker.printed(read, b"one \xc3\xbc two")
        await until(lambda: again.text == "ü two")
        again.hang_up()


async def test_readers_beyond_the_limit_are_refused(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(master.log_relay, "MAX_READERS", 2)
    async with running(tmp_path) as (server, stub, _worker, _task):
        readers = [following(stub) for _ in range(2)]
        await until(lambda: server.sessions.logs.readers == 2)
        error = await refusal(following(stub).reading)
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "2 readers" in error.details()
        for reader in readers:
            reader.hang_up()
        await until(lambda: server.sessions.logs.readers == 0)


async def test_one_user_cannot_take_the_room_of_all_readers(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(master.log_relay, "MAX_READERS_OF_ONE_USER", 2)
    async with running(tmp_path) as (server, stub, _worker, _task):
        readers = [following(stub, user_id="ann") for _ in range(2)]
        await until(lambda: server.sessions.logs.readers == 2)
        error = await refusal(following(stub, user_id="ann").reading)
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "ann" in error.details()
        readers += [following(stub, user_id="bob"), following(stub)]
        await until(lambda: server.sessions.logs.readers == 4)
        readers.pop(0).hang_up()
        await until(lambda: server.sessions.logs.readers == 3)
        readers.append(following(stub, user_id="ann"))
        await until(lambda: server.sessions.logs.readers == 4)
        for reader in readers:
            reader.hang_up()


async def test_followers_are_told_when_the_master_stops(tmp_path: Any) -> None:
    async with running(tmp_path) as (server, stub, _worker, _task):
        reader = following(stub)
        await until(lambda: reader.told)
        await server.stop()
        assert (await refusal(reader.reading)).code() is grpc.StatusCode.UNAVAILABLE


async def test_an_unknown_task_has_no_output(tmp_path: Any) -> None:
    async with serving(config(tmp_path)) as (server, stub):
        for follow in (False, True):
            error = await refusal(Reader(stub, "no", follow=follow).reading)
            assert error.code() is grpc.StatusCode.NOT_FOUND
        assert server.sessions.logs.readers == 0


# ---- agents without a session ----


class Printing(UnaryAgent):
    """An agent whose task goes on printing until it is told to end."""

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self.more: asyncio.Queue[str] = asyncio.Queue()
        self.follows: list[bool] = []

    async def StreamTaskLogs(self, request: Any, context: Any) -> AsyncIterator[Chunk]:
        self.follows.append(request.follow)
        for content in self.logs:
            yield Chunk(task_id=request.task_id, content=content)
        while request.follow and (content := await self.more.get()):
            yield Chunk(task_id=request.task_id, content=content)
        yield Chunk(task_id=request.task_id, is_complete=True)


async def test_an_agent_without_a_session_is_followed_by_its_own_service(tmp_path: Any) -> None:
    async with serving(config(tmp_path)) as (server, stub), Printing(server.address) as agent:
        await agent.register()
        await stub.SubmitTask(Spec(task_id="t", command="true"))
        await until(lambda: state(server) == "running")
        reader = following(stub)
        await until(lambda: reader.text == "some output")
        agent.more.put_nowait(", and more")
        await until(lambda: reader.text.endswith("more"))
        resumed = following(stub, attempt=1, offset=5)
        await until(lambda: resumed.text == "output")
        resumed.hang_up()
        agent.more.put_nowait("")
        await agent.report("t", logs="some output, and more")
        assert await reader.all() == "some output, and more"
        assert agent.follows == [True, True]


async def test_a_follower_of_a_cancelled_task_is_not_held_by_an_agent_that_goes_on_sending(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(master.task_logs, "TIMEOUT_S", 0.1)
    async with serving(config(tmp_path)) as (server, stub), Printing(server.address) as agent:
        await agent.register()
        await stub.SubmitTask(Spec(task_id="t", command="true"))
        await until(lambda: state(server) == "running")
        reader = following(stub)
        await until(lambda: reader.text == "some output")
        await stub.CancelTask(Ref(task_id="t"))
        assert await reader.all() == "some output"


async def test_an_answer_of_an_attempt_that_nobody_reads_is_dropped(tmp_path: Any) -> None:
    async with running(tmp_path) as (_, stub, worker, _task):
        await worker.send(logs=[scheduler_pb2.LogOutput(attempt=ref("t", 1), read=5, content=b"x")])
        reader = Reader(stub)
        await worker.printed(await worker.next_read(), b"y")
        assert await reader.all() == "y"
