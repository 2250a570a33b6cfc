"""A bar on stderr while the replays run; nothing where stderr is no terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from master.cli import output

if TYPE_CHECKING:
    from master.cli.simulate.comparison import Advance


@contextmanager
def progress(total: int) -> Iterator[Advance]:
    """A bar of `total` steps; the function that is given takes steps done and what they are of."""
    terminal = output.console(stderr=True)
    if not terminal.is_terminal or terminal.is_dumb_terminal:
        yield lambda steps, what: None
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(*columns, console=terminal, transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda steps, what: bar.update(task, advance=steps, description=what)
