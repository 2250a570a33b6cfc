"""Reads what people type: deadlines, durations, and tasks as lines of JSON."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime

import msgspec

from master.cli.failure import CommandError
from rtscore.client import TaskSpec

_UNITS_S = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd]?)")


def parse_deadline(text: str, now: float) -> float:
    """Unix seconds of a deadline: "90", "90s", "5m", "2h" or "1d" from `now` on, or an ISO 8601 instant."""
    if found := _DURATION.fullmatch(text.strip()):
        return now + float(found[1]) * _UNITS_S[found[2]]
    try:
        return datetime.fromisoformat(text.strip()).timestamp()
    except ValueError:
        raise CommandError(
            f"--deadline: {text!r} is neither a time from now (90s, 5m, 2h, 1d) "
            f"nor an instant (2030-01-31T12:00:00)."
        ) from None


def parse_duration(text: str, flag: str) -> float:
    """Seconds of "90", "90s", "5m", "2h" or "1d"; `flag` is named when it is none of these."""
    if found := _DURATION.fullmatch(text.strip()):
        return float(found[1]) * _UNITS_S[found[2]]
    raise CommandError(f"{flag}: {text!r} is not a time (90s, 5m, 2h, 1d).")


class TaskLine(TaskSpec, forbid_unknown_fields=True, frozen=True):
    """One line of a task file: the fields of a submission, and no others."""


def read_task_lines(lines: Iterable[bytes], name: str) -> list[TaskLine]:
    """The tasks of a file, one JSON object a line; empty lines are skipped, a bad one ends the reading."""
    decoder = msgspec.json.Decoder(TaskLine)
    found = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            found.append(decoder.decode(line))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            allowed = ", ".join(TaskLine.__struct_fields__)
            raise CommandError(
                f"{name}, line {number}: {error}. Each line is a JSON object with fields of: {allowed}. "
                "Nothing was submitted."
            ) from None
    if not found:
        raise CommandError(f"{name} holds no tasks. Write one JSON object a line.")
    return found
