"""How the dashboard says times, shares and text of strangers."""

from __future__ import annotations

import re
import time
from datetime import datetime

from master.cli import output

# Colours and cursor movements of a terminal; a page has neither.
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")


def ago(at: float) -> str:
    """How long ago an instant was, or how far it is ahead: 12 s ago, in 3 min; empty for 0."""
    if not at:
        return ""
    seconds = time.time() - at
    if abs(seconds) < 1:
        return "now"
    return f"{span(seconds)} ago" if seconds > 0 else f"in {span(-seconds)}"


def span(seconds: float) -> str:
    """A duration in its largest unit: 12 s, 4 min, 3 h, 2 d."""
    for size, unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size or (seconds >= size and unit == "d"):
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def exact(at: float) -> str:
    """An instant in local time with its zone, for hovering; empty for 0."""
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z") if at else ""


def clock(at: float) -> str:
    """The time of day of an instant; empty for 0."""
    return datetime.fromtimestamp(at).strftime("%H:%M:%S") if at else ""


def percent(part: float, whole: float) -> float:
    """`part` of `whole` in percent, between 0 and 100; 0 when there is nothing to divide."""
    return round(100 * min(max(part / whole, 0.0), 1.0), 1) if whole > 0 else 0.0


def count(value: int) -> str:
    """A whole number with its thousands apart."""
    return f"{value:,}".replace(",", "\u202f")


def plural(number: int, noun: str) -> str:
    """1 task, 2 tasks."""
    return f"{count(number)} {noun}{'' if number == 1 else 's'}"


def printed(text: str) -> str:
    """What a task printed, as lines of text: no colours, no cursor movements, a new line for each return."""
    plain = _ESCAPES.sub("", text).replace("\r\n", "\n").replace("\r", "\n")
    return output.clean(plain)


def short(seconds: float) -> str:
    """A duration as `output.duration` says it, without hundredths."""
    return f"{max(0.0, seconds):.1f} s" if seconds < 99.95 else output.duration(seconds)
