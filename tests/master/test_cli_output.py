"""What `rts` prints is whole, plain in a pipe, and cannot drive a terminal."""

from __future__ import annotations

import json
import math
import time

import pytest

from master.cli import output


def test_a_pipe_gets_every_id_whole(capsys: pytest.CaptureFixture[str]) -> None:
    ids = ["x" * 200, "y" * 3]
    output.print_table(("TASK", "STATE"), [(ids[0], "running"), (ids[1], "completed")])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines] == [["TASK", "STATE"], [ids[0], "running"], [ids[1], "completed"]]
    assert "\x1b" not in "".join(lines)


def test_control_characters_are_written_out(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table(("TASK",), [("a\x1b[2Jb",)])
    output.print_fields([("command", "c\x07d\ne")])
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert "\x07" not in printed
    assert r"a\x1b[2Jb" in printed
    assert "command  c\\x07d\n         e\n" in printed


def test_fields_without_a_value_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_fields([("a", "1"), ("reason", ""), ("long name", "2")])
    assert capsys.readouterr().out == "a          1\nlong name  2\n"


def test_json_is_one_document_without_nan(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_json([{"risk": math.inf, "id": "ü"}])
    assert json.loads(capsys.readouterr().out) == [{"risk": None, "id": "ü"}]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.254, "0.25 s"),
        (12.34, "12.3 s"),
        (99.99, "1m40s"),
        (250, "4m10s"),
        (11100, "3h05m"),
        (-3, "-3.00 s"),
    ],
)
def test_durations_keep_the_digits_that_matter(seconds: float, text: str) -> None:
    assert output.duration(seconds) == text


def test_instants_of_another_day_carry_their_date() -> None:
    now = time.time()
    assert output.instant(0) == ""
    assert len(output.instant(now - 3 * 86400)) == len("2030-01-31 12:00:00")


@pytest.mark.parametrize(
    ("value", "text"), [(4.0, "4"), (0.5, "0.5"), (12.25, "12.25"), (0.0, "0"), (100.0, "100")]
)
def test_amounts_lose_only_digits_that_say_nothing(value: float, text: str) -> None:
    assert output.amount(value) == text
