"""`rts explain`: why a task runs where it runs, or why it waits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from master.cli import output, why
from master.cli.connect import DEFAULT_MASTER, JsonOption, MasterOption, connect
from master.cli.tasks import TaskArgument

if TYPE_CHECKING:
    from rtscore.client import Explanation, PlacementRecord

EPILOG = """\b
Examples:
  rts explain 5f3c
  rts explain 5f3c --now
  rts explain 5f3c --json | jq .decision.candidates
"""


def explain(
    task_id: TaskArgument,
    now: Annotated[
        bool, typer.Option("--now", help="Show the workers as they are now, not at the decision.")
    ] = False,
    master: MasterOption = DEFAULT_MASTER,
    as_json: JsonOption = False,
) -> None:
    """Explain why a task is where it is, or why it waits.

    Of a placed task: the candidates at the moment of the decision, best first, with every term of
    risk = alpha * lateness + beta * load - affinity + penalty. Of a queued one: what goes first,
    and what each worker lacks.
    """
    with connect(master) as client:
        found = client.explain(task_id)
    if as_json:
        output.print_json(found)
        return
    print(output.clean(f"{found.summary}."))
    if found.placement is not None:
        print(_placed(found.placement))
    elif found.task.predicted_start_at:
        print(f"Probably starts at {output.instant(found.task.predicted_start_at)}{_chance(found)}.")
    if now:
        _print_now(found)
        return
    if found.decision is not None:
        why.print_decision(found.decision)
    if found.waiting is not None:
        why.print_waiting(found.waiting)


def _placed(placed: PlacementRecord) -> str:
    risk = "" if placed.risk is None else f" with risk {placed.risk:.3f}"
    return (
        f"Placed on {output.clean(placed.worker_id)} at {output.instant(placed.assigned_at)} by "
        f"{placed.source}{risk}.\nIt had load {placed.load_at_start:.2f}, and "
        f"{output.amount(placed.cpu_avail)} cores, {output.amount(placed.memory_avail)} GiB and "
        f"{output.amount(placed.gpu_avail)} gpu free."
    )


def _chance(found: Explanation) -> str:
    chance = found.task.deadline_chance
    return "" if chance is None else f", with {chance:.0%} chance to make its deadline"


def _print_now(found: Explanation) -> None:
    if not found.rows:
        print("There is nothing to show: no workers, or a scheduler that ranks none.")
        return
    print("The workers as they are now:")
    output.print_table(
        ("WORKER", "RISK", "RUNTIME", "LATE", "LOAD", "AFFINITY", "PENALTY", "LACKS"),
        [
            (
                row.worker_id,
                f"{row.risk:.3f}" if row.feasible else "-",
                output.duration(row.predicted_runtime_s) if row.feasible else "-",
                output.duration(row.lateness_s) if row.feasible else "-",
                f"{row.load:.2f}",
                f"{row.affinity:+.2f}",
                f"{row.penalty:.2f}",
                row.lacks,
            )
            for row in found.rows
        ],
        right=("RISK", "RUNTIME", "LATE", "LOAD", "AFFINITY", "PENALTY"),
    )
