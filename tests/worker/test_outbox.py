"""Results on disk."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from rtscore.rpc import cluster_pb2
from worker.convert import result_key
from worker.executors.base import AttemptKey
from worker.outbox import Outbox


def result(task_id: str, attempt: int = 1, finished_at: float = 1.0) -> cluster_pb2.TaskResult:
    return cluster_pb2.TaskResult(task_id=task_id, attempt=attempt, finished_at=finished_at, logs="out")


def files(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


async def test_result_is_on_disk_when_put_returns_and_survives_a_restart(tmp_path):
    outbox = Outbox(tmp_path / "outbox")
    await outbox.put(result("b", finished_at=2.0))
    await outbox.put(result("a/../c", attempt=3, finished_at=1.0))
    again = Outbox(tmp_path / "outbox")
    assert list(again.pending.items()) == [
        (AttemptKey("a/../c", 3), result("a/../c", attempt=3, finished_at=1.0)),
        (AttemptKey("b", 1), result("b", finished_at=2.0)),
    ]


async def test_forgotten_result_is_gone_after_a_restart(tmp_path):
    outbox = Outbox(tmp_path / "outbox")
    await outbox.put(result("a"))
    await outbox.put(result("b"))
    outbox.forget([AttemptKey("a", 1), AttemptKey("never", 1)])
    await outbox.close()
    assert [key.task_id for key in Outbox(tmp_path / "outbox").pending] == ["b"]


async def test_empty_means_every_result_was_forgotten(tmp_path):
    outbox = Outbox(tmp_path / "outbox")
    await asyncio.wait_for(outbox.wait_empty(), 60)
    await outbox.put(result("a"))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(outbox.wait_empty(), 0.05)
    outbox.forget([AttemptKey("a", 1)])
    await asyncio.wait_for(outbox.wait_empty(), 60)
    await outbox.close()
    assert files(tmp_path / "outbox") == []


async def test_every_result_of_a_burst_is_kept(tmp_path):
    outbox = Outbox(tmp_path / "outbox")
    burst = [result(f"t{n}") for n in range(200)]
    await asyncio.gather(*(outbox.put(one) for one in burst))
    outbox.forget([result_key(one) for one in burst[::2]])
    await outbox.close()
    assert set(Outbox(tmp_path / "outbox").pending) == {result_key(one) for one in burst[1::2]}


async def test_file_that_a_crash_cut_off_is_removed(tmp_path):
    directory = tmp_path / "outbox"
    directory.mkdir()
    (directory / "a-1.tmp").write_bytes(b"half")
    (directory / "b-1.result").write_bytes(b"\xff\xff not a result")
    outbox = Outbox(directory)
    assert not outbox.pending
    assert files(directory) == []


async def test_result_that_the_disk_does_not_take_is_still_pending(tmp_path):
    outbox = Outbox(tmp_path / "outbox")
    shutil.rmtree(tmp_path / "outbox")
    await asyncio.wait_for(outbox.put(result("a")), 60)
    assert list(outbox.pending) == [AttemptKey("a", 1)]
    outbox.forget([AttemptKey("a", 1)])
    await outbox.close()
