"""`rts migrate-task-types` through its process: what it prints, refuses, and survives."""

from __future__ import annotations

import contextlib
import json
import signal
import sqlite3
import subprocess
from pathlib import Path

from rts_processes import RTS, call, environment, free_port, running, until
from terminal import terminal

from master.store.database import Database
from master.store.task_types import BATCH
from rtscore import TASK_TYPES

COLUMNS = "user_id, command, docker_image, given_task_type, worker_id, reason"
NUMBERS = (
    "req_storage, given_sla_multiplier, given_deadline, time_limit_s, id_given, tau, sla_multiplier,"
    " created_at, deadline, attempt, assigned_at, started_at, completed_at, runtime_s"
)
ROW = (
    f"INSERT INTO tasks (task_id, task_type, req_cpu, req_memory, req_gpu, status, {COLUMNS}, {NUMBERS})"
    f" VALUES (?, ?, 1, 1, 0, 'completed', {', '.join(['char()'] * 6)}, {', '.join('0' * 14)})"
)
OLD = ("cpu", "gpu", "dl", "", "elsewhere", "memory-heavy")


def filled(path: Path, count: int) -> Path:
    """A store with `count` finished tasks of an earlier time."""
    Database(path, write=True).close()
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany(ROW, ((f"t{n}", OLD[n % len(OLD)]) for n in range(count)))
    return path


def types(path: Path) -> dict[str, int]:
    """How many tasks the store has of each type."""
    with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        return dict(connection.execute("SELECT task_type, count(*) FROM tasks GROUP BY task_type").fetchall())


def old_tasks(path: Path) -> int:
    """How many tasks have no type of the six."""
    found = types(path)
    return sum(found.get(name, 0) for name in OLD[:5])


def check_whole_batches(path: Path) -> None:
    """What is left begins with a batch, and nothing behind its first task has been changed."""
    with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        marks = ", ".join("?" * 5)
        where = f"FROM tasks WHERE task_type IN ({marks})"
        (first, left), *_ = connection.execute(f"SELECT min(rowid), count(*) {where}", OLD[:5]).fetchall()
        if not left:
            return
        (behind,), *_ = connection.execute(
            "SELECT count(*) FROM tasks WHERE rowid >= ? AND task_type <> 'memory-heavy'", (first,)
        ).fetchall()
    assert behind == left
    # Every sixth task had a type of the six from the beginning, perhaps the first of the batch.
    assert (first - 1) % BATCH <= 1, f"what is left begins with row {first}"


def test_it_prints_what_it_did_per_type_and_a_second_run_finds_nothing(tmp_path: Path) -> None:
    store = filled(tmp_path / "rts.db", 60)
    dry = call("migrate-task-types", "--store", str(store), "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert "50 of 60 tasks would change." in dry.stderr
    assert types(store) == dict.fromkeys(OLD, 10)
    ran = call("migrate-task-types", "--store", str(store))
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == dry.stdout
    lines = [line.split() for line in ran.stdout.splitlines()]
    assert ["cpu-light", "20", "20"] in lines
    assert ["memory-heavy", "10", "0"] in lines
    assert ["(nothing)", "cpu-light", "of", "what", "it", "asks", "10"] in lines
    assert types(store) == {
        "cpu-light": 20,
        "gpu-inference": 10,
        "gpu-training": 10,
        "mixed": 10,
        "memory-heavy": 10,
    }
    again = call("migrate-task-types", "--store", str(store), "--json")
    document = json.loads(again.stdout)
    assert (document["tasks"], document["changed"], document["changes"]) == (60, 0, [])
    assert document["types"] == {str(name): 0 for name in TASK_TYPES} | types(store)


def test_it_is_refused_while_a_master_has_the_store_and_a_dry_run_is_not(tmp_path: Path) -> None:
    store = filled(tmp_path / "rts.db", 6)
    address = f"127.0.0.1:{free_port()}"
    with running(tmp_path / "m.log", "master", "--listen", address, "--store", str(store)):
        until(lambda: call("stats", master=address).returncode == 0, what="a master")
        ran = call("migrate-task-types", "--store", str(store))
        assert ran.returncode == 2
        assert "in use by another master" in ran.stderr
        assert types(store) == dict.fromkeys(OLD, 1)
        dry = call("migrate-task-types", "--store", str(store), "--dry-run", "--json")
        assert json.loads(dry.stdout)["changed"] == 5
    assert call("migrate-task-types", "--store", str(store)).returncode == 0


def killed_in_its_midst(store: Path) -> bool:
    """Kill a migration once it has changed something, and say whether it had not ended by then."""
    before = old_tasks(store)
    process = subprocess.Popen(
        [*RTS, "migrate-task-types", "--store", str(store)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(),
    )
    while old_tasks(store) == before and process.poll() is None:
        pass
    process.kill()
    killed = process.wait() == -signal.SIGKILL
    check_whole_batches(store)
    return killed and 0 < old_tasks(store) < before


def test_killed_in_its_midst_it_leaves_whole_batches_and_is_finished_by_the_next(tmp_path: Path) -> None:
    # On a busy machine it may be over before this process gets its turn: then again, with another store.
    for number in range(5):
        store = filled(tmp_path / f"rts{number}.db", 60_000)
        if killed_in_its_midst(store):
            break
    else:
        raise AssertionError("no migration was killed in its midst")
    killed_in_its_midst(store)
    left = old_tasks(store)
    ran = call("migrate-task-types", "--store", str(store), "--json")
    document = json.loads(ran.stdout)
    assert (ran.returncode, document["tasks"], document["changed"]) == (0, 60_000, left)
    assert types(store) == {
        "cpu-light": 20_000,
        "gpu-inference": 10_000,
        "gpu-training": 10_000,
        "mixed": 10_000,
        "memory-heavy": 10_000,
    }


def test_on_a_terminal_a_bar_shows_how_far_it_is_and_is_gone_at_the_end(tmp_path: Path) -> None:
    store = filled(tmp_path / "rts.db", 3_000)
    with terminal("migrate-task-types", "--store", str(store)) as shown:
        assert shown.ended() == 0
        assert "100%" in shown.said
        assert "%" not in shown.text
        assert "2500 of 3000 tasks changed." in shown.text


def test_a_store_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    ran = call("migrate-task-types", "--store", str(tmp_path / "none.db"))
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == f"rts: --store: there is no {tmp_path / 'none.db'}.\n"
    assert not list(tmp_path.iterdir())
