"""`rts train` and `rts params` through their processes, and a trainer that is killed beside a real master."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pexpect
import psutil
import pytest
from rts_processes import RTS, Rts, call, environment, free_port, running, until

from aod.jsonlines import write_history
from aod.replay import Replayer
from aod.workloads import make_machines, make_workload
from rtscore import GAParams, Risk, load_ga_params, save_ga_params
from rtscore.client import MasterClient, MasterUnreachableError, TaskSpec

MACHINES = make_machines(20, 1)


def document(*arguments: str, master: str = "", code: int = 0) -> Any:
    ran = call(*arguments, "--json", master=master)
    assert ran.returncode == code, ran.stderr
    return json.loads(ran.stdout)


@pytest.fixture(scope="module")
def attempts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recorded history from which something can be learned."""
    path: Path = tmp_path_factory.mktemp("history") / "attempts.jsonl.gz"
    write_history(Replayer(MACHINES, make_workload(3000, MACHINES, 0.8, 1)).run().history(), path)
    return path


@contextlib.contextmanager
def master(directory: Path, **settings: str) -> Iterator[tuple[Rts, MasterClient, str]]:
    """A master and a worker that takes everything at once."""
    address = f"127.0.0.1:{free_port()}"
    store = ("--store", str(directory / "m.db"))
    worker = ("worker", "--master", address, "--id", "w1", "--cpu", "500", "--memory", "500", "--gpu", "0")
    with (
        running(directory / "m.log", "master", "--listen", address, *store, **settings) as rts,
        running(directory / "w1.log", *worker, "--work-dir", str(directory / "w1"), "--drain-timeout", "0"),
        MasterClient(address) as client,
    ):

        def active() -> bool:
            with contextlib.suppress(MasterUnreachableError):
                return [found.state for found in client.workers()] == ["active"]
            return False

        until(active, what="an active worker")
        yield rts, client, address


def trainer_of(rts: Rts) -> psutil.Process | None:
    for child in psutil.Process(rts.process.pid).children():
        with contextlib.suppress(psutil.Error):
            if child.cmdline()[-1] == "master.trainer" and child.status() != psutil.STATUS_ZOMBIE:
                return child
    return None


def run_tasks(client: MasterClient, count: int, prefix: str) -> None:
    names = [f"{prefix}{number}" for number in range(count)]
    client.submit_many([TaskSpec("true", name, cpu=1.0) for name in names])
    assert {task.state for task in client.wait(names, timeout_s=60)} == {"completed"}


# ---- by hand ----


def test_training_by_hand_on_a_history_writes_what_it_accepts(attempts: Path, tmp_path: Path) -> None:
    out = tmp_path / "params.json"
    answer = document("train", "--history", str(attempts), "--out", str(out), "--seed", "1")
    assert answer["verdict"] == "accepted"
    assert answer["evidence"]["usable"] == 3000
    params = load_ga_params(out)
    assert set(params.penalty) == set(MACHINES.worker_ids)
    again = document("train", "--history", str(attempts), "--seed", "1", "--params", str(out))
    assert again["verdict"] in ("accepted", "kept")
    assert again["evidence"]["current"]["fitness"] > answer["evidence"]["current"]["fitness"]


def test_training_for_people_shows_the_judgement(attempts: Path) -> None:
    ran = call("train", "--history", str(attempts), "--generations", "1", "--population", "4")
    assert ran.returncode == 0
    for word in ("verdict", "3000 of 3000", "gpu-training", "ON THE NEWER TASKS", "in use"):
        assert word in ran.stdout, word
    assert ran.stderr == ""


def test_training_on_a_terminal_shows_a_bar(attempts: Path) -> None:
    terminal = pexpect.spawn(
        sys.executable,
        [*RTS[1:], "train", "--history", str(attempts), "--generations", "40"],
        env=environment() | {"TERM": "xterm-256color"},
        dimensions=(30, 100),
        encoding="utf-8",
        timeout=60,
    )
    try:
        terminal.expect("generation [0-9]+, fitness")
        terminal.expect("verdict")
        terminal.expect(pexpect.EOF)
        terminal.wait()
        assert terminal.exitstatus == 0
    finally:
        terminal.close(force=True)


def test_too_little_to_learn_from_is_exit_code_1(tmp_path: Path) -> None:
    history = tmp_path / "few.jsonl"
    write_history(Replayer(MACHINES, make_workload(20, MACHINES, 0.8, 1)).run().history(), history)
    with history.open("a") as file:
        file.write("{\n")
    ran = call("train", "--history", str(history))
    assert ran.returncode == 1
    assert "20 records can be used" in ran.stdout
    assert "line 21 left out" in ran.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("train", "--store", "absent.db"), 2, "absent.db"),
        (("train", "--history", "absent.jsonl"), 2, "absent.jsonl"),
        (("train", "--store", "a", "--history", "b"), 2, "both given"),
        (("train", "--hours", "2"), 2, "--hours is for"),
        (("params", "validate", "absent.json"), 2, "absent.json"),
        (("params", "rollback", "0"), 2, "VERSION"),
    ],
)
def test_wrong_use_is_one_sentence(arguments: tuple[str, ...], code: int, said: str) -> None:
    ran = call(*arguments)
    assert ran.returncode == code
    assert said in ran.stderr
    assert ran.stdout == ""
    assert "Traceback" not in ran.stderr


def test_a_file_is_valid_or_the_reason_is_said(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    save_ga_params(GAParams(penalty={"w1": 0.5}), good)
    bad.write_text('{"Theta": {"Theta1": 3}}')
    assert document("params", "validate", str(good)) == {"valid": True, "types": 0, "workers": 1}
    refused = document("params", "validate", str(bad), code=1)
    assert refused["valid"] is False
    assert "Theta.theta1 is 3" in refused["error"]
    assert call("params", "validate", str(good)).returncode == 0
    ran = call("params", "validate", str(bad))
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "[0, 2]" in ran.stderr


# ---- with a master ----


def test_versions_are_shown_listed_and_rolled_back(tmp_path: Path) -> None:
    file = tmp_path / "params.json"
    with master(tmp_path, GA_EPOCH_INTERVAL="0", RTS_PARAMS=str(file), RTS_PARAMS_RELOAD_INTERVAL="50ms") as (
        _,
        client,
        address,
    ):
        save_ga_params(GAParams(risk=Risk(7.0, 2.0), affinity={"mixed": {"w1": 1.5}}), file)
        until(lambda: client.stats().params_version == 2)
        shown = document("params", "show", master=address)
        assert (shown["version"], shown["reason"], shown["params"]["Risk"]["Alpha"]) == (2, "manual", 7.0)
        text = call("params", "show", master=address).stdout
        assert "lateness 7" in text
        assert "+1.50" in text
        assert document("params", "show", "--version", "1", master=address)["params"]["Risk"]["Alpha"] == 10.0
        rolled = document("params", "rollback", "1", master=address)
        assert (rolled["version"], rolled["replaced"], rolled["reason"]) == (3, 2, "rollback")
        assert load_ga_params(file).risk == Risk()
        listed = document("params", "history", master=address)
        assert [(v["version"], v["replaced"]) for v in listed] == [(3, 2), (2, 1), (1, 0)]
        text = call("params", "history", master=address).stdout
        assert "rollback to 1" in text
        ran = call("params", "rollback", "9", master=address)
        assert (ran.returncode, ran.stdout) == (2, "")
        assert "9 is not kept; allowed are 1 to 3" in ran.stderr
        ran = call("params", "rollback", "1", master=address)
        assert ran.returncode == 1
        assert "in use already" in ran.stderr


@pytest.mark.timeout(180)
def test_a_trainer_that_is_killed_is_started_again_and_nobody_notices(tmp_path: Path) -> None:
    settings = {"GA_EPOCH_INTERVAL": "200ms", "GA_GENERATIONS": "10000", "GA_POPULATION_SIZE": "1000"}
    with master(tmp_path, **settings) as (rts, client, _):
        run_tasks(client, 120, "first")
        first = until(lambda: trainer_of(rts), what="a trainer")
        # Past its start: it is learning.
        until(lambda: first.cpu_times().user > 2.0, 90.0, "an epoch")
        first.kill()
        run_tasks(client, 20, "second")
        second = until(lambda: trainer_of(rts), what="another trainer")
        assert second.pid != first.pid
        assert "ended with code -9" in rts.said()
        assert client.stats().failed == 0
        assert rts.stop() == 0
        assert not second.is_running()


@pytest.mark.timeout(180)
def test_a_master_that_is_killed_leaves_no_trainer(tmp_path: Path) -> None:
    settings = {"GA_EPOCH_INTERVAL": "200ms", "GA_GENERATIONS": "10000", "GA_POPULATION_SIZE": "1000"}
    with master(tmp_path, **settings) as (rts, client, _):
        run_tasks(client, 120, "first")
        trainer = until(lambda: trainer_of(rts), what="a trainer")
        until(lambda: trainer.cpu_times().user > 2.0, 90.0, "an epoch")
        rts.kill()
        until(lambda: not trainer.is_running(), 5.0, "the trainer's end")


@pytest.mark.timeout(180)
def test_the_running_master_trains_when_it_is_asked(tmp_path: Path) -> None:
    with master(tmp_path, GA_EPOCH_INTERVAL="0") as (_, client, address):
        answer = document("train", master=address, code=1)
        assert (answer["verdict"], answer["version"]) == ("not enough data", 1)
        run_tasks(client, 120, "t")
        out = tmp_path / "params.json"
        answer = document("train", "--out", str(out), master=address)
        assert answer["verdict"] in ("accepted", "kept")
        assert answer["evidence"]["usable"] == 120
        assert answer["version"] == client.stats().params_version
        assert load_ga_params(out).meta["version"] == answer["version"]
        assert "verdict" in call("train", master=address).stdout
        # The same by hand, from the file of the running master.
        answer = document("train", "--store", str(tmp_path / "m.db"))
        assert answer["evidence"]["usable"] == 120
