"""Tasks with an image, from `rts submit` to a real engine and back; and what a killed worker leaves."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from container_engine import IMAGE, TestEngine
from rts_processes import Rts, call, free_port, running, until

from rtscore.client import MasterClient, MasterUnreachableError


@pytest.fixture(scope="module")
def image_cluster(
    tmp_path_factory: pytest.TempPathFactory, engine: TestEngine
) -> Iterator[tuple[str, list[str], Rts, Path]]:
    """The master's address; the arguments and the process of its worker with an engine; where its log is.

    A second worker, `plain`, has more of everything and no engine.
    """
    directory = tmp_path_factory.mktemp("image-cluster")
    address = f"127.0.0.1:{free_port()}"
    worker = [
        "worker",
        "--master",
        address,
        "--id",
        "boxes",
        "--cpu",
        "2",
        "--memory",
        "2",
        "--drain-timeout",
        "0",
    ]
    worker += [
        "--work-dir",
        str(directory / "boxes"),
        "--container-socket",
        engine.host.removeprefix("unix://"),
    ]
    plain = ["worker", "--master", address, "--id", "plain", "--cpu", "64", "--memory", "64"]
    master = ["master", "--listen", address, "--store", str(directory / "m.db")]
    master += ["--heartbeat-interval", "0.5s"]
    with (
        running(directory / "m.log", *master),
        running(directory / "plain.log", *plain, "--work-dir", str(directory / "plain")),
        running(directory / "boxes.log", *worker) as boxes,
        MasterClient(address) as client,
    ):
        until(lambda: _active(client) == ["boxes", "plain"], 60, "two workers")
        yield address, worker, boxes, directory


def _active(client: MasterClient) -> list[str]:
    with contextlib.suppress(MasterUnreachableError):
        return sorted(worker.worker_id for worker in client.workers() if worker.state == "active")
    return []


def test_task_with_an_image_runs_in_a_container_where_there_is_an_engine(image_cluster) -> None:
    address = image_cluster[0]
    command = [
        "--image",
        IMAGE,
        "--cpu",
        "1",
        "--memory",
        "0.1",
        "--wait",
        "--",
        "ls /bin/busybox; hostname; exit 3",
    ]
    submitted = call("submit", *command, master=address)
    assert submitted.returncode == 1
    assert "exit code 3" in submitted.stderr
    task_id = submitted.stdout.split()[0]
    shown = json.loads(call("task", task_id, "--json", master=address).stdout)
    assert (shown["state"], shown["exit_code"], shown["worker_id"]) == ("failed", 3, "boxes")
    printed = call("logs", task_id, master=address).stdout.splitlines()
    assert printed[0] == "/bin/busybox"
    assert len(printed[1]) == 12, "a container's own name"


def test_container_task_that_runs_out_of_memory_says_so(image_cluster) -> None:
    command = [
        "--image",
        IMAGE,
        "--memory",
        "0.0625",
        "--wait",
        "--",
        "dd if=/dev/zero of=/dev/null bs=200M count=1",
    ]
    submitted = call("submit", *command, master=image_cluster[0])
    assert submitted.returncode == 1
    assert "out of memory: its limit is 0.0625 GiB" in submitted.stderr


def test_task_with_an_absent_image_fails_and_names_it(image_cluster) -> None:
    submitted = call("submit", "--image", "localhost/none:1", "--wait", "--", "true", master=image_cluster[0])
    assert submitted.returncode == 1
    assert "the image localhost/none:1 is not here" in submitted.stderr


def test_running_container_shows_its_output_and_ends_when_it_is_cancelled(image_cluster, engine) -> None:
    address = image_cluster[0]
    task_id = call("submit", "--image", IMAGE, "--", "echo up; sleep 300", master=address).stdout.strip()
    until(lambda: call("logs", task_id, master=address).stdout == "up\n", 60, "its output")
    assert len(engine.containers()) == 1
    assert call("cancel", task_id, master=address).returncode == 0
    until(lambda: not engine.containers(), 60, "the container's end")


def test_container_of_a_killed_worker_is_removed_when_it_is_back_and_its_task_runs_again(
    image_cluster, engine, tmp_path
) -> None:
    address, worker, boxes, directory = image_cluster
    flag = "[ $RTS_ATTEMPT = 2 ] && exec echo again; sleep 300"
    with MasterClient(address) as client:
        task_id = call("submit", "--image", IMAGE, "--", flag, master=address).stdout.strip()
        until(lambda: client.task(task_id).state == "running", 60, "the container")
        (left,) = engine.containers()
        boxes.kill()
        assert engine.containers() == [left]
        with running(directory / "boxes.log", *worker) as second:
            until(lambda: client.task(task_id).state == "completed", 90, "the second attempt")
            assert left not in engine.containers()
            assert "left by an earlier agent" in second.said()
    assert call("logs", task_id, master=address).stdout == "again\n"
    assert not engine.containers()


def test_worker_whose_engine_is_not_there_says_so_and_ends(tmp_path) -> None:
    arguments = ["worker", "--work-dir", str(tmp_path), "--container-socket", str(tmp_path / "none.sock")]
    refused = call(*arguments)
    assert refused.returncode == 1
    assert f"{tmp_path}/none.sock" in refused.stderr
    assert "--container-socket" in refused.stderr
    assert "Traceback" not in refused.stderr
