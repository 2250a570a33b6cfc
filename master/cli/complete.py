"""What the shell offers after TAB: tasks and workers of the cluster, states, types; or nothing, silently."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import typer

from master.cli.connect import CREDENTIAL_OPTIONS, DEFAULT_MASTER, credentials, quiet_grpc

if TYPE_CHECKING:
    from rtscore.client import MasterClient

STATES = ("queued", "assigned", "running", "completed", "failed", "cancelled")

# Somebody waits with a finger on TAB.
_TIMEOUT_S = 2.0
_MOST = 100
# The master refuses a longer text.
LONGEST_TEXT = 256


def task_ids(context: typer.Context, incomplete: str) -> list[str]:
    """Ids of the newest tasks that begin like this."""
    return _tasks(context, incomplete, ())


def open_task_ids(context: typer.Context, incomplete: str) -> list[str]:
    """Ids of the newest tasks that have not finished and begin like this."""
    return _tasks(context, incomplete, ("queued", "assigned", "running"))


def worker_ids(context: typer.Context, incomplete: str) -> list[str]:
    """Ids of workers that begin like this."""
    text = incomplete[:LONGEST_TEXT]
    found = _ask(
        context,
        lambda client: [
            worker.worker_id for worker in client.worker_page(text=text, page_size=_MOST).workers
        ],
    )
    return _beginning(found, incomplete)


def states(incomplete: str) -> list[str]:
    """States of a task that begin like this."""
    return _beginning(STATES, incomplete)


def task_types(incomplete: str) -> list[str]:
    """Types of a task that begin like this."""
    from rtscore import TASK_TYPES

    return _beginning([str(name) for name in TASK_TYPES], incomplete)


def _tasks(context: typer.Context, incomplete: str, wanted: Sequence[str]) -> list[str]:
    text = incomplete[:LONGEST_TEXT]
    found = _ask(
        context,
        lambda client: [task.task_id for task in client.task_page(wanted, text=text, page_size=_MOST).tasks],
    )
    given = context.params.get("task_ids") or ()
    return [task_id for task_id in _beginning(found, incomplete) if task_id not in given]


def _beginning(names: Sequence[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def _ask(context: typer.Context, question: Callable[[MasterClient], list[str]]) -> list[str]:
    """What the master of the line so far answers; nothing when anything goes wrong."""
    # A word on the terminal would stand amid the line that is being typed.
    with (
        contextlib.suppress(Exception),
        open(os.devnull, "w") as silence,
        contextlib.redirect_stderr(silence),
    ):
        quiet_grpc()
        from rtscore.client import MasterClient

        given = context.params
        shown = credentials(**{name: given.get(name) or "" for name in CREDENTIAL_OPTIONS})
        with MasterClient(
            given.get("master") or DEFAULT_MASTER,
            timeout_s=_TIMEOUT_S,
            retry_for_s=0.0,
            tls=shown.tls,
            token=shown.token,
        ) as client:
            return question(client)
    return []
