"""A process on a terminal that is emulated: what stands on its screen, and keys for it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator

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
        self._master, terminal = pty.openpty()
        self._size(width, height)
        # Not pexpect: it forks this process, and gRPC's threads in the child may end it before it is another.
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *command], stdin=terminal, stdout=terminal, stderr=terminal, env=env
        )
        os.close(terminal)
        self.said = ""
        self._screen = pyte.Screen(width, height)
        self._stream = pyte.ByteStream(self._screen)

    def press(self, *keys: str) -> None:
        for key in keys:
            os.write(self._master, key.encode())

    def resize(self, width: int, height: int) -> None:
        self.read()
        self._screen.resize(height, width)
        self._size(width, height)

    def _size(self, width: int, height: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def read(self) -> None:
        """Take in what has been written."""
        # The reading fails once nothing has the terminal open any more.
        with contextlib.suppress(OSError):
            while select.select([self._master], [], [], 0.05)[0]:
                written = os.read(self._master, 65536)
                self.said += written.decode(errors="replace")
                self._stream.feed(written)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._master)

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
            assert self.process.poll() is None, f"the process has ended; there is:\n{self.text}"

    def ended(self) -> int:
        """Wait for the process's end; its exit code."""
        deadline = time.monotonic() + PATIENCE_S
        while (code := self.process.poll()) is None:
            self.read()
            assert time.monotonic() < deadline, f"the process goes on; there is:\n{self.text}"
        self.read()
        return code


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
        opened.close()
