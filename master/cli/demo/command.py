"""`rts demo`: the command around the demo."""

from __future__ import annotations

import os
import sqlite3
import sys
from pathlib import Path
from typing import Annotated

import typer

from master.cli import output
from master.cli.connect import JsonOption
from master.cli.demo.workload import DEFAULT_TASKS, MAX_WORKERS, MIN_TASKS, MIN_WORKERS
from master.cli.failure import CommandError, Exit

EPILOG = """\b
Examples:
  rts demo
  rts demo --tasks 200 --seed 7 --json
  rts demo --dashboard
  rts demo --keep /tmp/demo && rts demo --keep /tmp/demo
"""


def demo(
    tasks: Annotated[
        int, typer.Option(min=MIN_TASKS, metavar="N", help="How many commands to submit.")
    ] = DEFAULT_TASKS,
    workers: Annotated[
        int,
        typer.Option(
            min=MIN_WORKERS, max=MAX_WORKERS, metavar="N", help="How many workers, of four sizes in turn."
        ),
    ] = MIN_WORKERS,
    seed: Annotated[
        int, typer.Option(metavar="N", help="Of the workload: the same seed, the same commands.")
    ] = 1,
    keep: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Leave the store and the logs in this directory; run again with it, the demo goes on with "
            "what it has learned.",
        ),
    ] = None,
    dashboard: Annotated[
        bool,
        typer.Option(
            "--dashboard",
            help="Start a dashboard beside it, and go on after the report until Ctrl-C.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Run a whole cluster on this machine, with real work, and report.

    Starts a master and workers as separate processes, submits real commands of all six task types and shows
    what happens. Exits 0 only if every command succeeded and every SLA figure agrees with the store. Ctrl-C
    stops everything that was started.
    """

    from master.cli.demo.processes import ChildFailedError, StoppedBySignalError
    from master.cli.demo.report import Report, print_report
    from master.cli.demo.run import NotReadyError, run_demo
    from master.cli.demo.view import choose_view
    from rtscore.client import ClientError

    def tell(report: Report) -> None:
        if as_json:
            output.print_json(report)
        else:
            print_report(report, cores=os.cpu_count() or 1)
        sys.stdout.flush()

    if keep is not None and keep.exists() and (not keep.is_dir() or _foreign(keep)):
        raise CommandError(f"--keep: {keep} is no new or empty directory, nor one of an earlier demo.")
    try:
        report = run_demo(tasks, workers, seed, keep, choose_view(), tell if dashboard else None)
    except StoppedBySignalError as stopped:
        output.say(f"The demo was {stopped}; everything that it started has ended.")
        sys.exit(128 + stopped.number)
    except sqlite3.DatabaseError as error:
        raise CommandError(f"--keep: {keep} holds an rts.db that cannot be read: {error}") from None
    except (ChildFailedError, NotReadyError, ClientError) as error:
        raise CommandError(f"The demo could not go on: {error}", Exit.NO) from None
    if not dashboard:
        tell(report)
    if report.problems:
        raise CommandError("\n".join(("The demo found problems:", *report.problems)), Exit.NO)
    if not as_json:
        print("Every task has an outcome, and every SLA figure agrees with the store.")


def _foreign(directory: Path) -> bool:
    """Whether a directory holds something, and no demo left it."""
    return any(directory.iterdir()) and not (directory / "rts.db").is_file()
