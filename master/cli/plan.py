"""`rts plan`: where a task would go now, and whether it would make its deadline; nothing is submitted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from master.cli import output, why
from master.cli.connect import DEFAULT_MASTER, JsonOption, MasterOption, connect
from master.cli.failure import Exit
from master.cli.request import (
    CommandArgument,
    CpuOption,
    DeadlineOption,
    GpuOption,
    IdOption,
    ImageOption,
    MemoryOption,
    MultiplierOption,
    StorageOption,
    TimeLimitOption,
    TypeOption,
    UserOption,
    requested,
)

if TYPE_CHECKING:
    from rtscore.client import Plan

EPILOG = """\b
Exits 0 when the task is predicted to meet its deadline; 1 when it is
predicted to miss it, when no worker could ever take it, or when nobody can
say how long it would wait.
Examples:
  rts plan --cpu 2 --memory 4
  rts plan --gpu 1 --deadline 90s || echo 'not in time'
  rts plan --cpu 64 --json | jq .verdict
"""


def plan(
    command: CommandArgument = None,
    cpu: CpuOption = 0.0,
    memory: MemoryOption = 0.0,
    gpu: GpuOption = 0.0,
    storage: StorageOption = 0.0,
    task_type: TypeOption = "",
    sla_multiplier: MultiplierOption = 0.0,
    deadline: DeadlineOption = "",
    time_limit: TimeLimitOption = "0",
    image: ImageOption = "",
    task_id: IdOption = "",
    user: UserOption = "",
    master: MasterOption = DEFAULT_MASTER,
    as_json: JsonOption = False,
) -> None:
    """Say where a task would go now, and whether it would make its deadline.

    Takes the options of `rts submit` and submits nothing; a command is not needed.
    """
    spec = requested(
        command,
        cpu=cpu,
        memory=memory,
        gpu=gpu,
        storage=storage,
        task_type=task_type,
        sla_multiplier=sla_multiplier,
        deadline=deadline,
        time_limit=time_limit,
        image=image,
        task_id=task_id,
        user=user,
    )
    with connect(master) as client:
        found = client.plan(spec)
    if as_json:
        output.print_json(found)
    else:
        _show(found)
    if found.verdict != "meets":
        raise typer.Exit(Exit.NO)


def _show(plan: Plan) -> None:
    task = plan.task
    print(output.clean(f"{plan.summary[:1].upper()}{plan.summary[1:]}."))
    print(
        f"{task.task_type}, expected to run {output.duration(task.tau)}, deadline at "
        f"{output.instant(task.deadline)}. {_VERDICTS[plan.verdict]}"
    )
    if task.predicted_finish_at:
        print(_predicted(plan))
    if plan.decision is not None:
        why.print_decision(plan.decision)
    if plan.waiting is not None:
        why.print_waiting(plan.waiting)


_VERDICTS = {
    "meets": "It should meet it.",
    "misses": "It will probably miss it.",
    "never": "No worker could ever take it.",
    "unknown": "When it would start is not known.",
}


def _predicted(plan: Plan) -> str:
    task = plan.task
    late_s = task.predicted_finish_at - task.deadline
    by = f"{output.duration(abs(late_s))} {'after' if late_s > 0.0 else 'before'} its deadline"
    start = "" if plan.worker_id else f"starts at {output.instant(task.predicted_start_at)} and "
    chance = "" if task.deadline_chance is None else f" ({task.deadline_chance:.0%} chance in time)"
    return f"Probably {start}ends at {output.instant(task.predicted_finish_at)}, {by}{chance}."
