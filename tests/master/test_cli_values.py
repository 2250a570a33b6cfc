"""What people type is read as they mean it, or refused with what is allowed."""

from __future__ import annotations

import pytest

from master.cli.failure import CommandError, Exit
from master.cli.values import parse_deadline, read_task_lines


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("5m", 300), ("2h", 7200), ("1d", 86400), ("0.5 m", 30), (" 3s ", 3)],
)
def test_a_duration_is_counted_from_now(text: str, seconds: float) -> None:
    assert parse_deadline(text, now=1000.0) == 1000.0 + seconds


def test_an_instant_with_a_zone_is_absolute() -> None:
    assert parse_deadline("1970-01-02T00:00:00+00:00", now=5.0) == 86400.0


@pytest.mark.parametrize("text", ["soon", "-5s", "5w", "2030-13-01", ""])
def test_another_deadline_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(CommandError, match="neither a time from now") as caught:
        parse_deadline(text, now=0.0)
    assert caught.value.code == Exit.USAGE


def test_each_line_is_a_task_and_empty_lines_are_skipped() -> None:
    first, second = read_task_lines([b'{"command": "a", "cpu": 2}\n', b"\n", b'{"command": "b"}'], "f")
    assert (first.command, first.cpu, second.command, second.cpu) == ("a", 2.0, "b", 0.0)


@pytest.mark.parametrize(
    "line",
    [
        b"not json",
        b"[1]",
        b'{"comand": "a"}',
        b'{"command": "a", "cpu": "two"}',
        b'{"command": "a", "cpu": NaN}',
        b'{"command": "\xff"}',
    ],
)
def test_a_bad_line_is_named_by_its_number(line: bytes) -> None:
    with pytest.raises(CommandError, match=r"f\.jsonl, line 3: .*Nothing was submitted") as caught:
        read_task_lines([b'{"command": "a"}', b"", line, b'{"command": "b"}'], "f.jsonl")
    assert caught.value.code == Exit.USAGE


def test_a_file_without_tasks_is_refused() -> None:
    with pytest.raises(CommandError, match="holds no tasks"):
        read_task_lines([b"\n", b"  \n"], "f")
