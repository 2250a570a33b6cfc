"""What waits to be sent."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from rtscore.rpc import cluster_pb2
from worker.executors.base import AttemptKey
from worker.log_reads import LogReads
from worker.outgoing import Outgoing


def result(task_id: str, size: int = 0) -> cluster_pb2.TaskResult:
    return cluster_pb2.TaskResult(task_id=task_id, attempt=1, logs="x" * size)


def test_what_is_ready_together_goes_in_one_message():
    outgoing = Outgoing(LogReads())
    outgoing.started(AttemptKey("a", 1), 5.0)
    outgoing.finished(result("a"))
    outgoing.refused(AttemptKey("b", 2), "full")
    outgoing.heartbeat(cluster_pb2.Heartbeat(worker_id="w"))
    (update,) = outgoing.take()
    assert update.started[0].attempt.task_id == "a"
    assert update.started[0].started_at == 5.0
    assert update.finished[0].task_id == "a"
    assert update.refused[0].reason == "full"
    assert update.heartbeat.worker_id == "w"
    assert not update.leaving


def test_newer_heartbeat_replaces_one_that_waits():
    outgoing = Outgoing(LogReads())
    outgoing.heartbeat(cluster_pb2.Heartbeat(cpu_usage=0.1))
    outgoing.heartbeat(cluster_pb2.Heartbeat(cpu_usage=0.2))
    (update,) = outgoing.take()
    assert update.heartbeat.cpu_usage == 0.2


def test_goodbye_comes_last_and_survives_a_new_session():
    outgoing = Outgoing(LogReads())
    outgoing.leave()
    outgoing.clear()
    for n in range(5):
        outgoing.finished(result(str(n), 500_000))
    updates = list(outgoing.take())
    assert [update.leaving for update in updates] == [False] * (len(updates) - 1) + [True]
    assert len(updates) > 1


@settings(deadline=None)
@given(st.lists(st.integers(0, 1_200_000), max_size=12))
def test_no_result_is_lost_and_no_message_is_beyond_what_grpc_accepts(sizes):
    outgoing = Outgoing(LogReads())
    for n, size in enumerate(sizes):
        outgoing.started(AttemptKey(str(n), 1), 1.0)
        outgoing.finished(result(str(n), size))
    updates = list(outgoing.take())
    assert [one.task_id for update in updates for one in update.finished] == [
        str(n) for n in range(len(sizes))
    ]
    assert all(update.ByteSize() < 4 * 1024 * 1024 for update in updates)
    assert len(updates[0].started) == len(sizes)


def test_that_the_worker_stops_is_said_in_every_message_and_survives_a_new_session():
    outgoing = Outgoing(LogReads())
    assert not next(outgoing.take()).draining
    outgoing.drain()
    outgoing.clear()
    assert [next(outgoing.take()).draining for _ in range(2)] == [True, True]


async def test_wait_returns_for_what_was_added_and_only_then():
    outgoing = Outgoing(LogReads())
    waiting = asyncio.create_task(outgoing.wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    outgoing.finished(result("a"))
    await asyncio.wait_for(waiting, 60)
    list(outgoing.take())
    waiting = asyncio.create_task(outgoing.wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()
