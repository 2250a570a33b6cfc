"""Histories in files of JSON lines, one attempt per line, gzip when the name ends in .gz."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterable
from pathlib import Path
from typing import IO, cast

import msgspec

from aod.history import History, TaskHistory


class BadLine(msgspec.Struct, frozen=True):
    """A line that is no `TaskHistory`: its number, counted from 1, and why."""

    number: int
    reason: str


def parse(lines: Iterable[bytes | str]) -> tuple[History, list[BadLine]]:
    """The attempts of the good lines, and the bad lines; blank lines are neither.

    A line is one JSON object with the fields of `TaskHistory`; null is a number not known, other keys are
    ignored.
    """
    decoder = msgspec.json.Decoder(TaskHistory)
    rows: list[TaskHistory] = []
    bad: list[BadLine] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            rows.append(decoder.decode(line))
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            bad.append(BadLine(number, str(error)))
    return History.from_rows(rows), bad


def read_history(path: str | os.PathLike[str]) -> tuple[History, list[BadLine]]:
    """The attempts in a file and its bad lines; see `parse`.

    Raises
    ------
    OSError
        When the file cannot be read, or ends in .gz and is not gzip.
    """
    with _open(path, "rb") as file:
        return parse(file)


def write_history(history: History, path: str | os.PathLike[str]) -> None:
    """Write one line per attempt; `read_history` gives the same columns back."""
    encoder = msgspec.json.Encoder()
    with _open(path, "wb") as file:
        file.writelines(encoder.encode(row) + b"\n" for row in history.rows())


def _open(path: str | os.PathLike[str], mode: str) -> IO[bytes]:
    opener = gzip.open if Path(path).suffix == ".gz" else open
    return cast("IO[bytes]", opener(path, mode))
