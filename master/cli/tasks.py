"""`rts tasks`, `task` and `cancel`: what became of the tasks, and ending them."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from master.cli import complete, output
from master.cli.complete import STATES
from master.cli.connect import DEFAULT_MASTER, JsonOption, MasterOption, connect, refusal
from master.cli.failure import CommandError, Exit

if TYPE_CHECKING:
    from rtscore.client import TaskInfo

TASKS_EPILOG = """\b
Examples:
  rts tasks
  rts tasks --state queued --state running
  rts tasks --json | jq -r '.[] | select(.sla_success == false).task_id'
"""

TASK_EPILOG = """\b
Examples:
  rts task 5f3c
  rts task 5f3c --json | jq .state
"""

CANCEL_EPILOG = """\b
Examples:
  rts cancel 5f3c 9d21
"""

TaskArgument = Annotated[
    str, typer.Argument(metavar="TASK", help="The task's id.", autocompletion=complete.task_ids)
]


def sla_word(task: TaskInfo) -> str:
    """Whether the deadline was met, in a word; empty while nobody can tell."""
    return "" if task.sla_success is None else "met" if task.sla_success else "missed"


def tasks(
    state: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STATE",
            help=f"One of {', '.join(STATES)}; may be repeated.",
            autocompletion=complete.states,
        ),
    ] = None,
    user: Annotated[str, typer.Option(metavar="NAME", help="Only this user's.")] = "",
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="At most so many, the newest.")] = 100,
    master: MasterOption = DEFAULT_MASTER,
    as_json: JsonOption = False,
) -> None:
    """List tasks, newest submission first."""
    for name in state or ():
        if name not in STATES:
            raise CommandError(f"--state: {name!r} is none of {', '.join(STATES)}.")
    with connect(master) as client:
        found = list(islice(client.tasks(states=state or (), user_id=user), limit))
    if as_json:
        output.print_json(found)
        return
    if not found:
        output.say("No such tasks.")
        return
    output.print_table(
        ("TASK", "STATE", "TYPE", "WORKER", "RUNTIME", "SLA"),
        [
            (
                task.task_id,
                task.state,
                task.task_type,
                task.worker_id,
                output.duration(task.runtime_s) if task.runtime_s else "",
                sla_word(task),
            )
            for task in found
        ],
        right=("RUNTIME",),
        spare=("RUNTIME", "TYPE", "WORKER"),
    )


def task_fields(task: TaskInfo) -> list[tuple[str, str]]:
    """Everything about one task, as names and values; what there is nothing to say of is empty."""
    lateness_s = task.finished_at - task.deadline
    how = f"{output.duration(abs(lateness_s))} {'late' if lateness_s > 0 else 'to spare'}"
    if task.sla_success is False and lateness_s <= 0:
        how = "it failed"
    verdict = f"{sla_word(task)} ({how})"
    return [
        ("task", task.task_id),
        ("state", task.state),
        ("reason", task.reason),
        ("command", task.command),
        ("image", task.docker_image),
        ("user", task.user_id),
        ("type", f"{task.task_type}, expected {output.duration(task.tau)}"),
        ("request", _request(task)),
        ("time limit", output.duration(task.time_limit_s) if task.time_limit_s else ""),
        ("worker", task.worker_id),
        ("attempt", str(task.attempt) if task.attempt else ""),
        ("submitted", output.instant(task.submitted_at)),
        ("assigned", output.instant(task.assigned_at)),
        ("started", output.instant(task.started_at)),
        ("finished", output.instant(task.finished_at)),
        ("runtime", output.duration(task.runtime_s) if task.runtime_s else ""),
        ("exit code", "" if task.exit_code is None else str(task.exit_code)),
        ("deadline", output.instant(task.deadline)),
        ("chance", "" if task.deadline_chance is None else f"{task.deadline_chance:.0%} to make it"),
        ("probably", _course(task)),
        ("SLA", verdict if task.sla_success is not None else ""),
    ]


def _course(task: TaskInfo) -> str:
    finish = f"finished at {output.instant(task.predicted_finish_at)}" if task.predicted_finish_at else ""
    if task.state == "queued" and task.predicted_start_at:
        return f"started at {output.instant(task.predicted_start_at)}, {finish}"
    return finish


def _request(task: TaskInfo) -> str:
    amounts = (
        (task.cpu, "cores"),
        (task.memory, "GiB memory"),
        (task.gpu, "gpu"),
        (task.storage, "GiB storage"),
    )
    return ", ".join(f"{output.amount(value)} {unit}" for value, unit in amounts if value) or "nothing"


def task(task_id: TaskArgument, master: MasterOption = DEFAULT_MASTER, as_json: JsonOption = False) -> None:
    """Show one task.

    Its state, where and when it ran, and whether it met its deadline.
    """
    with connect(master) as client:
        found = client.task(task_id)
    if as_json:
        output.print_json(found)
    else:
        output.print_fields(task_fields(found))


def cancel(
    task_ids: Annotated[
        list[str],
        typer.Argument(metavar="TASK", help="The tasks' ids.", autocompletion=complete.open_task_ids),
    ],
    master: MasterOption = DEFAULT_MASTER,
    as_json: JsonOption = False,
) -> None:
    """Cancel tasks, queued or running."""
    from rtscore.client import RequestError

    cancelled = []
    refusals = []
    with connect(master) as client:
        for task_id in task_ids:
            try:
                cancelled.append(client.cancel(task_id))
            except RequestError as error:
                refusals.append(refusal(error))
    if as_json:
        output.print_json(cancelled)
    else:
        for found in cancelled:
            print(f"{output.clean(found.task_id)} cancelled")
    if refusals:
        raise CommandError("\n".join(refusals), Exit.NO)
