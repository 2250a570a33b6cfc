"""Files of JSON lines, one object a line: histories, and whatever else has a type and a check."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, TypeVar, cast

import msgspec

from aod.history import History, TaskHistory

T = TypeVar("T")


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
    """The attempts in a file (gzip when its name ends in .gz) and its bad lines; see `parse`.

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


def read_objects(path: str | os.PathLike[str], kind: type[T], check: Callable[[T], None]) -> list[T]:
    """The objects of a file, in its order; blank lines are skipped, and one bad line refuses the file.

    Parameters
    ----------
    kind : type
        What a line holds.
    check : callable
        Raises ValueError for an object that is not allowed; called in order.

    Raises
    ------
    OSError
        When the file cannot be read.
    ValueError
        When a line is no such object, or is not allowed; the message has its number.
    """
    decoder = msgspec.json.Decoder(kind)
    found: list[T] = []
    with Path(path).open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                each = decoder.decode(line)
                check(each)
            except ValueError as error:
                raise ValueError(f"{os.fspath(path)}:{number}: {error}") from None
            found.append(each)
    return found


def _open(path: str | os.PathLike[str], mode: str) -> IO[bytes]:
    opener = gzip.open if Path(path).suffix == ".gz" else open
    return cast("IO[bytes]", opener(path, mode))
