"""One fault at a time, on real processes: what goes on, what is noticed, what is recorded, and how often."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator
from pathlib import Path

import grpc
import psutil
import pytest
from fault_cluster import FaultCluster, WorkerUnderTest, said_after, size
from google.rpc import error_details_pb2, status_pb2
from rts_processes import FULL, call, end_for_good, limit_files, until
from sqlite_under_test import SqliteUnderTest
from wall_clock import library

from rtscore.client import MasterClient, TaskInfo, TaskSpec
from rtscore.rpc import scheduler_pb2, scheduler_pb2_grpc

PATIENCE_S = 60.0
# A worker has to be back within this time also where starting a process takes ten times as long as elsewhere.
GRACE_S = 14.0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultCluster]:
    """A master and two workers; each test leaves them as it found them."""
    directory: Path = tmp_path_factory.mktemp("faults")
    with FaultCluster(directory, SqliteUnderTest(directory), grace_s=GRACE_S) as made:
        made.ready()
        yield made


@pytest.fixture(scope="module")
def client(cluster: FaultCluster) -> Iterator[MasterClient]:
    """A client whose own connection is never at fault."""
    with cluster.client() as connected:
        yield connected


@pytest.fixture(autouse=True)
def recovered(cluster: FaultCluster) -> Iterator[None]:
    """After each test every worker is active and has all of its room."""
    yield
    cluster.ready(PATIENCE_S)
    cluster.idle()


def start(client: MasterClient, command: str, cpu: float = 1.0) -> TaskInfo:
    """Submit, and return the task once it runs; it must not end before that is seen, so see `held`."""
    task_id = client.submit(TaskSpec(command=command, cpu=cpu, memory=0.25, task_type="cpu-light")).task_id

    def running() -> TaskInfo | None:
        task = client.task(task_id)
        return task if task.state == "running" else None

    found = until(running, PATIENCE_S, "the task runs")
    assert found is not None
    return found


def held(go: Path, then: str = "true") -> str:
    """A command that waits until there is a file."""
    return f"while [ ! -e {go} ]; do sleep 0.05; done; {then}"


def ended(client: MasterClient, task: TaskInfo) -> TaskInfo:
    """Wait for the task's end."""
    (last,) = client.wait([task.task_id], timeout_s=PATIENCE_S)
    return last


def worker_of(cluster: FaultCluster, task: TaskInfo) -> WorkerUnderTest:
    """The worker that has the task."""
    return next(worker for worker in cluster.workers if worker.id == task.worker_id)


def processes_of(task_id: str, attempt: int) -> list[psutil.Process]:
    """What runs of an attempt's command, wherever it came from."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            environ = process.environ()
            if (environ.get("RTS_TASK_ID"), environ.get("RTS_ATTEMPT")) == (task_id, str(attempt)):
                found.append(process)
    return found


# ---- the network ----


@pytest.mark.parametrize("fault", ["cut", "refuse", "half_close"])
def test_work_goes_on_through_a_broken_connection_and_is_recorded_once(
    cluster: FaultCluster, client: MasterClient, tmp_path: Path, fault: str
) -> None:
    task = start(client, held(tmp_path / "go"))
    worker = worker_of(cluster, task)
    log = size(worker.log)
    getattr(worker.link, fault)()
    if fault == "half_close":
        until(said_after(worker.log, log, "no session"), PATIENCE_S, "the worker notices")
        (tmp_path / "go").touch()
    else:
        until(lambda: cluster.state(client, worker) == "inactive", PATIENCE_S, "the master notices")
        (tmp_path / "go").touch()
        worker.link.heal()
    last = ended(client, task)
    assert (last.state, last.attempt, last.worker_id) == ("completed", 1, worker.id)


def test_a_connection_that_is_gone_without_a_word_is_replaced_before_the_worker_is_given_up(
    cluster: FaultCluster, client: MasterClient, tmp_path: Path
) -> None:
    task = start(client, held(tmp_path / "go"))
    worker = worker_of(cluster, task)
    log = size(worker.log)
    worker.link.strand()
    until(lambda: cluster.state(client, worker) == "inactive", PATIENCE_S, "the master notices")
    until(said_after(worker.log, log, "no session"), PATIENCE_S, "the worker notices")
    (tmp_path / "go").touch()
    last = ended(client, task)
    assert (last.state, last.attempt, last.worker_id) == ("completed", 1, worker.id)


def test_beyond_the_grace_work_is_done_elsewhere_and_the_old_attempt_is_ended_unrecorded(
    cluster: FaultCluster, client: MasterClient
) -> None:
    task = start(client, "test $RTS_ATTEMPT != 1 || sleep 600")
    worker = worker_of(cluster, task)
    worker.link.cut()
    last = ended(client, task)
    assert (last.state, last.attempt) == ("completed", 2)
    assert last.worker_id != worker.id
    assert processes_of(task.task_id, 1), "nothing can have reached the worker"
    worker.link.heal()
    until(lambda: not processes_of(task.task_id, 1), PATIENCE_S, "the end of the old attempt")
    assert client.task(task.task_id) == last


# ---- the worker ----


def test_a_killed_agent_that_is_back_has_its_work_done_again_and_leaves_no_process(
    cluster: FaultCluster, client: MasterClient
) -> None:
    task = start(client, "test $RTS_ATTEMPT != 1 || sleep 600")
    worker = worker_of(cluster, task)
    worker.kill()
    until(lambda: cluster.state(client, worker) == "inactive", PATIENCE_S, "the master notices")
    worker.start()
    last = ended(client, task)
    assert (last.state, last.attempt) == ("completed", 2)
    # Where the agent was not back in time, another worker has done it meanwhile.
    until(lambda: not processes_of(task.task_id, 1), PATIENCE_S, "the end of the old attempt")


def test_results_of_a_worker_that_came_back_smaller_than_them_are_recorded(
    cluster: FaultCluster, client: MasterClient, tmp_path: Path
) -> None:
    tasks = [start(client, held(tmp_path / "go"), cpu=5.0) for _ in cluster.workers]
    log = size(cluster.log)
    cluster.store.block()
    try:
        (tmp_path / "go").touch()
        # Its results stay in the outbox, as the master cannot say that they are recorded.
        worker = worker_of(cluster, tasks[0])
        until(lambda: not processes_of(tasks[0].task_id, 1), PATIENCE_S, "the end of the command")
        until(lambda: list((worker.work_dir / "outbox").glob("*.result")), PATIENCE_S, "its result on disk")
        until(said_after(cluster.log, log, "store unavailable"), PATIENCE_S, "the master notices")
        worker.kill()
        worker.start(cpu=2)
    finally:
        cluster.store.unblock()
    for task in tasks:
        last = ended(client, task)
        assert (last.state, last.attempt) == ("completed", 1)
    until(lambda: cluster.state(client, worker) == "active", PATIENCE_S, "the worker is back")
    (seen,) = (w for w in client.workers() if w.worker_id == worker.id)
    assert (seen.total_cpu, seen.cpu_avail) == (2.0, 2.0)
    worker.kill()
    worker.start()
    until(
        lambda: [w.total_cpu for w in client.workers() if w.worker_id == worker.id] == [6.0],
        what="its old size",
    )


def test_a_second_process_of_one_worker_id_is_told_and_takes_nothing_until_the_first_is_gone(
    cluster: FaultCluster, client: MasterClient, tmp_path: Path
) -> None:
    task = start(client, held(tmp_path / "go"))
    worker = worker_of(cluster, task)
    log = cluster.directory / "twin.log"
    twin = worker.agent(log, cluster.directory / "twin")
    try:
        until(said_after(log, 0, f"another process is worker {worker.id} already"), PATIENCE_S, "the refusal")
        (tmp_path / "go").touch()
        last = ended(client, task)
        assert (last.state, last.attempt) == ("completed", 1)
        assert worker.process.stop() == 0
        until(said_after(log, 0, "session open"), PATIENCE_S, "the second is let in")
        assert twin.stop() == 0
    finally:
        end_for_good(twin)
    worker.start()


def test_a_worker_whose_disk_is_full_stays_and_runs_what_fits(
    cluster: FaultCluster, client: MasterClient, tmp_path: Path
) -> None:
    task = start(client, held(tmp_path / "go", "echo done"))
    worker = worker_of(cluster, task)
    limit_files(worker.process.process.pid, FULL)
    try:
        (tmp_path / "go").touch()
        last = ended(client, task)
        assert (last.state, last.attempt, worker.process.process.poll()) == ("completed", 1, None)
        assert not list((worker.work_dir / "outbox").glob("*.result"))
    finally:
        limit_files(worker.process.process.pid, resource.RLIM_INFINITY)


# ---- the store ----


@pytest.mark.parametrize("fault", ["locked", "full"])
def test_without_its_store_the_master_refuses_with_a_hint_and_running_work_is_recorded_afterwards(
    cluster: FaultCluster, client: MasterClient, tmp_path: Path, fault: str
) -> None:
    task = start(client, held(tmp_path / "go"))
    master = cluster.master.process.pid
    channel = grpc.insecure_channel(cluster.address)
    try:
        if fault == "locked":
            cluster.store.block()
        else:
            cluster.store.fill(master)
        submit = scheduler_pb2_grpc.SchedulerServiceStub(channel).SubmitTask
        with pytest.raises(grpc.RpcError) as refused:
            submit(scheduler_pb2.TaskSpec(task_id=f"hint-{fault}", command="true", cpu=1.0, memory=0.25))
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        assert retry_delay_s(refused.value) > 0.0
        typed = call("submit", "--cpu", "1", "--", "true", master=cluster.address)
        assert (typed.returncode, typed.stdout) == (3, "")
        assert "can do nothing at present" in typed.stderr
        (tmp_path / "go").touch()
        until(lambda: not processes_of(task.task_id, 1), PATIENCE_S, "the end of the command")
    finally:
        if fault == "locked":
            cluster.store.unblock()
        else:
            cluster.store.drain()
        channel.close()
    last = ended(client, task)
    assert (last.state, last.attempt) == ("completed", 1)


def retry_delay_s(error: grpc.RpcError) -> float:
    """The hint in an error's details."""
    (packed,) = (value for key, value in error.trailing_metadata() if key == "grpc-status-details-bin")
    info = error_details_pb2.RetryInfo()
    assert any(detail.Unpack(info) for detail in status_pb2.Status.FromString(packed).details)
    return float(info.retry_delay.ToTimedelta().total_seconds())


# ---- the clock ----


@pytest.mark.skipif(library() is None, reason="there is no C compiler for the clock that tests set")
@pytest.mark.parametrize("ahead_s", [86_400, -86_400], ids=["forwards", "backwards"])
def test_a_clock_that_jumps_by_a_day_loses_no_worker_and_no_work(
    cluster: FaultCluster, client: MasterClient, tmp_path: Path, ahead_s: int
) -> None:
    task = start(client, held(tmp_path / "go"))
    try:
        cluster.clock.set(ahead_s)
        worker_of(cluster, task).clock.set(ahead_s)
        until(lambda: abs(_now(client) - task.submitted_at - ahead_s) < 3600, PATIENCE_S, "the jump")
        (tmp_path / "go").touch()
        last = ended(client, task)
        assert (last.state, last.attempt, last.deadline) == ("completed", 1, task.deadline)
        cluster.ready()
    finally:
        cluster.clock.set(0)
        worker_of(cluster, task).clock.set(0)


def _now(client: MasterClient) -> float:
    """The master's wall clock."""
    return client.submit(TaskSpec(command="true", cpu=1.0, memory=0.25)).submitted_at
