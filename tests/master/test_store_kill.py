"""Killing a writing process at random moments: what was acknowledged is there, and nothing is there by half.

`STORE_KILL_ROUNDS=200 pytest tests/master/test_store_kill.py` kills that often.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from store_writer import TASKS_PER_BATCH

from master.records import Snapshot
from master.store.base import TaskQuery
from master.store.sqlite import SqliteStore

ROUNDS = int(os.environ.get("STORE_KILL_ROUNDS", "10"))
SEED = int(os.environ.get("STORE_KILL_SEED", "20240607"))
ROUNDS_PER_FILE = 10
HERE = Path(__file__).parent


def write_until_killed(path: Path, name: str, dice: random.Random) -> list[str]:
    """Let a process write for a moment, kill it, and say which batches it had acknowledged.

    Every second time the processes that it started die with it, as in a crash of the machine; else they see
    their master vanish.
    """
    process = subprocess.Popen(
        [sys.executable, str(HERE / "store_writer.py"), str(path), name],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parents[1]), str(HERE)])},
        start_new_session=True,
    )
    assert process.stdout is not None
    with process.stdout:
        lines = [process.stdout.readline() for _ in range(dice.randrange(1, 150))]
        time.sleep(dice.random() * 0.02)
        if dice.random() < 0.5:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        lines += process.stdout.readlines()
    assert process.wait() == -signal.SIGKILL
    return [line.decode().strip() for line in lines if line.endswith(b"\n")]


async def read_everything(path: Path) -> tuple[Snapshot, set[str]]:
    store = SqliteStore(path)
    await store.open()
    snapshot = await store.load()
    listed = {task.spec.task_id for task in await store.list_tasks(TaskQuery(limit=10**9))}
    for task_id in sorted(listed)[:: max(1, len(listed) // 50)]:
        assert await store.result(task_id) is not None
    await store.close()
    return snapshot, listed


@pytest.mark.slow
@pytest.mark.timeout(60 + 10 * ROUNDS)
def test_every_acknowledged_write_is_there_after_kill_9_and_none_by_half(tmp_path: Path) -> None:
    print(f"seed {SEED}, {ROUNDS} rounds")
    dice = random.Random(SEED)
    for number in range(ROUNDS):
        if number % ROUNDS_PER_FILE == 0:
            path = tmp_path / f"{number}.db"
            acknowledged: set[str] = set()
        acknowledged.update(write_until_killed(path, f"r{number}", dice))
        snapshot, listed = asyncio.run(read_everything(path))
        tasks = Counter(task_id.partition("/")[0] for task_id in listed)
        attempts = Counter(record.task_id.partition("/")[0] for record in snapshot.attempts)
        assert acknowledged <= tasks.keys(), "an acknowledged write is lost"
        assert set(tasks.values()) == {TASKS_PER_BATCH}, "a write is there by half"
        assert attempts == tasks
        assert snapshot.tau.keys() == tasks.keys()
        assert {task.spec.task_id for task in snapshot.tasks} == listed
        assert len(acknowledged) > number % ROUNDS_PER_FILE
