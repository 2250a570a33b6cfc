"""`rts explain`: why a task runs where it runs, or why it waits."""

from __future__ import annotations

from master.cli import output
from master.cli.connect import DEFAULT_MASTER, JsonOption, MasterOption, connect
from master.cli.tasks import TaskArgument

EPILOG = """\b
Examples:
  rts explain 5f3c
  rts explain 5f3c --json | jq '.rows[0]'
"""


def explain(
    task_id: TaskArgument, master: MasterOption = DEFAULT_MASTER, as_json: JsonOption = False
) -> None:
    """Explain why a task is where it is, or why it waits.

    Shows every term of the decision for every worker, best first:
    risk = alpha * lateness + beta * load - affinity + penalty, and the least risk is chosen.
    """
    with connect(master) as client:
        found = client.explain(task_id)
    if as_json:
        output.print_json(found)
        return
    print(output.clean(found.summary))
    if (placed := found.placement) is not None:
        risk = "" if placed.risk is None else f" at risk {placed.risk:.3f}"
        print(
            f"Attempt {placed.attempt} was placed on {output.clean(placed.worker_id)} at "
            f"{output.instant(placed.assigned_at)} by {placed.source}{risk}, when its load was "
            f"{placed.load_at_start:.2f} and it had {output.amount(placed.cpu_avail)} cores, "
            f"{output.amount(placed.memory_avail)} GiB and {output.amount(placed.gpu_avail)} gpu free."
        )
    if not found.rows:
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
