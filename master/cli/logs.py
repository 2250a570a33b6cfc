"""`rts logs`: what a task has printed, and with -f what it prints from now on."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from master.cli import output
from master.cli.connect import DEFAULT_MASTER, WAIT_RETRY_FOR_S, MasterOption, connect
from master.cli.failure import Exit

if TYPE_CHECKING:
    from rtscore.client import LogPiece

EPILOG = """\b
Examples:
  rts logs 5f3c
  rts logs -f 5f3c
  rts logs -f 5f3c > run.log && echo completed
"""

# Between the thread that reads and the terminal: beyond it the master waits, and tells what was missed.
_PIECES = 16


def logs(
    task_id: Annotated[str, typer.Argument(metavar="TASK", help="The task's id.")],
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
        for piece in _so_far(task_id, master):
            _print(piece)
        return
    state = ""
    try:
        for piece in _followed(task_id, master):
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


def _so_far(task_id: str, master: str) -> Iterator[LogPiece]:
    with connect(master) as client:
        yield from client.log_pieces(task_id)


def _followed(task_id: str, master: str) -> Iterator[LogPiece]:
    from queue import Queue
    from threading import Thread

    pieces: Queue[LogPiece | BaseException | None] = Queue(_PIECES)

    def read() -> None:
        try:
            with connect(master, WAIT_RETRY_FOR_S) as client:
                for piece in client.log_pieces(task_id, follow=True):
                    pieces.put(piece)
        except BaseException as error:
            pieces.put(error)
        else:
            pieces.put(None)

    # As in `rts submit --wait`: interrupts come to the main thread, so gRPC is kept out of it.
    Thread(target=read, name="logs", daemon=True).start()
    while (piece := pieces.get()) is not None:
        if isinstance(piece, BaseException):
            raise piece
        yield piece
