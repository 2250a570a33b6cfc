"""What is answered to the master's reads of output, and when."""

from __future__ import annotations

import asyncio
import time

import pytest
from worker_peer import agent, config, ref, task, until

import worker.log_reads
from rtscore.rpc import scheduler_pb2
from worker.executors.base import AttemptKey
from worker.executors.output import OutputTail
from worker.log_reads import LogReads

KEY = AttemptKey("t", 1)


def read(offset=0, limit=1000, wait=True, number=1, key=KEY):
    return scheduler_pb2.LogRead(attempt=ref(*key), read=number, offset=offset, limit=limit, wait=wait)


def printing(limit=100):
    """Reads of one attempt that prints."""
    reads, tail = LogReads(), OutputTail(limit)
    reads.begin(KEY)
    reads.started(KEY, tail)
    return reads, tail


# ---- what is answered ----


async def test_a_read_that_waits_is_answered_once_something_is_printed():
    reads, tail = printing()
    ready = asyncio.Event()
    reads.on_ready = ready.set
    reads.ask(read())
    assert list(reads.answers()) == []
    tail.add(b"hello")
    await asyncio.wait_for(ready.wait(), 60)
    (output,) = reads.answers()
    assert (output.read, output.offset, output.content, output.printed) == (1, 0, b"hello", 5)
    assert not output.ended
    assert list(reads.answers()) == [], "one answer to each read"


async def test_nothing_is_sent_that_nobody_asked_for():
    reads, tail = printing()
    tail.add(b"hello")
    reads.ended(KEY)
    assert reads._timer is None, "nobody is to be woken for it"
    assert list(reads.answers()) == []


async def test_a_read_that_does_not_wait_is_answered_with_nothing():
    reads, _ = printing()
    reads.ask(read(wait=False))
    (output,) = reads.answers()
    assert (output.content, output.ended, output.unknown) == (b"", False, False)


async def test_an_answer_has_at_most_what_was_asked_and_says_how_much_there_is():
    reads, tail = printing()
    tail.add(b"0123456789")
    reads.ask(read(offset=2, limit=3))
    (output,) = reads.answers()
    assert (output.offset, output.content, output.printed) == (2, b"234", 10)


async def test_what_is_no_longer_kept_is_skipped_and_the_offset_says_so():
    reads, tail = printing(limit=10)
    for _ in range(1000):
        tail.add(b"0123456789")
    reads.ask(read(offset=5))
    (output,) = reads.answers()
    assert output.offset == 10_000 - len(output.content)
    assert 10 <= len(output.content) <= 20


async def test_the_end_is_told_with_the_last_bytes_and_not_before():
    reads, tail = printing()
    tail.add(b"0123456789")
    reads.ended(KEY)
    reads.ask(read(limit=4))
    assert [output.ended for output in reads.answers()] == [False]
    reads.ask(read(offset=4))
    assert [(output.content, output.ended) for output in reads.answers()] == [(b"456789", True)]
    reads.ask(read(offset=10))
    assert [(output.content, output.ended) for output in reads.answers()] == [(b"", True)]


async def test_an_attempt_that_has_not_started_is_waited_for_and_a_forgotten_one_is_unknown():
    reads = LogReads()
    reads.begin(KEY)
    reads.ask(read())
    assert list(reads.answers()) == []
    tail = OutputTail(100)
    tail.add(b"first words")
    reads.started(KEY, tail)
    assert [output.content for output in reads.answers()] == [b"first words"]
    reads.ask(read(offset=11))
    reads.forget(KEY)
    assert [(output.unknown, output.ended) for output in reads.answers()] == [(True, True)]


async def test_a_newer_read_takes_the_place_of_one_that_waits_and_a_new_session_has_none():
    reads, tail = printing()
    reads.ask(read(number=1))
    reads.ask(read(number=2))
    tail.add(b"x")
    assert [output.read for output in reads.answers()] == [2]
    reads.ask(read(number=3, offset=1))
    reads.clear()
    tail.add(b"y")
    assert list(reads.answers()) == []


async def test_one_message_holds_so_much_output_and_the_rest_goes_with_the_next(monkeypatch):
    monkeypatch.setattr(worker.log_reads, "MESSAGE_BYTES", 50)
    reads = LogReads()
    ready = asyncio.Event()
    reads.on_ready = ready.set
    for n in range(5):
        tail = OutputTail(100)
        tail.add(b"x" * 40)
        reads.begin(AttemptKey(str(n), 1))
        reads.started(AttemptKey(str(n), 1), tail)
        reads.ask(read(key=AttemptKey(str(n), 1)))
    told = []
    while len(told) < 5:
        await asyncio.wait_for(ready.wait(), 60)
        ready.clear()
        message = [output.attempt.task_id for output in reads.answers()]
        assert len(message) <= 2
        told += message
    assert told == ["0", "1", "2", "3", "4"]


async def test_reads_of_a_command_that_prints_all_the_time_are_answered_in_batches(monkeypatch):
    monkeypatch.setattr(worker.log_reads, "PACE_S", 0.2)
    reads, tail = printing()
    woken = []
    reads.on_ready = lambda: woken.append(time.monotonic())
    for n in range(1, 4):
        reads.ask(read(number=n, offset=n - 1))
        tail.add(b"x")
        await until(lambda n=n: len(woken) == n)
        assert len(list(reads.answers())) == 1
    assert woken[2] - woken[0] >= 0.35


# ---- through an agent ----


@pytest.fixture
async def running(master, tmp_path):
    async with agent(config(master, tmp_path / "agent", log_limit_bytes=1000)) as started:
        await until(lambda: master.hellos)
        yield started


async def test_output_comes_while_the_command_runs(master, running, tmp_path):
    master.assign(task("t", f"echo first; while [ ! -e {tmp_path}/go ]; do sleep 0.01; done; echo second"))
    await until(lambda: master.ran("t"))
    first = await master.read_log("t", wait=True)
    assert (first.content, first.ended) == (b"first\n", False)
    (tmp_path / "go").touch()
    second = await master.read_log("t", offset=6, wait=True)
    assert second.content == b"second\n"


async def test_a_result_that_is_not_recorded_can_still_be_read_and_one_that_is_cannot(master, running):
    master.records = False
    master.assign(task("t", "echo kept"))
    await master.result("t")
    output = await master.read_log("t")
    assert (output.content, output.ended, output.unknown) == (b"kept\n", True, False)
    master.send(scheduler_pb2.MasterUpdate(recorded=[ref("t")]))
    assert (await master.read_log("t")).unknown
    assert (await master.read_log("never")).unknown


async def test_a_result_says_how_much_of_the_output_it_does_not_have(master, running):
    master.assign(task("t", "seq 1 1000"))
    result = await master.result("t")
    total = sum(len(str(n)) + 1 for n in range(1, 1001))
    assert len(result.logs) == 1000
    assert result.logs_offset == total - 1000


async def test_a_command_that_never_stops_printing_is_not_held_up_and_costs_a_fixed_amount(
    master, running, tmp_path
):
    master.assign(task("t", f"head -c 30000000 /dev/zero | tr '\\0' x; touch {tmp_path}/through; sleep 300"))
    await until(lambda: master.ran("t"))
    first = await master.read_log("t", wait=True, limit=100)
    # Nobody asks any more.
    await until((tmp_path / "through").exists)
    rest = await master.read_log("t", offset=100)
    assert rest.printed == 30_000_000
    assert rest.offset + len(rest.content) <= 30_000_000
    assert rest.offset >= 30_000_000 - worker.log_reads.ROOM_BYTES
    assert len(first.content) == 100
    assert len(master.logs) == 2
