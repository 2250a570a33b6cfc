"""`rts demo` from the outside: what it prints, what it exits with, and that nothing of it is left."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pexpect
import psutil
import pytest
from rts_processes import RTS, call, environment, until

TYPES = ["cpu-light", "cpu-heavy", "memory-heavy", "gpu-inference", "gpu-training", "mixed"]
LIMIT_S = 240


def demo_environment(scratch: Path) -> dict[str, str]:
    # The demo's temporary directory must appear, and vanish, where the test can see it.
    return environment() | {"TMPDIR": str(scratch)}


def descendants(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def works(pid: int) -> bool:
    """Whether a task of the demo `pid` runs at this moment."""
    for process in descendants(pid):
        with contextlib.suppress(psutil.NoSuchProcess):
            if "master.cli.demo.work" in process.cmdline():
                return True
    return False


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    found = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def run_demo(scratch: Path, *arguments: str) -> dict[str, Any]:
    """The report of a demo that succeeds."""
    ran = subprocess.run(
        [*RTS, "demo", "--json", *arguments],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        env=demo_environment(scratch),
    )
    assert ran.returncode == 0, ran.stderr
    report: dict[str, Any] = json.loads(ran.stdout)
    return report


def run_demo_with_a_dashboard(scratch: Path, *arguments: str) -> dict[str, Any]:
    """As `run_demo`, with a dashboard that still answers when the report is there; then Ctrl-C."""
    demo = subprocess.Popen(
        [*RTS, "demo", "--json", "--dashboard", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=demo_environment(scratch),
    )
    try:
        assert demo.stderr is not None
        said = ""
        for line in demo.stderr:
            said += line
            if "Ctrl-C ends them" in line:
                break
        (url,) = re.findall(r"dashboard is at (http://\S+)", said)
        with urllib.request.urlopen(url, timeout=30) as page:
            assert (page.status, "<title>Cluster - rts</title>" in page.read().decode()) == (200, True)
        started = descendants(demo.pid)
        assert len(started) >= 6
        demo.send_signal(signal.SIGINT)
        out, more = demo.communicate(timeout=60)
        assert demo.returncode == 0, said + more
        assert not alive(started)
    finally:
        demo.kill()
        demo.wait()
    report: dict[str, Any] = json.loads(out)
    return report


@pytest.mark.slow
@pytest.mark.timeout(2 * LIMIT_S + 60)
def test_the_demo_runs_real_tasks_agrees_with_its_store_and_goes_on_with_what_it_learned(
    tmp_path: Path,
) -> None:
    keep = tmp_path / "kept"
    report = run_demo_with_a_dashboard(tmp_path, "--tasks", "60", "--keep", str(keep))
    assert (report["tasks"], report["completed"], report["failed"]) == (60, 60, 0)
    assert report["problems"] == []
    assert [line["task_type"] for line in report["types"]] == TYPES
    assert all(line["tasks"] and line["tau_before"] != line["tau_after"] for line in report["types"])
    assert len(report["workers"]) == 4
    assert sum(line["tasks"] for line in report["workers"]) == 60
    assert sum(line["sla_met"] for line in report["workers"]) == report["sla_met"]
    assert report["decisions"] >= 60
    assert report["fallbacks"] == 0
    assert 0 < report["decision_p50_us"] <= report["decision_p99_us"]
    with contextlib.closing(sqlite3.connect(keep / "rts.db")) as rows:
        met = rows.execute(
            "SELECT sum(results.completed_at <= deadline) FROM tasks JOIN results USING (task_id)"
        )
        assert met.fetchone() == (report["sla_met"],)
        logs = [text for (text,) in rows.execute("SELECT logs FROM results")]
    for word in ("sha256", "ratio", "sorted", "product", "slept"):
        assert any(word in text for text in logs), word
    assert (report["run"], report["earlier"]) == (1, None)
    learning = report["learning"]
    assert (learning["version"], learning["version_after"]) == (1, 1)
    assert (learning["reason"], learning["verdict"]) == ("initial", "not enough data")

    second = run_demo(tmp_path, "--tasks", "60", "--keep", str(keep))
    assert (second["run"], second["tasks"], second["completed"]) == (2, 60, 60)
    assert second["earlier"]["number"] == 1
    assert sum(second["earlier"]["tasks"].values()) == 60
    # τ goes on where the first run left it, and now there is enough to learn from.
    assert [line["tau_before"] for line in second["types"]] == [line["tau_after"] for line in report["types"]]
    learning = second["learning"]
    assert learning["verdict"] in ("accepted", "kept")
    assert learning["version_after"] == (2 if learning["verdict"] == "accepted" else 1)
    assert bool(learning["changes"]) == (learning["verdict"] == "accepted")


@pytest.mark.timeout(LIMIT_S + 60)
def test_on_a_terminal_the_demo_shows_the_workers_and_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    terminal = pexpect.spawn(
        sys.executable,
        ["-m", "master.cli.app", "demo"],
        env=demo_environment(tmp_path) | {"TERM": "xterm-256color"},
        dimensions=(30, 80),
        encoding="utf-8",
        timeout=60,
    )
    try:
        terminal.expect("SLA met")
        terminal.expect(r"tasks/s")
        until(lambda: works(terminal.pid), what="a task")
        started = descendants(terminal.pid)
        assert len(started) >= 5
        assert list(tmp_path.iterdir())
        terminal.sendintr()
        terminal.expect("SIGINT", timeout=30)
        terminal.expect(pexpect.EOF, timeout=30)
        terminal.wait()
        assert terminal.exitstatus == 128 + signal.SIGINT
        until(lambda: not alive(started), timeout_s=30, what="the end of everything that was started")
        assert list(tmp_path.iterdir()) == []
    finally:
        terminal.close(force=True)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_demo_that_is_told_to_end_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    demo = subprocess.Popen(
        [*RTS, "demo"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=demo_environment(tmp_path),
    )
    until(lambda: works(demo.pid), timeout_s=60, what="a task")
    started = descendants(demo.pid)
    os.kill(demo.pid, number)
    out, said = demo.communicate(timeout=30)
    assert demo.returncode == 128 + number
    assert out == ""
    assert number.name in said
    assert "Traceback" not in said
    until(lambda: not alive(started), timeout_s=30, what="the end of everything that was started")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.timeout(120)
def test_a_demo_whose_master_dies_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    demo = subprocess.Popen(
        [*RTS, "demo", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=demo_environment(tmp_path),
    )
    until(lambda: works(demo.pid), timeout_s=60, what="a task")
    started = descendants(demo.pid)
    (master,) = (p for p in started if p.cmdline()[2:4] == ["master.cli.app", "master"])
    master.kill()
    out, said = demo.communicate(timeout=60)
    assert demo.returncode == 1
    assert out == ""
    assert "master ended" in said
    until(lambda: not alive(started), timeout_s=30, what="the end of everything that was started")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [("--tasks", "59"), ("--workers", "3"), ("--keep", ".")])
def test_a_demo_that_cannot_be_is_refused(arguments: tuple[str, ...]) -> None:
    ran = call("demo", *arguments)
    assert ran.returncode == 2
    assert ran.stdout == ""
    assert "Traceback" not in ran.stderr
