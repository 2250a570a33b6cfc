"""Listings on terminals of several widths: what is left out, what is folded, and that no id is cut."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from rts_processes import call
from terminal import terminal

from rtscore.client import MasterClient, TaskSpec

LONG_ID = "table-" + "0123456789" * 5


@pytest.fixture(scope="module")
def listed(client: MasterClient) -> Iterator[str]:
    """A user with a task of a long id that waits."""
    client.submit(TaskSpec(task_id=LONG_ID, command="true", gpu=9, user_id="tabler"))
    yield "tabler"
    client.cancel(LONG_ID)


def on_terminal(width: int, master: str, *arguments: str) -> list[str]:
    with terminal(*arguments, width=width, height=60, RTS_MASTER=master) as screen:
        assert screen.ended() == 0
        return [line for line in screen.lines if line]


@pytest.mark.parametrize(
    ("width", "headings"),
    [
        (120, ["TASK", "STATE", "TYPE", "WORKER", "RUNTIME", "SLA"]),
        (80, ["TASK", "STATE", "WORKER", "SLA"]),
        (70, ["TASK", "STATE", "SLA"]),
    ],
)
def test_a_narrow_terminal_leaves_columns_out_and_keeps_ids_whole(
    cluster: str, listed: str, width: int, headings: list[str]
) -> None:
    heading, row = on_terminal(width, cluster, "tasks", "--user", listed)
    assert heading.split() == headings
    assert row.split()[:2] == [LONG_ID, "queued"]


def test_what_fits_no_way_is_folded_and_loses_nothing(cluster: str, listed: str) -> None:
    _, *rows = on_terminal(40, cluster, "tasks", "--user", listed)
    assert "".join(row.split()[0] for row in rows) == LONG_ID


def test_a_pipe_gets_every_column(cluster: str, listed: str) -> None:
    heading, _ = call("tasks", "--user", listed, master=cluster).stdout.splitlines()
    assert heading.split() == ["TASK", "STATE", "TYPE", "WORKER", "RUNTIME", "SLA"]


def test_workers_fit_80_columns_with_all_there_is_and_60_with_what_matters(cluster: str) -> None:
    wide, _ = on_terminal(80, cluster, "workers")
    assert wide.split()[-1] == "SLA"
    narrow, row = on_terminal(40, cluster, "workers")
    assert narrow.split()[:2] == ["WORKER", "STATE"]
    assert row.split()[:2] == ["w1", "active"]
