"""A file system without a free block under everything: the store, the logs, the worker's directory."""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_cluster import FaultCluster
from rts_processes import until
from sqlite_under_test import SqliteUnderTest

from rtscore.client import MasterUnreachableError, TaskSpec

SIZE_MIB = 16


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MiB."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MIB}m", "rts-test", str(tmp_path)],
        capture_output=True,
        text=True,
    )
    if mounted.returncode:
        pytest.skip(f"a small tmpfs cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield tmp_path
    finally:
        subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


def fill_up(ballast: Path) -> None:
    """Write until nothing more fits."""
    with ballast.open("wb", buffering=0) as file:
        for piece in (bytes(1 << 16), b"x"):
            try:
                while file.write(piece):
                    pass
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise


def test_on_a_full_disk_nothing_is_acknowledged_and_with_room_again_nothing_is_missing(
    small_disk: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    # Where there is room: a task that ran only so long could end before anyone has seen it run.
    go = tmp_path_factory.mktemp("room") / "go"
    command = f"while [ ! -e {go} ]; do sleep 0.05; done"
    with FaultCluster(small_disk, SqliteUnderTest(small_disk), workers=1) as cluster:
        cluster.ready()
        with cluster.client() as client, cluster.client(retry_for_s=0.0) as once:
            running = client.submit(TaskSpec(command=command, cpu=1.0, memory=0.25)).task_id
            until(lambda: client.task(running).state == "running")
            ballast = small_disk / "ballast"
            fill_up(ballast)
            go.touch()
            # What has blocks already may still be written; a few submissions need new ones.
            acknowledged = [running]

            def refused() -> bool:
                spec = TaskSpec(command=f"true {'x' * 4000}", cpu=1.0, memory=0.25)
                try:
                    acknowledged.append(once.submit(spec).task_id)
                except MasterUnreachableError as error:
                    return "disk is full" in str(error)
                return False

            until(refused, 60.0, "a refusal")
            ballast.unlink()
            ended = client.wait(acknowledged, timeout_s=60.0)
        assert [(task.state, task.attempt) for task in ended] == [("completed", 1)] * len(acknowledged)
        cluster.idle()
        cluster.stop()
        assert set(acknowledged) <= set(cluster.store.records().tasks)
