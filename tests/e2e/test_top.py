"""`rts top` on an emulated terminal: what the screen shows, what keys do, how a lost master looks."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from rts_processes import call, free_port, running, until
from terminal import BACKSPACE, DOWN, ENTER, ESCAPE, PAGE_DOWN, TAB, Terminal, terminal

from rtscore.client import MasterClient, TaskSpec

# An id is a task's for ever.
NUMBERS = itertools.count(100)


def rows(screen: Terminal, heading: str) -> list[str]:
    """The rows below the line of headings that begins with `heading`, without the footer."""
    at = next(n for n, line in enumerate(screen.lines) if line.startswith(heading))
    return [line for line in screen.lines[at + 1 : -1] if line]


@pytest.fixture
def waiting(client: MasterClient) -> Iterator[list[str]]:
    """Tasks that no worker can run, ended afterwards."""
    names = [f"top-{next(NUMBERS)}-waits" for _ in range(3)]
    for number, name in enumerate(names):
        client.submit(TaskSpec(task_id=name, command="true", gpu=7 + number, user_id="topper"))
    yield names
    for name in names:
        with contextlib.suppress(Exception):
            client.cancel(name)


@pytest.mark.parametrize(("width", "height"), [(80, 24), (60, 15), (200, 50)])
def test_everything_that_matters_fits_the_terminal(
    cluster: str, waiting: list[str], width: int, height: int
) -> None:
    with terminal("top", width=width, height=height, RTS_MASTER=cluster) as top:
        shown = top.shows("WORKER", "submitted", "3 queued")
        for said in (cluster, "parameters v", "running", "SLA met", "needs gpu", "q quit"):
            assert said in shown
        assert ("decision p50" in shown) == (width >= 80)
        assert [row.split()[:2] for row in rows(top, "WORKER")] == [["w1", "active"]]
        assert "0/4" in rows(top, "WORKER")[0]
        top.press("t")
        top.shows("SLACK", "CHANCE", *waiting)
        assert {row.split()[0] for row in rows(top, "TASK")} >= set(waiting)
        top.press("q")
        assert top.ended() == 0


def test_a_terminal_may_change_its_size_and_one_that_is_too_small_is_told_so(cluster: str) -> None:
    with terminal("top", RTS_MASTER=cluster) as top:
        top.shows("WORKER", "LOAD")
        top.resize(50, 10)
        assert "50x10" in top.shows("needs 60x15", without=("WORKER",))
        top.resize(120, 40)
        top.shows("WORKER", "DONE", without=("needs 60x15",))
        assert len(top.lines[-1]) > 0


def test_words_filter_and_columns_sort(cluster: str, waiting: list[str]) -> None:
    with terminal("top", RTS_MASTER=cluster) as top:
        top.shows("WORKER")
        top.press("t", "/", *waiting[1], "x", BACKSPACE)
        top.shows(f"filter: {waiting[1]}_", "1 of 1", without=(waiting[0],))
        top.press(ENTER, "/", ESCAPE)
        top.shows(*waiting)
        top.press(">")
        top.shows("by TASK")
        until(lambda: _order(top) == waiting)
        top.press("r")
        top.shows("by TASK, reversed")
        until(lambda: _order(top) == waiting[::-1])
        top.press("<")
        top.shows("by default", without=("by TASK",))


def _order(top: Terminal) -> list[str]:
    top.read()
    return [row.split()[0] for row in rows(top, "TASK") if "-waits" in row]


def test_the_selected_task_is_explained_and_cancelled_after_a_yes(
    cluster: str, client: MasterClient, waiting: list[str]
) -> None:
    with terminal("top", RTS_MASTER=cluster) as top:
        top.shows("WORKER")
        second = waiting[1]
        top.press("t", "/", *"topper", ENTER, ">")
        top.shows("by TASK", "1 of 3")
        top.press(DOWN)
        top.shows("2 of 3")
        top.press(ENTER)
        shown = top.shows(f"task {second}", "request")
        assert "needs gpu 8; the largest worker has 1" in shown
        top.press("q", "c")
        top.shows(f"Cancel {second}, which is queued? y/n")
        top.press("n")
        top.shows("Nothing was done.")
        assert client.task(second).state == "queued"
        top.press("c", "y")
        top.shows(f"{second} cancelled.", "2 of 2")
        assert client.task(second).state == "cancelled"
        # The selection has moved to the next one, and what cannot be done is said.
        assert waiting[2] in top.text


def test_a_worker_is_shown_with_its_tasks_drained_and_taken_back(cluster: str, client: MasterClient) -> None:
    client.submit(TaskSpec(task_id="top-runs", command="sleep 60", cpu=1))
    until(lambda: client.task("top-runs").state == "running")
    try:
        with terminal("top", RTS_MASTER=cluster) as top:
            top.shows("w1", "1/4")
            top.press(ENTER)
            top.shows("worker w1", "its tasks:", "top-runs  running")
            top.press(ESCAPE)
            top.press("d")
            top.shows("Drain w1? What runs there goes on. y/n")
            top.press("y")
            top.shows("w1 is draining.", "1 draining")
            assert client.workers()[0].state == "draining"
            top.press("d")
            top.shows("Place tasks on w1 again? y/n")
            top.press("y")
            top.shows("w1 is active.", "1 active")
    finally:
        client.drain("w1", drain=False)
        client.cancel("top-runs")


def test_a_pause_keeps_the_picture_and_help_names_the_keys(cluster: str, client: MasterClient) -> None:
    with terminal("top", "--interval", "0.2", RTS_MASTER=cluster) as top:
        top.shows("WORKER")
        top.press("p")
        top.shows("PAUSED at")
        before = top.lines[1]
        client.submit(TaskSpec(task_id="top-unseen", command="true", gpu=9))
        try:
            top.press("?")
            top.shows("drain the selected worker", "q back")
            assert top.lines[1] == before
            top.press("q", "p", TAB)
            top.shows("top-unseen", without=("PAUSED",))
        finally:
            client.cancel("top-unseen")


@pytest.mark.parametrize("settings", [{"NO_COLOR": "1"}, {"TERM": "vt100"}])
def test_without_colours_nothing_is_coloured_and_all_is_said(cluster: str, settings: dict[str, str]) -> None:
    with terminal("top", RTS_MASTER=cluster, **settings) as top:
        top.shows("WORKER", "active")
        top.press("t")
        top.shows("SLACK")
        assert top.colours() == set()
        assert not re.search(r"\x1b\[3[0-7]m", top.said)
        top.press("q")
        assert top.ended() == 0


def test_states_have_colours_where_there_are_some_and_leaving_restores_the_terminal(
    cluster: str, client: MasterClient
) -> None:
    client.submit(TaskSpec(task_id="top-completes", command="true"))
    client.wait(["top-completes"], timeout_s=60)
    with terminal("top", RTS_MASTER=cluster) as top:
        top.shows("WORKER", " completed", without=(" 0 completed",))
        assert "green" in top.colours()
        top.press("\x03")
        assert top.ended() == 0
        assert "\x1b[?1049l" in top.said
        assert "Traceback" not in top.said


def test_a_terminal_that_is_unknown_or_cannot_move_its_cursor_is_refused_with_advice(cluster: str) -> None:
    for term in ("dumb", "no-such-terminal"):
        with terminal("top", RTS_MASTER=cluster, TERM=term) as top:
            assert top.ended() == 2
            assert term in top.text
            assert "--once" in top.text


def test_a_lost_master_leaves_its_last_picture_marked_and_is_found_again(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    master = ("master", "--listen", address, "--store", str(tmp_path / "m.db"))
    with running(tmp_path / "m.log", *master) as first:
        with MasterClient(address, retry_for_s=30) as client:
            client.submit(TaskSpec(task_id="top-kept", command="true", cpu=1))
        nobody = f"127.0.0.1:{free_port()}"
        with terminal("top", "--interval", "0.2", RTS_MASTER=f"{nobody},{address}") as top:
            top.press("t")
            top.shows("top-kept", "1 queued", "no worker is registered")
            first.kill()
            assert "top-kept" in top.shows("STALE since", "The master is away")
            with running(tmp_path / "m2.log", *master):
                top.shows("top-kept", without=("STALE", "away"))


def test_of_many_tasks_some_are_read_and_more_when_one_looks_for_them(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    log = tmp_path / "m.log"
    with running(log, "master", "--listen", address, "--store", str(tmp_path / "m.db")):
        with MasterClient(address, retry_for_s=30) as client:
            specs = [TaskSpec(task_id=f"many-{n:04d}", command="true", cpu=1) for n in range(2500)]
            client.submit_many(specs)
        with terminal("top", RTS_MASTER=address) as top:
            top.press("t")
            top.shows("1 of 100", "2400 more", "many-0000", "2500: no worker is registered")
            top.press(*[PAGE_DOWN] * 6)
            top.shows("of 1000", "1500 more")
            top.press("\x1b[1~", "/", *"many-2400", ENTER)
            top.shows("1 of 1", "many-2400")


def test_once_prints_one_picture_for_people_or_programs(
    cluster: str, client: MasterClient, waiting: list[str]
) -> None:
    ran = call("top", "--once", master=cluster)
    assert ran.returncode == 0, ran.stderr
    assert "3 queued" in ran.stdout
    assert "\x1b" not in ran.stdout
    assert all(name in ran.stdout for name in ("w1", *waiting))
    found = json.loads(call("top", "--once", "--json", master=cluster).stdout)
    assert found["stats"]["queued"] == 3
    assert [worker["worker_id"] for worker in found["workers"]] == ["w1"]
    assert {task["task_id"] for task in found["queued"]} == set(waiting)


def test_in_a_pipe_or_without_a_master_it_says_what_to_do(cluster: str) -> None:
    piped = call("top", master=cluster)
    assert (piped.returncode, piped.stdout) == (2, "")
    assert "--once" in piped.stderr
    with terminal("top", RTS_MASTER=f"127.0.0.1:{free_port()}") as top:
        assert top.ended() == 3
        assert "rts master" in top.text
        assert "\x1b[?1049h" not in top.said
