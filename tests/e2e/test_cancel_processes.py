"""Cancelling, stopping, limits of time and of the queue, through real processes; some of them killed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from rts_processes import Rts, call, end_for_good, free_port, until

from rtscore.client import MasterClient, MasterUnreachableError, RequestError, TaskSpec


class Cluster:
    """A master that can be killed and started again, and its workers."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.address = f"127.0.0.1:{free_port()}"
        self.running: list[Rts] = []
        self.client = MasterClient(self.address, retry_for_s=20.0)

    def start(self, name: str, *arguments: str, **settings: str) -> Rts:
        rts = Rts(self.directory / f"{name}.log", *arguments, **settings)
        self.running.append(rts)
        return rts

    def master(self, **settings: str) -> Rts:
        store = str(self.directory / "m.db")
        return self.start("m", "master", "--listen", self.address, "--store", store, **settings)

    def worker(self, worker_id: str) -> Rts:
        rts = self.start(
            worker_id,
            *("worker", "--master", self.address, "--id", worker_id, "--cpu", "2", "--memory", "4"),
            *("--work-dir", str(self.directory / worker_id), "--drain-timeout", "120"),
        )
        until(lambda: self.state_of(worker_id) == "active", what=f"worker {worker_id}")
        return rts

    def state_of(self, worker_id: str) -> str:
        with contextlib.suppress(MasterUnreachableError):
            return {w.worker_id: w.state for w in self.client.workers()}.get(worker_id, "")
        return ""

    def pid(self, task_id: str) -> int:
        """The process that a task wrote down."""
        path = self.directory / f"{task_id}.pid"
        return int(until(lambda: path.exists() and path.read_text().strip(), what=f"{task_id} to run"))

    def sleeper(self, task_id: str, **fields: float) -> TaskSpec:
        """A task that writes its process down and sleeps."""
        command = f"echo $$ > {self.directory}/{task_id}.pid; exec sleep 300"
        return TaskSpec(command, task_id=task_id, **fields)


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path)
    try:
        yield cluster
    finally:
        cluster.client.close()
        for rts in reversed(cluster.running):
            end_for_good(rts)


def test_cancelling_holds_in_every_state_and_through_a_killed_master(own_cluster: Cluster) -> None:
    client = own_cluster.client
    master = own_cluster.master()
    worker = own_cluster.worker("w1")
    # Ended, unknown, queued, running.
    client.submit(TaskSpec("true", task_id="ended"))
    client.wait(["ended"], timeout_s=60)
    with pytest.raises(RequestError, match="completed"):
        client.cancel("ended")
    with pytest.raises(RequestError, match="unknown"):
        client.cancel("unknown")
    client.submit(TaskSpec("true", task_id="queued", cpu=64.0))
    assert client.cancel("queued").state == "cancelled"
    client.submit(own_cluster.sleeper("running"))
    pid = own_cluster.pid("running")
    assert client.cancel("running").state == "cancelled"
    until(lambda: not psutil.pid_exists(pid), what="the end of the process")
    # Acknowledged by a master that is killed at once; whether the worker heard of it, the next one tells.
    client.submit(own_cluster.sleeper("killed"))
    pid = own_cluster.pid("killed")
    client.cancel("killed")
    master.kill()
    # Running while no master is there, and cancelled before the worker is back.
    master = own_cluster.master()
    assert client.task("killed").state == "cancelled"
    until(lambda: not psutil.pid_exists(pid), what="the end of the process")
    client.submit(own_cluster.sleeper("between"))
    pid = own_cluster.pid("between")
    psutil.Process(worker.process.pid).suspend()
    try:
        master.kill()
        own_cluster.master()
        assert client.cancel("between").state == "cancelled"
    finally:
        psutil.Process(worker.process.pid).resume()
    until(lambda: not psutil.pid_exists(pid), what="the end of the process")
    until(lambda: [w.cpu_avail for w in client.workers()] == [2.0], what="room for all that was held")
    states = {task.task_id: task.state for task in client.tasks()}
    assert states == {"ended": "completed"} | dict.fromkeys(
        ("queued", "running", "killed", "between"), "cancelled"
    )


def test_a_worker_that_is_told_to_stop_costs_no_task_an_attempt(own_cluster: Cluster) -> None:
    client = own_cluster.client
    own_cluster.master()
    worker = own_cluster.worker("w1")
    go = own_cluster.directory / "go"
    client.submit(TaskSpec(f"while [ ! -e {go} ]; do sleep 0.02; done", task_id="runs"))
    until(lambda: client.task("runs").state == "running")
    psutil.Process(worker.process.pid).terminate()
    until(lambda: own_cluster.state_of("w1") == "stopping", what="the news that it stops")
    client.submit_many([TaskSpec("true", task_id=f"late-{n}", cpu=0.1) for n in range(20)])
    assert {client.task(f"late-{n}").attempt for n in range(20)} == {0}
    own_cluster.worker("w2")
    ended = client.wait([f"late-{n}" for n in range(20)], timeout_s=60)
    assert {(task.state, task.worker_id, task.attempt) for task in ended} == {("completed", "w2", 1)}
    assert client.task("runs").state == "running"
    go.touch()
    assert client.wait(["runs"], timeout_s=60)[0].state == "completed"
    assert worker.process.wait(60) == 0


def test_limits_of_time_and_of_the_queue_hold_from_the_command_line(own_cluster: Cluster) -> None:
    own_cluster.master(RTS_MAX_QUEUED="3", RTS_MAX_QUEUED_PER_USER="2")
    address = own_cluster.address
    own_cluster.worker("w1")
    ran = call("submit", "--id", "slow", "--time-limit", "0.5s", "--wait", "sleep 300", master=address)
    assert ran.returncode == 1
    assert "ran longer than its time limit of 0.5 s" in ran.stderr.splitlines()[-1]
    task = own_cluster.client.task("slow")
    assert (task.state, task.time_limit_s, task.exit_code) == ("failed", 0.5, 143)
    ran = call("submit", "--time-limit", "soon", "true", master=address)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "--time-limit: 'soon'" in ran.stderr

    client = own_cluster.client
    client.drain("w1")
    client.submit_many([TaskSpec("true", user_id="ann")] * 2)
    ran = call("submit", "--user", "ann", "true", master=address)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "2 tasks of user 'ann' are queued" in ran.stderr
    client.submit(TaskSpec("true", user_id="bob"))
    with pytest.raises(RequestError, match=r"the master queues at most 3 \(RTS_MAX_QUEUED\)"):
        client.submit(TaskSpec("true", user_id="bob"))
    client.drain("w1", drain=False)
    until(lambda: not any(client.tasks(states=["queued"])), what="an empty queue")
    client.submit(TaskSpec("true", user_id="ann"))
