"""`rts logs`: what a task has printed, and with -f what it prints from now on."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from master.cli import output
from master.cli.connect import DEFAULT_MASTER, RETRY_FOR_S, WAIT_RETRY_FOR_S, MasterOption, connect
from master.cli.failure import Exit
from master.cli.interruptible import from_thread
from master.cli.tasks import TaskArgument

if TYPE_CHECKING:
    from rtscore.client import LogPiece

EPILOG = """\b
Examples:
  rts logs 5f3c
  rts logs -f 5f3c
  rts logs -f 5f3c > run.log && echo completed
"""


def logs(
    task_id: TaskArgument,
    follow: Annotated[
        bool,
        typer.Option("--follow", "-f", help="Go on until the task has ended; exit 1 unless it completed."),
    ] = False,
    master: MasterOption = DEFAULT_MASTER,
) -> None:
    """Print what a task has written so far.

    Stdout is what the task printed and nothing else; what is missing of it is said on stderr. Of much output
    the last part is kept. With --follow a task that is queued is waited for, and one that is repeated is
    followed through all of its attempts.
    """
    if not follow:
        for piece in _pieces(task_id, master, follow=False):
            _print(piece)
        return
    state = ""
    try:
        for piece in from_thread(lambda: _pieces(task_id, master, follow=True), "logs"):
            _print(piece)
            sys.stdout.flush()
            _say_state(task_id, piece)
            state = piece.state
    except KeyboardInterrupt:
        output.say(f"No longer following; {task_id} goes on.")
        raise typer.Exit(130) from None
    if state != "completed":
        raise typer.Exit(Exit.NO)


def _print(piece: LogPiece) -> None:
    if piece.missed:
        sys.stdout.flush()
        output.say(f"[{piece.missed} bytes are missing here]")
    sys.stdout.write(piece.text)


def _say_state(task_id: str, piece: LogPiece) -> None:
    if piece.state == "queued":
        output.say(f"{task_id} is queued; what it prints will follow")
    elif piece.state == "running" and piece.attempt > 1:
        output.say(f"{task_id} runs again, attempt {piece.attempt}; what it prints begins anew")
    elif piece.last:
        output.say(f"{task_id} {piece.state}")


def _pieces(task_id: str, master: str, *, follow: bool) -> Iterator[LogPiece]:
    with connect(master, WAIT_RETRY_FOR_S if follow else RETRY_FOR_S) as client:
        yield from client.log_pieces(task_id, follow=follow)
