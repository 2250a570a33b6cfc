"""TAB in a real bash: commands, options and what the cluster has; silence when there is no master."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rts_processes import free_port
from terminal import PATIENCE_S, TAB, Terminal, program

from rtscore.client import MasterClient, TaskSpec

ERASE_LINE = "\x15"


@pytest.fixture
def shell(cluster: str, tmp_path: Path) -> Iterator[Terminal]:
    """A bash that has `rts` and its completion, and the cluster's address in RTS_MASTER."""
    rts = tmp_path / "rts"
    rts.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m master.cli.app "$@"\n')
    rts.chmod(0o755)
    with program(["bash", "--norc", "--noprofile"], width=100, RTS_MASTER=cluster, PS1="ready> ") as bash:
        bash.shows("ready>")
        # In a directory without files, whose names bash would offer where we offer nothing.
        (tmp_path / "empty").mkdir()
        bash.press(f"cd {shlex.quote(str(tmp_path))}/empty; export PATH={shlex.quote(str(tmp_path))}:$PATH\r")
        bash.press('eval "$(_RTS_COMPLETE=source_bash rts)"; complete -p rts\r')
        bash.shows("complete -o default -F")
        bash.press("clear\r")
        bash.shows("ready>", without=("complete",))
        yield bash


def completes(shell: Terminal, typed: str, completed: str) -> None:
    """Type, and press TAB until the line is this: on a busy machine an answer may take too long."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        shell.press(ERASE_LINE, typed, TAB, "|")
        shown = shell.shows("|")
        if f"ready> {completed}|" in shown:
            return
        shell.press(ERASE_LINE)
        shell.shows("ready>", without=("|",))
    raise AssertionError(f"{typed!r} did not become {completed!r}; there is:\n{shown}")


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("rts sub", "rts submit "),
        ("rts drain w", "rts drain w1 "),
        ("rts tasks --state q", "rts tasks --state queued "),
        ("rts submit --type memory", "rts submit --type memory-heavy "),
        ("rts submit --sla", "rts submit --sla-multiplier "),
        ("rts params val", "rts params validate "),
    ],
)
def test_tab_completes_commands_options_and_values(shell: Terminal, typed: str, completed: str) -> None:
    completes(shell, typed, completed)


def test_tab_completes_the_ids_of_tasks_and_of_open_ones_to_cancel(
    shell: Terminal, client: MasterClient
) -> None:
    client.submit(TaskSpec(task_id="completion-done", command="true"))
    client.wait(["completion-done"], timeout_s=60)
    client.submit(TaskSpec(task_id="completion-waits", command="true", gpu=9))
    try:
        completes(shell, "rts logs completion-d", "rts logs completion-done ")
        completes(shell, "rts cancel completion-", "rts cancel completion-waits ")
    finally:
        client.cancel("completion-waits")


def test_without_a_master_tab_is_silent(shell: Terminal) -> None:
    shell.press("clear; export RTS_TOKEN_FILE=/does/not/exist\r", "rts drain w", TAB, "|")
    shell.shows("ready> rts drain w|", without=("clear",))
    nobody = f"127.0.0.1:{free_port()}"
    shell.press(ERASE_LINE, f"unset RTS_TOKEN_FILE; export RTS_MASTER={nobody}; clear; PS1='again> '\r")
    # What is typed while a command runs the terminal shows at once, perhaps after what that has cleared.
    shell.shows("again>", without=("clear",))
    shell.press("rts drain w", TAB, "|")
    assert shell.shows("rts drain w|").strip() == "again> rts drain w|"
