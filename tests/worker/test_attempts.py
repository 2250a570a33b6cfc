"""What a worker does with assignments, cancels and requests for output."""

from __future__ import annotations

import statistics

import pytest
from worker_peer import agent, alive, config, pid_in, ref, task, until

from rtscore.rpc import scheduler_pb2


@pytest.fixture
async def worker(master, tmp_path):
    async with agent(config(master, tmp_path / "agent")) as running:
        await until(lambda: master.hellos)
        yield running


async def test_command_runs_and_its_result_is_reported(master, worker):
    master.assign(task("t", "echo hello; echo oops >&2; exit 4", attempt=7))
    result = await master.result("t")
    assert master.started == [("t", 7)]
    assert (result.attempt, result.worker_id, result.status) == (7, "w1", "failed")
    assert (result.exit_code, result.reason, result.logs) == (4, "exit code 4", "hello\noops\n")
    assert 0 < result.started_at <= result.finished_at
    assert 0 < result.runtime_s < 10


async def test_output_that_is_not_text_is_reported_readably(master, worker):
    master.assign(task("t", "printf 'a\\377\\000b'"))
    result = await master.result("t")
    assert (result.status, result.logs) == ("success", "a\ufffd\0b")


async def test_assignment_beyond_what_is_free_is_refused(master, worker, tmp_path):
    master.assign(task("big", "sleep 300", cpu=3.0))
    await until(lambda: master.ran("big"))
    master.assign(
        task("more", "true", cpu=1.5), task("gpus", "true", req_gpu=2.0), task("fits", "true", cpu=1.0)
    )
    assert (await master.result("fits")).status == "success"
    assert master.refused[("more", 1)] == "cpu: 1.5 is needed, 1 of 4 is free"
    assert master.refused[("gpus", 1)] == "gpu: 2 is needed, 1 of 1 is free"
    assert not master.ran("more")


async def test_ended_command_gives_back_what_it_held(master, worker):
    for n in range(3):
        master.assign(task(f"t{n}", "true", cpu=4.0, req_memory=8.0))
        assert (await master.result(f"t{n}")).status == "success"


async def test_container_task_is_refused_and_the_reason_names_the_image(master, worker):
    master.assign(task("t", "true", docker_image="alpine:3"))
    await until(lambda: master.refused)
    assert master.refused[("t", 1)] == "docker_image 'alpine:3': this worker has only the process executor"


async def test_command_that_cannot_be_started_is_refused(master, worker):
    master.assign(task("t", "x" * 200_000))
    await until(lambda: master.refused)
    assert "could not be started" in master.refused[("t", 1)]
    master.assign(task("u", "true", cpu=4.0))
    assert (await master.result("u")).status == "success"


async def test_repeated_assignment_runs_once(master, worker, tmp_path):
    command = f"echo ran >> {tmp_path}/ran; while [ ! -e {tmp_path}/go ]; do sleep 0.01; done"
    master.records = False
    master.assign(task("t", command), task("t", command))
    await until(lambda: master.ran("t"))
    master.assign(task("t", command))
    await until(lambda: len(master.started) >= 2)
    (tmp_path / "go").touch()
    await master.result("t")
    master.assign(task("t", command))
    await until(lambda: len(master.results("t")) == 2)
    assert (tmp_path / "ran").read_text() == "ran\n"


async def test_cancel_kills_the_group_and_is_reported(master, worker, tmp_path):
    master.assign(task("t", f"sleep 300 & echo $! > {tmp_path}/pid; wait"))
    await until(lambda: pid_in(tmp_path / "pid"))
    master.cancel("t")
    result = await master.result("t")
    assert (result.status, result.reason) == ("failed", "cancelled")
    await until(lambda: not alive(pid_in(tmp_path / "pid")))


async def test_cancel_with_its_assignment_in_one_message_still_ends_it(master, worker):
    master.send(scheduler_pb2.MasterUpdate(assignments=[task("t", "sleep 300")], cancels=[ref("t")]))
    assert (await master.result("t")).reason == "cancelled"


async def test_cancel_of_an_unknown_attempt_is_denied(master, worker):
    master.cancel("never", 3)
    await until(lambda: master.refused)
    assert master.refused[("never", 3)] == "the attempt is not known to this worker"


async def test_cancel_of_an_ended_attempt_brings_its_result_again(master, worker):
    master.records = False
    master.assign(task("t", "true"))
    await master.result("t")
    master.cancel("t")
    await until(lambda: len(master.results("t")) == 2)
    assert master.results("t")[1].status == "success"


async def test_heartbeat_names_what_runs_and_measures_this_workers_commands(master, worker):
    master.assign(task("t", "while :; do :; done", cpu=2.0, req_memory=3.0, req_gpu=0.5))
    await until(lambda: any(beat.cpu_usage > 0.05 for beat in master.heartbeats))
    running = master.heartbeats[-1].running_tasks[0]
    assert (running.task_id, running.attempt, running.status) == ("t", 1, "running")
    assert (running.cpu_allocated, running.memory_allocated, running.gpu_allocated) == (2.0, 3.0, 0.5)
    # One busy core of four; a single beat errs where the agent waited between two clocks.
    assert statistics.median(beat.cpu_usage for beat in master.heartbeats) < 0.6
    assert 0 < master.heartbeats[-1].storage_usage < 1
    master.cancel("t")
    await master.result("t")
    await until(lambda: not master.heartbeats[-1].running_tasks and master.heartbeats[-1].cpu_usage < 0.01)


async def test_time_limit_of_the_assignment_ends_it(master, worker):
    master.assign(task("t", "sleep 300", time_limit_s=0.2))
    result = await master.result("t")
    assert (result.status, result.reason) == ("failed", "ran longer than its time limit of 0.2 s")
