"""A real cluster for the command line's tests: one master and one worker, as separate processes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from rts_processes import free_port, running, until

from rtscore.client import MasterClient, MasterUnreachableError


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a master whose worker `w1` has 4 cores, 8 GiB, 1 gpu and 10 GiB of storage."""
    directory: Path = tmp_path_factory.mktemp("cluster")
    address = f"127.0.0.1:{free_port()}"
    with contextlib.ExitStack() as stack:
        stack.enter_context(
            running(directory / "m.log", "master", "--listen", address, "--store", str(directory / "m.db"))
        )
        stack.enter_context(
            running(
                directory / "w1.log",
                *("worker", "--master", address, "--id", "w1", "--cpu", "4", "--memory", "8", "--gpu", "1"),
                *("--storage", "10", "--work-dir", str(directory / "w1"), "--drain-timeout", "0"),
            )
        )
        with MasterClient(address) as waiting:
            until(lambda: _active(waiting), what="an active worker")
        yield address


def _active(client: MasterClient) -> bool:
    with contextlib.suppress(MasterUnreachableError):
        return [worker.state for worker in client.workers()] == ["active"]
    return False


@pytest.fixture(scope="session")
def client(cluster: str) -> Iterator[MasterClient]:
    """What the tests arrange and check with, so that only the command under test pays for a process."""
    with MasterClient(cluster) as connected:
        yield connected
