"""`rts master` and `rts worker` as processes: how they start, refuse and end."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path

import pytest
from rts_processes import Rts, call, free_port, running, until

from rtscore.client import MasterClient, MasterUnreachableError, TaskSpec


def serves(client: MasterClient) -> bool:
    with contextlib.suppress(MasterUnreachableError):
        return bool(client.stats().started_at)
    return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_master_and_worker_end_with_0_when_told_to(tmp_path: Path, number: signal.Signals) -> None:
    address = f"127.0.0.1:{free_port()}"
    with (
        running(
            tmp_path / "m.log", "master", "--listen", address, "--store", str(tmp_path / "m.db")
        ) as master,
        running(
            tmp_path / "w.log",
            *("worker", "--master", address, "--id", "w", "--work-dir", str(tmp_path / "w")),
        ) as worker,
        MasterClient(address) as client,
    ):
        until(lambda: serves(client) and client.workers(), what="a worker")
        (found,) = client.workers()
        # What was not declared is what the machine has.
        assert found.total_cpu >= 1
        assert found.total_memory > 0
        for process in (worker, master):
            process.process.send_signal(number)
            assert process.process.wait(20) == 0, process.said()
            assert "Traceback" not in process.said()


def test_settings_come_from_flag_then_environment_then_file(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    file = tmp_path / "master.toml"
    file.write_text(f'listen = "127.0.0.1:1"\nstore = "{tmp_path}/m.db"\nscheduler = "rts"\n')
    settings = {"RTS_SCHEDULER": "round-robin", "RTS_LISTEN": "127.0.0.1:2"}
    with (
        running(tmp_path / "m.log", "master", "--config", str(file), "--listen", address, **settings),
        MasterClient(address) as client,
    ):
        until(lambda: serves(client), what="the master")
        assert client.stats().scheduler == "round-robin"
        assert (tmp_path / "m.db").exists()


def test_a_second_master_on_the_same_store_or_port_is_refused(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    store = str(tmp_path / "m.db")
    with (
        running(tmp_path / "m.log", "master", "--listen", address, "--store", store),
        MasterClient(address) as client,
    ):
        until(lambda: serves(client), what="the master")
        same_store = call("master", "--listen", "127.0.0.1:0", "--store", store)
        same_port = call("master", "--listen", address, "--store", str(tmp_path / "other.db"))
        assert serves(client)
    assert same_store.returncode == 1
    assert "--store" in same_store.stderr.splitlines()[-1]
    assert same_port.returncode == 2
    assert address in same_port.stderr.splitlines()[-1]
    assert "Traceback" not in same_store.stderr + same_port.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("master", "--scheduler", "best"), "round-robin"),
        (("master", "--heartbeat-interval", "soon"), "heartbeat"),
        (("master", "--listen", "0.0.0.0:7070"), "--insecure"),
        (("master", "--config", "/does/not/exist"), "/does/not/exist"),
        (("worker", "--cpu", "-1"), "cpu"),
        (("worker", "--master", "nowhere"), "host:port"),
        (("worker", "--work-dir", "/dev/null/x"), "--work-dir"),
    ],
)
def test_a_setting_that_cannot_be_exits_2_and_is_named(arguments: tuple[str, ...], said: str) -> None:
    ran = call(*arguments)
    assert ran.returncode == 2
    assert said in ran.stderr
    assert "Traceback" not in ran.stderr


def test_two_workers_in_one_directory_are_refused(tmp_path: Path) -> None:
    flags = ("worker", "--master", f"127.0.0.1:{free_port()}", "--work-dir", str(tmp_path / "w"))
    with running(tmp_path / "w.log", *flags) as first:
        until(lambda: "starts" in first.said(), what="the first worker")
        second = call(*flags)
    assert second.returncode == 1
    assert "--work-dir" in second.stderr
    assert "Traceback" not in second.stderr


def test_a_worker_and_a_waiting_client_go_on_through_a_masters_restart(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    flags = ("master", "--listen", address, "--store", str(tmp_path / "m.db"))
    worker_flags = ("worker", "--master", address, "--id", "w", "--work-dir", str(tmp_path / "w"))
    with running(tmp_path / "w.log", *worker_flags), MasterClient(address, retry_for_s=30) as client:
        with running(tmp_path / "m.log", *flags) as master:
            client.submit(TaskSpec(task_id="t", command="sleep 2"))
            waiting = Rts(
                tmp_path / "wait.log", "submit", "--master", address, "--id", "t2", "--wait", "sleep 3"
            )
            until(lambda: {t.state for t in client.tasks()} == {"running"} and len(list(client.tasks())) == 2)
            master.kill()
        with running(tmp_path / "m.log", *flags):
            (task,) = client.wait(["t"], timeout_s=30)
            assert (task.state, task.attempt) == ("completed", 1)
            assert waiting.process.wait(30) == 0, waiting.said()
