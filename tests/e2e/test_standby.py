"""Two masters on one MongoDB database, real processes: the first is killed, suspended, stopped."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pymongo
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from rts_processes import Rts, end_for_good, free_port, until

from rtscore.client import MasterClient, MasterUnreachableError, TaskSpec

PERIOD_S = 1.0
# Where no lease has to run out: a busy machine then takes no master for dead.
LONG_PERIOD_S = 2.5
TASKS = 60


class Cluster:
    """Two masters, the first of them in office, and two workers that know both."""

    def __init__(self, directory: Path, uri: str, period_s: float) -> None:
        self.directory = directory
        self.uri = uri
        self.period_s = period_s
        self.addresses = [f"127.0.0.1:{free_port()}" for _ in range(2)]
        self.masters: list[Rts] = []
        self.workers: list[Rts] = []

    def begin(self) -> None:
        self.masters.append(self.start(0))
        until(lambda: "master serves" in self.masters[0].said(), 60.0, "the first master serves")
        self.masters.append(self.start(1))
        until(lambda: "standing by" in self.masters[1].said(), 60.0, "the second master stands by")
        self.workers += [self._start_worker(name) for name in ("w1", "w2")]

    @property
    def both(self) -> str:
        return ",".join(self.addresses)

    def start(self, number: int) -> Rts:
        return Rts(
            self.directory / f"master{number}.log",
            *("master", "--listen", self.addresses[number], "--lease-period", f"{self.period_s}s"),
            *("--heartbeat-interval", "0.5", "--worker-grace", "20", "--ga-epoch-interval", "0"),
            MONGODB_URI=self.uri,
        )

    def _start_worker(self, name: str) -> Rts:
        return Rts(
            self.directory / f"{name}.log",
            *("worker", "--master", self.both, "--id", name, "--cpu", "8", "--memory", "8", "--gpu", "0"),
            *("--storage", "1", "--work-dir", str(self.directory / name)),
        )

    def end(self) -> None:
        for process in (*self.workers, *self.masters):
            end_for_good(process)


@pytest.fixture
def cluster(request: pytest.FixtureRequest, tmp_path: Path, mongo_uri: str) -> Iterator[Cluster]:
    expires = request.node.get_closest_marker("slow") is not None
    cluster = Cluster(tmp_path, mongo_uri, PERIOD_S if expires else LONG_PERIOD_S)
    try:
        cluster.begin()
        yield cluster
    finally:
        cluster.end()


def health(address: str) -> int:
    with grpc.insecure_channel(address) as channel:
        check = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=60)
    return int(check.status)


def submit(client: MasterClient, ran: Path, name: str) -> list[str]:
    """Short tasks, each of which leaves a line when it runs; the ids that were acknowledged."""
    specs = [
        TaskSpec(
            task_id=f"{name}-{number}",
            command=f'echo "$RTS_TASK_ID" >> {ran}; sleep 0.3',
            cpu=1.0,
            memory=0.25,
            task_type="cpu-light",
        )
        for number in range(TASKS)
    ]
    return [answer.task_id for answer in client.submit_many(specs)]


def check_outcomes(uri: str, acknowledged: list[str]) -> None:
    """Each has one outcome, of its last attempt, and nothing holds a worker any more."""
    with pymongo.MongoClient(uri) as connection:
        database: Any = connection.get_default_database()
        tasks = {task["task_id"]: task for task in database["TASKS"].find()}
        results = Counter(result["task_id"] for result in database["RESULTS"].find())
        assert set(acknowledged) <= tasks.keys()
        assert {tasks[task_id]["status"] for task_id in acknowledged} == {"completed"}
        assert results == Counter(acknowledged)
        for result in database["RESULTS"].find():
            assert result["attempt"] == tasks[result["task_id"]]["attempt"]
        assert database["ASSIGNMENTS"].count_documents({"open": True}) == 0


def test_a_standby_says_who_is_in_office_and_clients_find_it(cluster: Cluster) -> None:
    first, second = cluster.addresses
    assert health(first) == health_pb2.HealthCheckResponse.SERVING
    assert health(second) == health_pb2.HealthCheckResponse.NOT_SERVING
    # The first tells its address with its next renewal.
    until(lambda: f"in_office={first}" in cluster.masters[1].said(), 30.0, "the standby knows the first")
    with (
        MasterClient(second, retry_for_s=0.0) as client,
        pytest.raises(MasterUnreachableError, match=f"stands by.*{first}"),
    ):
        client.stats()
    # Also a client that repeats nothing is not bound to a standby.
    with MasterClient(f"{second},{first}", retry_for_s=0.0) as client:
        with pytest.raises(MasterUnreachableError) as refused:
            client.stats()
        # Who reads where to go has nothing to wait for.
        assert refused.value.retry_after_s == 0.0
        assert client.stats().queued == 0
    with MasterClient(f"{second},{first}") as client:
        assert client.submit(TaskSpec("true", task_id="found")).task_id == "found"
        assert client.wait(["found"], timeout_s=60.0)[0].state == "completed"


@pytest.mark.slow
@pytest.mark.parametrize("end", ["killed", "suspended"])
def test_a_standby_takes_over_and_every_acknowledged_task_has_one_outcome(
    cluster: Cluster, tmp_path: Path, end: str
) -> None:
    first, second = cluster.masters
    ran = tmp_path / "ran"
    with MasterClient(cluster.both) as client:
        acknowledged = submit(client, ran, "before")
        until(lambda: ran.exists() and ran.read_text().count("\n") > 5, 60.0, "tasks run")
        began = time.monotonic()
        first.process.send_signal(signal.SIGKILL if end == "killed" else signal.SIGSTOP)
        until(lambda: "master serves" in second.said(), 60.0, "the standby serves")
        took_s = time.monotonic() - began
        print(f"\n{end}: the standby serves after {took_s:.1f} s, {took_s / PERIOD_S:.1f} lease periods")
        acknowledged += submit(client, ran, "after")
        if end == "suspended":
            first.process.send_signal(signal.SIGCONT)
            assert first.process.wait(60.0) == 1
            assert "This master was replaced" in first.said()
            assert cluster.addresses[1] in first.said().rpartition("This master was replaced")[2]
        tasks = client.wait(acknowledged, timeout_s=120.0)
        assert {task.state for task in tasks} == {"completed"}
    check_outcomes(cluster.uri, acknowledged)


def test_a_master_that_stops_hands_over_at_once_and_stands_by_when_it_is_back(cluster: Cluster) -> None:
    assert cluster.masters[0].stop() == 0
    until(lambda: "master serves" in cluster.masters[1].said(), 60.0, "the standby serves")
    cluster.masters[0] = cluster.start(0)
    until(lambda: cluster.masters[0].said().count("standing by") == 1, 60.0, "the first stands by")
    assert cluster.masters[0].stop() == 0
