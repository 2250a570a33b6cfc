"""The exit codes of `rts`, and the exception that ends a command with one of them and a sentence."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """What the exit code of `rts` means."""

    DONE = 0
    NO = 1
    USAGE = 2
    UNREACHABLE = 3


class CommandError(Exception):
    """The command ends here: `message` goes to stderr and says what to do next, `code` to the shell."""

    def __init__(self, message: str, code: Exit = Exit.USAGE) -> None:
        super().__init__(message)
        self.code = code
