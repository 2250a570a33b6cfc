"""The container executor with real containers."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import threading
import time
from pathlib import Path

import pytest
from container_engine import IMAGE, OWN_COMMAND, WITHOUT_SHELL, Registry, TestEngine
from worker_peer import until

from worker.executors import container, container_execution
from worker.executors.base import Assignment, AttemptKey
from worker.executors.container import ContainerExecutor
from worker.executors.engine import Connection, Engine, EngineError

# What the kernel says of a limit, on either version of its interface.
MEMORY = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes || cat /sys/fs/cgroup/memory.max"
CPU = "(cd /sys/fs/cgroup/cpu && cat cpu.cfs_quota_us cpu.cfs_period_us) || cat /sys/fs/cgroup/cpu.max"
PIDS = "cat /sys/fs/cgroup/pids/pids.max || cat /sys/fs/cgroup/pids.max"


@pytest.fixture
async def executor(engine: TestEngine, tmp_path: Path):
    made = make(engine, tmp_path / "agent")
    yield made
    engine.remove_all()


@functools.cache
def connected(host: str) -> Engine:
    """Made once: podman takes its time to say what it is."""
    return Engine(host)


def make(engine: TestEngine, directory: Path, worker_id: str = "w1", **settings) -> ContainerExecutor:
    values = {"log_limit_bytes": 1000, "kill_grace_s": 1.0, "network": "none", "pull": False} | settings
    return ContainerExecutor(connected(engine.host), worker_id, directory, **values)


def assignment(command: str, task_id: str = "t", image: str = IMAGE, **fields) -> Assignment:
    return Assignment(key=AttemptKey(task_id, 1), command=command, docker_image=image, **fields)


async def outcome(executor: ContainerExecutor, command: str, **fields):
    return await (await executor.start(assignment(command, **fields))).wait()


async def test_container_output_is_what_both_streams_printed_and_the_container_goes(executor, engine):
    ended = await outcome(executor, "echo one; echo two >&2; echo three")
    assert (ended.success, ended.exit_code, ended.reason) == (True, 0, "")
    assert sorted(ended.output.splitlines()) == [b"one", b"three", b"two"]
    assert 0 < ended.runtime_s < 60
    assert ended.started_at <= ended.finished_at
    assert not engine.containers()


@pytest.mark.parametrize(
    ("command", "exit_code", "reason"),
    [
        ("kill -9 $$", 137, "exit code 137 (SIGKILL)"),
        ("no-such-command-at-all", 127, "exit code 127"),
    ],
)
async def test_failed_container_names_its_exit_code(executor, command, exit_code, reason):
    ended = await outcome(executor, command)
    assert (ended.success, ended.exit_code, ended.reason) == (False, exit_code, reason)


async def test_container_sees_its_task_and_an_empty_input(executor):
    command = 'echo "$RTS_TASK_ID $RTS_ATTEMPT $RTS_WORKER_ID $OMP_NUM_THREADS"; cat'
    ended = await outcome(executor, command, task_id="a/b", cpu=1.5)
    assert ended.output == b"a/b 1 w1 2\n"


async def test_container_has_the_limits_of_its_request_no_network_and_no_new_privileges(executor):
    commands = [MEMORY, PIDS, CPU, "ls /sys/class/net", "grep NoNewPrivs /proc/self/status"]
    ended = await outcome(executor, f"({'; '.join(commands)}) 2>/dev/null", cpu=0.5, memory=0.0625)
    limit, pids, quota, period, *others = ended.output.split()
    assert int(limit) == 64 * 2**20
    assert int(pids) == 4096
    assert int(quota) / int(period) == 0.5
    assert others == [b"lo", b"NoNewPrivs:", b"1"]


async def test_request_beyond_what_the_engine_has_is_all_that_it_has(executor, engine):
    """A worker may offer more cores than its machine has; engines refuse such a limit."""
    ended = await outcome(executor, f"({CPU}) 2>/dev/null", cpu=1000.0)
    quota, period = ended.output.split()
    assert int(quota) / int(period) == connected(engine.host).cpus


async def test_network_is_there_where_the_settings_name_one(engine, tmp_path):
    executor = make(engine, tmp_path, network="host")
    ended = await outcome(executor, "ls /sys/class/net")
    assert set(ended.output.decode().split()) == set(os.listdir("/sys/class/net"))


@pytest.mark.parametrize("after", ["", "; exit 5"], ids=["command", "child"])
async def test_running_out_of_memory_is_said(executor, after):
    ended = await outcome(executor, f"dd if=/dev/zero of=/dev/null bs=200M count=1{after}", memory=0.0625)
    assert not ended.success
    expected = "exit code 5" if after else "exit code 137 (SIGKILL)"
    assert ended.reason == f"out of memory: its limit is 0.0625 GiB; {expected}"


async def test_killed_container_that_had_memory_left_did_not_run_out_of_it(executor):
    ended = await outcome(executor, "kill -9 $$", memory=0.0625)
    assert ended.reason == "exit code 137 (SIGKILL)"


async def test_every_process_of_a_stopped_container_has_its_grace_time(executor):
    executor._kill_grace_s = 30.0
    script = "trap 'sleep 0.3; echo saved; exit' TERM; echo up; while :; do sleep 0.02; done"
    execution = await executor.start(assignment(f'sh -c "{script}" & wait'))
    await until(lambda: b"up" in execution.tail.last()[1])
    execution.stop("cancelled")
    execution.stop("again")
    ended = await execution.wait()
    assert (ended.success, ended.reason) == (False, "cancelled")
    assert ended.output.startswith(b"up\n")
    assert ended.output.endswith(b"saved\n")


async def test_container_that_ignores_sigterm_is_killed_after_the_grace_time(executor):
    execution = await executor.start(assignment("trap '' TERM; echo up; while :; do sleep 0.05; done"))
    await until(lambda: execution.tail.last()[1])
    execution.stop("cancelled")
    ended = await execution.wait()
    assert (ended.exit_code, ended.reason) == (137, "cancelled")
    assert ended.runtime_s > 1.0


async def test_container_beyond_its_time_limit_is_stopped(executor):
    executor._kill_grace_s = 30.0
    ended = await outcome(executor, "sleep 300", time_limit_s=0.5)
    assert (ended.success, ended.exit_code) == (False, 143)
    assert ended.reason == "ran longer than its time limit of 0.5 s"


async def test_kill_waits_for_nothing(executor):
    executor._kill_grace_s = 1000.0
    execution = await executor.start(assignment("trap '' TERM; echo up; while :; do sleep 0.05; done"))
    await until(lambda: execution.tail.last()[1])
    execution.kill()
    assert (await execution.wait()).reason == "killed by the worker"


async def test_empty_command_is_the_images_own(executor):
    execution = await executor.start(assignment("", image=OWN_COMMAND))
    await until(lambda: execution.tail.last()[1])
    assert execution.tail.last()[1] == b"own command\n"
    execution.stop("cancelled")
    assert (await execution.wait()).reason == "cancelled"


async def test_command_replaces_the_images_own(executor):
    assert (await outcome(executor, "echo mine", image=OWN_COMMAND)).output == b"mine\n"


async def test_container_output_keeps_the_last_bytes_and_says_how_many_are_missing(executor):
    ended = await outcome(executor, "seq 1 100000")
    assert ended.output.endswith(b"\n99999\n100000\n")
    assert len(ended.output) == 1000
    assert ended.output_offset == sum(len(str(n)) + 1 for n in range(1, 100001)) - 1000


async def test_container_that_closes_its_output_runs_to_its_end(executor):
    ended = await outcome(executor, "exec >&- 2>&-; sleep 0.3; exit 9")
    assert ended.exit_code == 9


async def test_first_words_are_not_lost(executor):
    for n in range(3):
        assert (await outcome(executor, f"echo {n}")).output == b"%d\n" % n


async def test_absent_image_is_refused_and_said(executor, engine):
    with pytest.raises(EngineError, match=r"the image localhost/none:1 is not here.*--container-pull"):
        await executor.start(assignment("true", image="localhost/none:1"))
    assert not engine.containers()


@pytest.mark.parametrize(
    ("command", "image", "said"),
    [
        ("echo \0", IMAGE, "null byte"),
        ("true", WITHOUT_SHELL, "/bin/sh"),
        ("", IMAGE, "command"),
        ("true", "NOT/AN/IMAGE!", "NOT/AN/IMAGE!"),
    ],
    ids=["null", "no-shell", "no-command", "bad-name"],
)
async def test_container_that_cannot_be_started_leaves_nothing(executor, engine, command, image, said):
    with pytest.raises((OSError, ValueError), match=said):
        await executor.start(assignment(command, image=image))
    assert not engine.containers()
    assert (await outcome(executor, "true")).success, "the same attempt can be started again"


async def test_image_is_pulled_where_that_is_allowed(engine, registry: Registry, tmp_path):
    executor = make(engine, tmp_path, pull=True)
    assert (await outcome(executor, "echo pulled", image=registry.image)).output == b"pulled\n"
    with pytest.raises(EngineError, match=f"cannot pull the image {registry.address}/other:1"):
        await executor.start(assignment("true", image=f"{registry.address}/other:1"))


async def test_start_that_is_cancelled_during_a_pull_leaves_nothing(engine, registry: Registry, tmp_path):
    executor = make(engine, tmp_path, pull=True)
    image = f"{registry.address}/slow:1"
    registry.hold()
    try:
        starting = asyncio.create_task(executor.start(assignment("sleep 300", image=image)))
        await until(registry.asked.is_set)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
    finally:
        registry.release()
    await until(lambda: not _threads("start container"))
    assert not engine.containers()


async def test_start_that_is_cancelled_at_any_moment_leaves_nothing(executor, engine):
    for delay_s in (0.0, 0.05, 0.1):
        starting = asyncio.create_task(executor.start(assignment("sleep 300")))
        await asyncio.wait({starting}, timeout=delay_s)
        if starting.done():
            starting.result().kill()
            await starting.result().wait()
            continue
        starting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await starting
        await until(lambda: not _threads("start container"))
        await until(lambda: not _threads("remove container"))
        assert not engine.containers()


async def test_next_agent_removes_what_an_earlier_one_left_and_nothing_else(engine, tmp_path):
    mine = make(engine, tmp_path / "w1")
    # Two agents may claim one id, and two machines may share an engine.
    others = [make(engine, tmp_path / "w2"), make(engine, tmp_path / "w1", worker_id="w2")]
    executions = [
        await mine.start(assignment("sleep 300", "a")),
        await mine.start(assignment("sleep 300", "b")),
        *[await other.start(assignment("sleep 300", "a")) for other in others],
    ]
    assert await asyncio.to_thread(make(engine, tmp_path / "w1").clean) == 2
    assert [(await execution.wait()).success for execution in executions[:2]] == [False, False]
    assert len(engine.containers()) == 2
    for execution in executions[2:]:
        execution.kill()
        await execution.wait()
    assert await asyncio.to_thread(make(engine, tmp_path / "w1").clean) == 0


async def test_container_that_outlived_its_attempt_is_swept(executor, engine, tmp_path):
    kept = await executor.start(assignment("sleep 300", "kept"))
    # Left by a start whose answer never came, say.
    await make(engine, tmp_path / "agent").start(assignment("sleep 300", "outlived"))
    assert await executor.sweep() == 1
    assert len(engine.containers()) == 1
    assert not kept.ended.done()
    kept.kill()
    await kept.wait()


async def test_container_that_somebody_removes_has_failed(executor, engine):
    execution = await executor.start(assignment("echo up; sleep 300"))
    await until(lambda: execution.tail.last()[1])
    await asyncio.to_thread(engine.remove_all)
    ended = await execution.wait()
    assert not ended.success
    assert ended.reason in ("the container was removed by somebody else", "exit code 137 (SIGKILL)")
    assert ended.output == b"up\n"


async def test_container_lives_through_a_restart_of_its_engine(executor, engine):
    if not engine.ours:
        pytest.skip("the engine of RTS_TEST_CONTAINER_HOST is not the tests' to restart")
    lived = await executor.start(assignment("echo up; sleep 2; exit 7", "lives"))
    killed = await executor.start(assignment("echo up; sleep 300", "killed"))
    await until(lambda: lived.tail.last()[1] and killed.tail.last()[1])
    await asyncio.to_thread(engine.end)
    try:
        with pytest.raises(EngineError, match="does not answer"):
            await executor.start(assignment("true"))
        assert await executor.sweep() == 0
        killed.kill()
        await until(lambda: b"went away" in lived.tail.last()[1])
    finally:
        await asyncio.to_thread(engine.start)
    assert (await lived.wait()).exit_code == 7
    assert (await killed.wait()).reason == "killed by the worker"
    assert not engine.containers()


async def test_usage_counts_containers_running_and_ended(executor):
    before = executor.usage()
    assert before.memory_gib == 0
    burn = "x=$(head -c 30000000 /dev/zero | tr '\\0' x); while :; do :; done"
    execution = await executor.start(assignment(burn, memory=0.5))
    if execution._started.cgroup is None:
        pytest.skip("this machine does not show the control groups of the engine's containers")
    await until(lambda: executor.usage().cpu_seconds > 0.3 and executor.usage().memory_gib > 0.02, 60)
    execution.kill()
    await execution.wait()
    ended = executor.usage()
    assert ended.memory_gib == 0
    assert ended.cpu_seconds > 0.3


async def test_container_leaves_no_descriptor_and_no_thread(executor):
    await outcome(executor, "true")
    await until(lambda: not _threads("container"))
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        await outcome(executor, "echo; exit 1", memory=0.1)
    await until(lambda: not _threads("container") and not _threads("out-of-memory"))
    assert len(os.listdir("/proc/self/fd")) <= before + 2


async def test_many_containers_run_at_once(executor, engine):
    """More than the event loop's own pool has threads for."""
    executions = await asyncio.gather(
        *(executor.start(assignment("echo up; sleep 300", f"t{n}")) for n in range(7))
    )
    await until(lambda: all(execution.tail.last()[1] for execution in executions), 60)
    for execution in executions:
        execution.stop("cancelled")
    outcomes = await asyncio.gather(*(execution.wait() for execution in executions))
    assert {ended.reason for ended in outcomes} == {"cancelled"}
    assert not engine.containers()


def test_share_of_a_gpu_asks_for_the_devices(executor):
    host, _ = executor.options(assignment("true", gpu=0.5))
    (request,) = host["device_requests"]
    assert (request.count, request.capabilities) == (-1, [["gpu"]])
    assert "device_requests" not in executor.options(assignment("true"))[0]


def _threads(name: str) -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(name)]


async def test_time_that_the_removal_takes_is_not_the_commands(executor, monkeypatch):
    removed_at = []
    remove = Connection.remove

    def slow(self, container_id):
        removed_at.append(time.time())
        time.sleep(0.1)
        remove(self, container_id)

    monkeypatch.setattr(Connection, "remove", slow)
    ended = await outcome(executor, "true")
    assert ended.finished_at <= removed_at[0]
    assert ended.runtime_s < removed_at[0] - ended.started_at + 0.05


async def test_connection_that_is_reset_loses_output_and_not_the_container(executor, engine, monkeypatch):
    attach = Connection.attach

    def torn(self, container_id):
        yield next(attached[container_id])
        raise ConnectionResetError(104, "Connection reset by peer")

    attached = {}

    def attach_and_tear(self, container_id):
        attached[container_id] = attach(self, container_id)
        return torn(self, container_id)

    monkeypatch.setattr(Connection, "attach", attach_and_tear)
    ended = await outcome(executor, "echo before; sleep 0.1; exit 7")
    assert (ended.exit_code, ended.reason) == (7, "exit code 7")
    assert ended.output.startswith(b"before\n[the container engine went away")
    assert not engine.containers()


async def test_sweep_without_a_thread_is_put_off(executor, monkeypatch):
    def none_left(*_):
        raise OSError("no thread")

    monkeypatch.setattr(container, "in_thread", none_left)
    assert await executor.sweep() == 0


async def test_start_that_fails_in_any_way_is_forgotten(executor, monkeypatch):
    def nonsense(*_):
        raise ValueError("no JSON")

    monkeypatch.setattr(Connection, "has_image", nonsense)
    with pytest.raises(ValueError, match="no JSON"):
        await executor.start(assignment("true"))
    assert not executor._live


async def test_container_is_killed_once_there_is_a_thread_for_it(executor, monkeypatch):
    in_thread, refusals = container_execution.in_thread, []

    def at_first_none(call, name):
        if len(refusals) < 2:
            refusals.append(name)
            raise OSError("no thread")
        return in_thread(call, name)

    execution = await executor.start(assignment("sleep 300"))
    monkeypatch.setattr(container_execution, "in_thread", at_first_none)
    execution.stop("cancelled")
    ended = await execution.wait()
    assert refusals == ["terminate", "kill"]
    assert (ended.exit_code, ended.reason) == (137, "cancelled")
