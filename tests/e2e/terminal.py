"""A process on a terminal that is emulated: what stands on its screen, and keys for it."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import Any

import pexpect
import pyte
from rts_processes import RTS, environment

# Long: the suite may run beside others on a machine with two cores.
PATIENCE_S = 60.0

UP, DOWN, RIGHT, LEFT = "\x1bOA", "\x1bOB", "\x1bOC", "\x1bOD"
PAGE_UP, PAGE_DOWN = "\x1b[5~", "\x1b[6~"
ENTER, ESCAPE, BACKSPACE, TAB = "\r", "\x1b", "\x7f", "\t"


class Terminal:
    """One process and its screen; sizes are columns and lines."""

    def __init__(self, command: list[str], width: int = 80, height: int = 24, **settings: str) -> None:
        env = environment() | {"TERM": "xterm", "LC_ALL": "C.UTF-8"} | settings
        # A real terminal does not export its size, and one with colours says nothing of them.
        del env["COLUMNS"]
        if settings.get("NO_COLOR") is None:
            del env["NO_COLOR"]
        self.process: Any = pexpect.spawn(
            command[0], command[1:], env=env, dimensions=(height, width), encoding="utf-8", timeout=PATIENCE_S
        )
        self.said = ""
        self._screen = pyte.Screen(width, height)
        self._stream = pyte.Stream(self._screen)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.process.send(key)

    def resize(self, width: int, height: int) -> None:
        self.read()
        self._screen.resize(height, width)
        self.process.setwinsize(height, width)

    def read(self) -> None:
        """Take in what has been written."""
        with contextlib.suppress(pexpect.TIMEOUT, pexpect.EOF):
            while True:
                text = self.process.read_nonblocking(65536, timeout=0.05)
                self.said += text
                self._stream.feed(text)

    @property
    def lines(self) -> list[str]:
        """The screen as it stood when `read` was called last."""
        return [line.rstrip() for line in self._screen.display]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def colours(self) -> set[str]:
        """The colours of letters on the screen."""
        rows = self._screen.buffer.values()
        return {cell.fg for row in rows for cell in row.values()} - {"default"}

    def shows(self, *texts: str, without: tuple[str, ...] = ()) -> str:
        """Wait until the screen has all of these and none of those; returns its text."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            self.read()
            if all(text in self.text for text in texts) and not any(text in self.text for text in without):
                return self.text
            assert time.monotonic() < deadline, (
                f"{texts} without {without} did not come; there is:\n{self.text}"
            )
            assert self.process.isalive() or not deadline, f"the process has ended; there is:\n{self.text}"

    def ended(self) -> int:
        """Wait for the process's end; its exit code."""
        deadline = time.monotonic() + PATIENCE_S
        while self.process.isalive():
            self.read()
            assert time.monotonic() < deadline, f"the process goes on; there is:\n{self.text}"
        self.read()
        self.process.close()
        status: int = self.process.exitstatus
        return status


@contextlib.contextmanager
def terminal(*arguments: str, width: int = 80, height: int = 24, **settings: str) -> Iterator[Terminal]:
    """`rts` with these arguments on a terminal, for the time of a `with` block."""
    with program([*RTS, *arguments], width, height, **settings) as opened:
        yield opened


@contextlib.contextmanager
def program(command: list[str], width: int = 80, height: int = 24, **settings: str) -> Iterator[Terminal]:
    """Any program on a terminal; what is left of it is killed."""
    opened = Terminal(command, width, height, **settings)
    try:
        yield opened
    except BaseException:
        print(opened.text, file=sys.stderr)
        raise
    finally:
        opened.process.close(force=True)
