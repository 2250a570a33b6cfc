"""What a task asks for, as options: those of `rts submit`, which `rts plan` takes as well."""

from __future__ import annotations

import shlex
import time
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rtscore.client import TaskSpec

CommandArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="COMMAND",
        help="Run by /bin/sh. One word is taken as a shell line; several are quoted. "
        "Write -- before a command with options of its own.",
    ),
]
CpuOption = Annotated[float, typer.Option(help="Cores.")]
MemoryOption = Annotated[float, typer.Option(help="GiB.")]
GpuOption = Annotated[float, typer.Option(help="Devices; fractions are allowed.")]
StorageOption = Annotated[float, typer.Option(help="GiB.")]
TypeOption = Annotated[
    str, typer.Option("--type", help="One of the six task types; inferred from the amounts when not given.")
]
MultiplierOption = Annotated[
    float, typer.Option(metavar="K", help="Deadline = submission + K times the type's expected runtime.")
]
DeadlineOption = Annotated[
    str, typer.Option(metavar="WHEN", help="From now (90s, 5m, 2h) or an instant (2030-01-31T12:00:00).")
]
TimeLimitOption = Annotated[
    str, typer.Option(metavar="TIME", help="How long the command may run (90s, 5m, 2h); 0: no limit.")
]
ImageOption = Annotated[str, typer.Option(help="Container image, for workers that run containers.")]
IdOption = Annotated[
    str, typer.Option("--id", help="The task's id: submitting the same again is then no second task.")
]
UserOption = Annotated[str, typer.Option(envvar="RTS_USER", help="Whose task it is.")]


def requested(
    command: list[str] | None,
    *,
    cpu: float,
    memory: float,
    gpu: float,
    storage: float,
    task_type: str,
    sla_multiplier: float,
    deadline: str,
    time_limit: str,
    image: str,
    task_id: str,
    user: str,
) -> TaskSpec:
    """The task that the options ask for."""
    from master.cli.values import parse_deadline, parse_duration
    from rtscore.client import TaskSpec

    words = command or []
    return TaskSpec(
        command=words[0] if len(words) == 1 else shlex.join(words),
        task_id=task_id,
        user_id=user,
        docker_image=image,
        cpu=cpu,
        memory=memory,
        gpu=gpu,
        storage=storage,
        task_type=task_type,
        sla_multiplier=sla_multiplier,
        deadline=parse_deadline(deadline, time.time()) if deadline else 0.0,
        time_limit_s=parse_duration(time_limit, "--time-limit"),
    )
