"""How `rts` prints: JSON, tables that never cut an id, fields and times, all safe for a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from rich.console import Console

    from rtscore.client import TaskInfo

STYLES = {
    "completed": "green",
    "met": "green",
    "active": "green",
    "running": "cyan",
    "assigned": "cyan",
    "failed": "red",
    "missed": "red",
    "lost": "red",
    "cancelled": "yellow",
    "draining": "yellow",
    "stopping": "yellow",
    "inactive": "yellow",
}

# Wide enough for every cell that a pipe may want whole; rich pads a table to its content, not to this.
_PIPE_WIDTH = 100_000


def print_json(value: Any) -> None:
    """Print one JSON document, indented; NaN and infinity become null."""
    text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    sys.stdout.write(text + "\n")


def console(stderr: bool = False) -> Console:
    """A rich console on stdout or stderr: the terminal's width on one, no limit in a pipe."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _PIPE_WIDTH
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False)


def say(message: str) -> None:
    """Print a sentence for people on stderr, where it does not mix with what programs read."""
    sys.stderr.write(clean(message) + "\n")


def clean(text: str) -> str:
    """The text with control characters written out, so that a task's name cannot drive the terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else repr(c)[1:-1] for c in text)


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    right: Iterable[str] = (),
    spare: Iterable[str] = (),
) -> None:
    """Print rows under headings; the columns in `right` hold numbers.

    On a narrow terminal the columns in `spare` are left out, the first one first, until the rest fits; what
    still does not is folded, never cut. A pipe gets everything.
    """
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    screen = console()
    cells = [[clean(cell) for cell in row] for row in rows]
    widths = {
        name: max(cell_len(text) for text in (name, *(row[number] for row in cells)))
        for number, name in enumerate(columns)
    }
    for name in spare:
        if sum(widths.values()) + len(widths) - 1 <= screen.width:
            break
        del widths[name]
    numbers = set(right)
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    for name in widths:
        table.add_column(Text(name), justify="right" if name in numbers else "left", overflow="fold")
    for row in cells:
        shown = [cell for name, cell in zip(columns, row, strict=True) if name in widths]
        table.add_row(*(Text(cell, style=STYLES.get(cell, "")) for cell in shown))
    screen.print(table)


def print_fields(pairs: Iterable[tuple[str, str]]) -> None:
    """Print names and values below each other; a pair with an empty value is left out."""
    shown = [(name, value) for name, value in pairs if value]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        head, *more = clean(value).splitlines() or [""]
        sys.stdout.write(f"{name:<{width}}  {head}\n")
        for line in more:
            sys.stdout.write(f"{'':<{width}}  {line}\n")


def instant(unix_s: float) -> str:
    """A Unix time as local time, the date left out when it is today; empty for 0."""
    if not unix_s:
        return ""
    at = datetime.fromtimestamp(unix_s)
    return at.strftime("%H:%M:%S" if at.date() == datetime.now().date() else "%Y-%m-%d %H:%M:%S")


def duration(seconds: float) -> str:
    """Seconds with the digits that matter: 0.25 s, 12.3 s, 4m10s, 3h05m."""
    if seconds < 0:
        return "-" + duration(-seconds)
    if seconds < 10:
        return f"{seconds:.2f} s"
    if seconds < 99.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def prediction(task: TaskInfo) -> str:
    """When a task will probably finish and its chance to make its deadline, to follow a sentence on it."""
    if not task.predicted_finish_at:
        return ""
    chance = (
        "" if task.deadline_chance is None else f", which it makes with {task.deadline_chance:.0%} chance"
    )
    return f"{chance}; probably finished at {instant(task.predicted_finish_at)}"


def amount(value: float) -> str:
    """An amount without digits that say nothing: 4, 0.5, 12.25."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def share(part: float, whole: float) -> str:
    """`part` of `whole` in percent; a dash when there is nothing to divide."""
    return f"{100 * part / whole:.0f} %" if whole else "-"


def used(total: float, available: float) -> str:
    """How much of a total is taken: 3/16."""
    return f"{amount(total - available)}/{amount(total)}"
