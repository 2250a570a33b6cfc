"""`rts workers`, `drain` and `stats`: the cluster as it stands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from master.cli import complete, output
from master.cli.connect import DEFAULT_MASTER, JsonOption, MasterOption, connect

WORKERS_EPILOG = """\b
Examples:
  rts workers
  rts workers --json | jq -r '.[] | select(.state != "active").worker_id'
"""

DRAIN_EPILOG = """\b
Examples:
  rts drain w1
  rts drain w1 --undo
"""

STATS_EPILOG = """\b
Examples:
  rts stats
  rts stats --json | jq .decision_p99_us
"""


def workers(master: MasterOption = DEFAULT_MASTER, as_json: JsonOption = False) -> None:
    """List the workers.

    Shows what is taken of what they have, their load, and what they have done.
    """
    with connect(master) as client:
        found = client.workers()
    if as_json:
        output.print_json(found)
        return
    if not found:
        output.say(f"No workers. Start one with `rts worker --master {master}`.")
        return
    output.print_table(
        ("WORKER", "STATE", "CPU", "MEMORY", "GPU", "STORAGE", "LOAD", "RUNNING", "DONE", "SLA"),
        [
            (
                worker.worker_id,
                worker.state,
                output.used(worker.total_cpu, worker.cpu_avail),
                output.used(worker.total_memory, worker.memory_avail),
                output.used(worker.total_gpu, worker.gpu_avail),
                output.used(worker.total_storage, worker.storage_avail),
                f"{worker.load:.2f}",
                str(worker.live_attempts),
                str(worker.tasks_finished),
                output.share(worker.sla_met, worker.tasks_finished),
            )
            for worker in found
        ],
        right=("CPU", "MEMORY", "GPU", "STORAGE", "LOAD", "RUNNING", "DONE", "SLA"),
        spare=("STORAGE", "DONE", "SLA", "GPU", "RUNNING", "MEMORY", "CPU"),
    )


def in_order(tau: Mapping[str, float]) -> list[tuple[str, float]]:
    """τ of each type, the types in their canonical order."""
    from rtscore import TASK_TYPES

    return [(str(name), tau[name]) for name in TASK_TYPES if name in tau]


def drain(
    worker_id: Annotated[
        str, typer.Argument(metavar="WORKER", help="The worker's id.", autocompletion=complete.worker_ids)
    ],
    undo: Annotated[bool, typer.Option("--undo", help="Place tasks there again.")] = False,
    master: MasterOption = DEFAULT_MASTER,
    as_json: JsonOption = False,
) -> None:
    """Place nothing new on a worker; what runs there goes on."""
    with connect(master) as client:
        found = client.drain(worker_id, drain=not undo)
    if as_json:
        output.print_json(found)
    else:
        running = f"{found.live_attempts} task{'' if found.live_attempts == 1 else 's'} running"
        print(f"{output.clean(found.worker_id)} {found.state}, {running}")


def stats(master: MasterOption = DEFAULT_MASTER, as_json: JsonOption = False) -> None:
    """Show the master's counters.

    Tasks by state, decisions and what they cost, the expected runtime (tau) of each type.
    """
    with connect(master) as client:
        found = client.stats()
    if as_json:
        output.print_json(found)
        return
    output.print_fields(
        [
            ("scheduler", found.scheduler),
            ("up since", output.instant(found.started_at)),
            ("queued", str(found.queued)),
            ("assigned", str(found.assigned)),
            ("running", str(found.running)),
            ("completed", str(found.completed)),
            ("failed", str(found.failed)),
            ("cancelled", str(found.cancelled)),
            ("decisions", f"{found.decisions}, {found.fallbacks} by the round-robin fallback"),
            ("latency", f"{found.decision_p50_us:.1f} µs (p50), {found.decision_p99_us:.1f} µs (p99)"),
            *((f"tau {name}", output.duration(tau)) for name, tau in in_order(found.tau)),
        ]
    )
