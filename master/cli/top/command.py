"""`rts top`: workers, tasks and rates on a terminal, as they are now."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from master.cli import output
from master.cli.connect import DEFAULT_MASTER, JsonOption, MasterOption, connect
from master.cli.failure import CommandError
from master.cli.interruptible import from_thread

if TYPE_CHECKING:
    from master.cli.top.columns import Column
    from master.cli.top.picture import Picture

R = TypeVar("R")

EPILOG = """\b
Examples:
  rts top
  rts top --interval 5
  rts top --once
  rts top --once --json | jq .stats.queued
"""


def top(
    interval: Annotated[
        float, typer.Option(min=0.1, max=3600, metavar="SECONDS", help="Between two looks at the cluster.")
    ] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Print the cluster as it is now, and end.")] = False,
    master: MasterOption = DEFAULT_MASTER,
    as_json: JsonOption = False,
) -> None:
    """Watch workers, tasks, rates and deadlines on the terminal.

    Inside, ? lists the keys: w and t show workers and tasks, / filters, < and > sort, Enter tells everything
    about one of them, d drains a worker, c cancels a task, q quits. Works from 60x15 characters on, without
    colours too (NO_COLOR=1).
    """
    if as_json and not once:
        raise CommandError("--json goes with --once: add --once.")
    if not once and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise CommandError(
            "rts top needs a terminal, and this is none. Use --once to print the cluster once."
        )
    if once:
        _print_once(master, as_json)
    else:
        _watch(master, interval)


def _print_once(master: str, as_json: bool) -> None:
    from master.cli.top.picture import MANY, Wanted, look

    with connect(master) as client:
        picture = look(client, Wanted(tasks=MANY, workers=MANY))
    if as_json:
        output.print_json(picture)
        return
    _print_picture(master, picture)


def _print_picture(master: str, picture: Picture) -> None:
    from master.cli.top.columns import TASK_COLUMNS, WORKER_COLUMNS
    from master.cli.top.header import header
    from master.cli.top.picture import Rates

    screen = output.console()
    width = screen.width
    for line in header(master, picture, Rates(), width):
        print("".join(text for text, _ in line))
    _print_rows(WORKER_COLUMNS, picture.workers, picture.now)
    _print_rows(TASK_COLUMNS, picture.tasks, picture.now)
    if picture.more_workers:
        output.say(f"{picture.more_workers} more workers are there; `rts workers` lists all.")
    if picture.more_tasks:
        output.say(f"{picture.more_tasks} more tasks wait or run; `rts tasks --limit N` lists them.")


def _print_rows(columns: Sequence[Column[R]], rows: Sequence[R], at: float) -> None:
    if not rows:
        return
    print()
    output.print_table(
        [column.heading for column in columns],
        [[column.text(row, at) for column in columns] for row in rows],
        right=[column.heading for column in columns if column.right],
        spare=[column.heading for column in sorted(columns, key=lambda column: -column.rank) if column.rank],
    )


def _watch(master: str, interval: float) -> None:
    from master.cli.top.poller import Poller
    from master.cli.top.screen import show
    from master.cli.top.view import View

    view = View(str(master))
    with connect(master) as client:
        # The first answer, or the sentence why there is none, before the terminal is taken.
        next(from_thread(lambda: [client.stats()], "top-first"))
        poller = Poller(client, interval, view.wanted)
        view.attach(poller)
        poller.start()
        try:
            show(view)
        finally:
            poller.leave()
