"""What a task asks for, as options: those of `rts submit`, which `rts plan` takes as well."""

from __future__ import annotations

import shlex
import time
from typing import TYPE_CHECKING, Annotated

import typer

from master.cli import complete

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
CpuOption = Annotated[float, typer.Option(metavar="CORES", show_default=False, help="Cores that it needs.")]
MemoryOption = Annotated[float, typer.Option(metavar="GIB", show_default=False, help="Memory that it needs.")]
GpuOption = Annotated[
    float, typer.Option(metavar="N", show_default=False, help="Devices; fractions are allowed.")
]
StorageOption = Annotated[
    float, typer.Option(metavar="GIB", show_default=False, help="Storage that it needs.")
]
TypeOption = Annotated[
    str,
    typer.Option(
        "--type",
        metavar="TYPE",
        help="cpu-light, cpu-heavy, memory-heavy, gpu-inference, gpu-training or mixed; inferred from "
        "what it needs when not given.",
        autocompletion=complete.task_types,
    ),
]
MultiplierOption = Annotated[
    float,
    typer.Option(
        metavar="K",
        show_default=False,
        help="Deadline = submission + K times the type's expected runtime; the master's when not given.",
    ),
]
DeadlineOption = Annotated[
    str, typer.Option(metavar="WHEN", help="From now (90s, 5m, 2h) or an instant (2030-01-31T12:00:00).")
]
TimeLimitOption = Annotated[
    str, typer.Option(metavar="TIME", help="How long the command may run (90s, 5m, 2h); 0: no limit.")
]
ImageOption = Annotated[
    str, typer.Option(metavar="NAME", help="Container image, for workers that run containers.")
]
IdOption = Annotated[
    str,
    typer.Option(
        "--id", metavar="ID", help="The task's id: submitting the same again is then no second task."
    ),
]
UserOption = Annotated[str, typer.Option(envvar="RTS_USER", metavar="NAME", help="Whose task it is.")]


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
