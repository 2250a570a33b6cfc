"""What an exit code says of a command's end, in words."""

from __future__ import annotations

import signal


def exit_reason(returncode: int) -> str:
    """Return why a command failed, empty for 0; a negative number is that of the signal that killed it."""
    if returncode == 0:
        return ""
    if returncode < 0:
        return f"killed by {_signal_name(-returncode) or f'signal {-returncode}'}"
    # The shell's way to say that a command it ran was killed.
    name = _signal_name(returncode - 128)
    return f"exit code {returncode}" + (f" ({name})" if name else "")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return ""
