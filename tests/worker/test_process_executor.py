"""The process executor with real commands."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from worker_peer import alive, pid_in, until

from worker.executors.base import Assignment, AttemptKey
from worker.executors.output import OutputTail
from worker.executors.process import ProcessExecutor


@pytest.fixture
def executor(tmp_path: Path) -> ProcessExecutor:
    return ProcessExecutor("w1", tmp_path / "agent", log_limit_bytes=1000, kill_grace_s=0.5)


def assignment(command: str, task_id: str = "t", **fields) -> Assignment:
    return Assignment(key=AttemptKey(task_id, 1), command=command, **fields)


async def outcome(executor: ProcessExecutor, command: str, **fields):
    return await (await executor.start(assignment(command, **fields))).wait()


async def test_output_is_what_both_streams_printed_in_order(executor):
    ended = await outcome(executor, "echo one; echo two >&2; echo three")
    assert (ended.success, ended.exit_code, ended.reason) == (True, 0, "")
    assert ended.output == b"one\ntwo\nthree\n"
    assert 0 < ended.runtime_s < 10
    assert ended.started_at <= ended.finished_at


@pytest.mark.parametrize(
    ("command", "exit_code", "reason"),
    [
        ("exit 3", 3, "exit code 3"),
        ("kill -9 $$", 137, "killed by SIGKILL"),
        ("sh -c 'kill -15 $$'; exit $?", 143, "exit code 143 (SIGTERM)"),
        ("exit 255", 255, "exit code 255"),
        ("no-such-command-at-all", 127, "exit code 127"),
    ],
)
async def test_failure_names_the_exit_code_or_the_signal(executor, command, exit_code, reason):
    ended = await outcome(executor, command)
    assert (ended.success, ended.exit_code, ended.reason) == (False, exit_code, reason)


async def test_command_sees_its_task_its_threads_and_an_empty_input(executor):
    ended = await outcome(
        executor,
        'echo "$RTS_TASK_ID $RTS_ATTEMPT $RTS_WORKER_ID $OMP_NUM_THREADS"; cat',
        task_id="a/b",
        cpu=2.5,
    )
    assert ended.output == b"a/b 1 w1 3\n"


async def test_working_directory_is_the_attempts_own_and_goes_with_it(executor, tmp_path):
    ended = await outcome(executor, "pwd; mkdir -p x/y; echo z > x/y/z")
    directory = Path(ended.output.decode().strip())
    assert directory.is_relative_to(tmp_path / "agent" / "tasks")
    await until(lambda: not directory.exists())


async def test_task_id_cannot_leave_the_directory_of_tasks(executor, tmp_path):
    ended = await outcome(executor, "pwd", task_id="../../../escape")
    assert Path(ended.output.decode().strip()).parent == tmp_path / "agent" / "tasks"


async def test_background_process_ends_with_its_command(executor, tmp_path):
    ended = await outcome(executor, f"sleep 300 & echo $! > {tmp_path}/pid")
    assert ended.success
    await until(lambda: not alive(pid_in(tmp_path / "pid")))


async def test_time_limit_kills_grandchildren_that_ignore_sigterm(executor, tmp_path):
    command = f"sh -c 'trap \"\" TERM; echo $$ > {tmp_path}/pid; while :; do sleep 0.05; done' & wait"
    ended = await outcome(executor, command, time_limit_s=0.3)
    assert ended.reason == "ran longer than its time limit of 0.3 s"
    assert not ended.success
    assert pid_in(tmp_path / "pid")
    await until(lambda: not alive(pid_in(tmp_path / "pid")))


async def test_child_has_its_grace_time_when_the_shell_ends_first(executor, tmp_path):
    script = (
        f"trap 'sleep 0.2; echo saved > {tmp_path}/saved; exit' TERM; echo up; while :; do sleep 0.02; done"
    )
    execution = await executor.start(assignment(f'sh -c "{script}" & wait'))
    await until(lambda: b"up" in execution.tail.last()[1])
    execution.stop("cancelled")
    ended = await execution.wait()
    assert ended.reason == "cancelled"
    assert (tmp_path / "saved").read_text() == "saved\n"


async def test_stopped_process_acts_on_sigterm_at_its_time_limit(executor):
    ended = await outcome(executor, "kill -STOP $$; sleep 300", time_limit_s=0.2)
    assert (ended.reason, ended.exit_code) == ("ran longer than its time limit of 0.2 s", 143)


async def test_first_reason_to_stop_is_reported(executor):
    execution = await executor.start(assignment("sleep 300"))
    execution.stop("cancelled")
    execution.stop("the worker stops")
    execution.kill()
    assert (await execution.wait()).reason == "cancelled"


async def test_output_keeps_the_last_bytes_and_says_how_many_are_missing(executor):
    ended = await outcome(executor, "seq 1 100000")
    assert ended.output.endswith(b"\n99999\n100000\n")
    assert len(ended.output) == 1000
    total = sum(len(str(n)) + 1 for n in range(1, 100001))
    assert ended.output_offset == total - 1000


async def test_command_that_closes_its_output_runs_to_its_end(executor, tmp_path):
    ended = await outcome(executor, f"exec >&- 2>&-; sleep 0.1; echo done > {tmp_path}/done")
    assert ended.success
    assert (tmp_path / "done").exists()


async def test_escaped_process_is_swept_only_after_its_attempt(executor, tmp_path):
    def escaping(file: Path) -> str:
        return f"setsid sh -c 'echo $$ > {file}; exec sleep 300' & while [ ! -s {file} ]; do sleep 0.01; done"

    kept, escaped = tmp_path / "kept", tmp_path / "escaped"
    execution = await executor.start(assignment(escaping(kept) + "; sleep 300"))
    await outcome(executor, escaping(escaped), task_id="other")
    await until(lambda: pid_in(kept))
    assert alive(pid_in(escaped))
    # What was killed with its group a moment ago may not be gone yet, and counts.
    assert await executor.sweep() >= 1
    await until(lambda: not alive(pid_in(escaped)))
    assert alive(pid_in(kept))
    execution.kill()
    await execution.wait()
    # What was killed with its group a moment ago may not be gone yet, and counts.
    assert await executor.sweep() >= 1
    await until(lambda: not alive(pid_in(kept)))


@pytest.mark.parametrize("command", ["echo \0", "x" * 200_000])
async def test_command_that_cannot_be_started_leaves_nothing(executor, tmp_path, command):
    with pytest.raises((OSError, ValueError)):
        await executor.start(assignment(command))
    assert not list((tmp_path / "agent" / "tasks").iterdir())
    assert not list((tmp_path / "agent" / "running").iterdir())


async def test_attempt_leaves_no_descriptor(executor):
    await outcome(executor, "echo")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        await outcome(executor, "echo; exit 1")
    # Not "equal": a server of an earlier test may still be closing its own.
    assert len(os.listdir("/proc/self/fd")) < before + 10


async def test_usage_counts_the_whole_group_running_and_ended(executor, tmp_path):
    work = "import time\nwhile time.process_time() < 0.3: pass\nprint(1, flush=True)"
    burn = f"python3 -c 'x = bytearray(64 << 20)\n{work}"
    before = executor.usage()
    execution = await executor.start(assignment(f"{burn}\ntime.sleep(300)' | cat"))
    await until(lambda: execution.tail.end)
    running = executor.usage()
    assert running.cpu_seconds - before.cpu_seconds >= 0.25
    assert running.memory_gib >= 0.06
    execution.kill()
    await execution.wait()
    ended = executor.usage()
    assert ended.memory_gib == 0
    await outcome(executor, f"{burn}'")
    assert executor.usage().cpu_seconds - ended.cpu_seconds >= 0.25


@settings(deadline=None)
@given(st.lists(st.binary(max_size=40)), st.integers(1, 50), st.integers(0, 200), st.integers(0, 300))
def test_tail_is_the_end_of_what_was_added_and_knows_where_it_stands(pieces, limit, room, offset):
    tail = OutputTail(limit)
    for n, piece in enumerate(pieces):
        tail.add(piece)
        if n == 3:
            tail.widen(room)
    everything = b"".join(pieces)
    assert tail.last() == (max(0, len(everything) - limit), everything[-limit:])
    begin, content = tail.read(offset, 1000)
    assert content == everything[begin:]
    kept = max(limit, room // 2 if len(pieces) > 3 else 0)
    assert begin <= max(offset, len(everything) - limit)
    assert len(everything) - tail.read(0, 1000)[0] <= max(2 * kept, room)
    assert tail.read(begin, 7) == (begin, content[:7])


@settings(deadline=None)
@given(st.text(max_size=256), st.integers(0, 2**32 - 1))
@example("ü" * 256, 1)
@example("..", 0)
def test_file_name_is_one_component_of_a_path(task_id, attempt):
    name = AttemptKey(task_id, attempt).file_name
    assert os.path.basename(name) == name
    assert name not in ("", ".", "..")
    assert len(os.fsencode(name)) <= 240


@settings(deadline=None)
@given(st.lists(st.tuples(st.text(max_size=4), st.integers(0, 12)), unique=True))
def test_file_names_of_different_attempts_differ(keys):
    assert len({AttemptKey(*key).file_name for key in keys}) == len(keys)
