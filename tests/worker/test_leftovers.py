"""What an earlier agent left running, and what only looks like it."""

from __future__ import annotations

import os
import signal
import subprocess

import msgspec
import pytest
from worker_peer import alive, pid_in, until

from worker.executors.leftovers import Leftovers
from worker.executors.proc import boot_id, read_stat


@pytest.fixture
def leftovers(tmp_path):
    return Leftovers(tmp_path / "running", tmp_path / "tasks")


@pytest.fixture
def spawn():
    """Starts sleeping processes in groups of their own."""
    started = []

    def start(environment=None, command="sleep 300"):
        started.append(subprocess.Popen(["/bin/sh", "-c", command], env=environment, start_new_session=True))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


async def test_journalled_group_is_killed_whole_even_with_an_empty_environment(leftovers, spawn, tmp_path):
    process = spawn({}, f"sleep 300 & echo $! > {tmp_path}/child; wait")
    await until(lambda: pid_in(tmp_path / "child"))
    leftovers.started("t-1", process.pid)
    assert leftovers.clean() == 2
    assert process.wait(5) == -signal.SIGKILL
    assert not alive(pid_in(tmp_path / "child"))


def test_marked_process_is_killed_without_a_journal(leftovers, spawn, tmp_path):
    process = spawn(os.environ | {"RTS_TASK_DIR": str(tmp_path / "tasks" / "t-1")})
    assert leftovers.clean() >= 1
    assert process.wait(5) == -signal.SIGKILL


@pytest.mark.parametrize("change", [{"start_ticks": 1}, {"boot": "another"}])
def test_process_that_got_the_number_of_an_old_one_is_spared(leftovers, spawn, tmp_path, change):
    process = spawn()
    entry = {
        "pid": process.pid,
        "start_ticks": read_stat(process.pid).start_ticks,
        "boot": boot_id(),
    } | change
    (tmp_path / "running" / "t-1").write_bytes(msgspec.json.encode(entry))
    assert leftovers.clean() == 0
    assert alive(process.pid)
    assert not list((tmp_path / "running").iterdir())


def test_command_of_another_agent_is_spared(leftovers, spawn, tmp_path):
    process = spawn(os.environ | {"RTS_TASK_DIR": str(tmp_path / "tasks-of-another" / "t-1")})
    assert leftovers.clean() == 0
    assert alive(process.pid)


def test_half_written_journal_file_is_no_obstacle(leftovers, tmp_path):
    (tmp_path / "running" / "t-1").write_bytes(b'{"pid": 12')
    assert leftovers.clean() == 0
    assert not list((tmp_path / "running").iterdir())


def test_ended_command_is_not_in_the_journal(leftovers, spawn, tmp_path):
    process = spawn()
    leftovers.started("t-1", process.pid)
    leftovers.ended("t-1")
    assert leftovers.clean() == 0
    assert alive(process.pid)
