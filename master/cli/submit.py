"""`rts submit`: one command from the command line, or many from a file."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from master.cli import complete, output
from master.cli.connect import (
    CREDENTIAL_OPTIONS,
    DEFAULT_MASTER,
    WAIT_RETRY_FOR_S,
    JsonOption,
    MasterOption,
    connect,
)
from master.cli.failure import CommandError, Exit
from master.cli.interruptible import from_thread

if TYPE_CHECKING:
    from rtscore.client import TaskInfo, TaskSpec

EPILOG = """\b
Examples:
  rts submit --cpu 2 --memory 4 'gzip -k big.log'
  rts submit --cpu 1 --deadline 90s --wait -- python -m reports.daily --all
  rts submit --file tasks.jsonl --wait --json
"""


def submit(
    context: typer.Context,
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="COMMAND",
            help="Run by /bin/sh. One word is taken as a shell line; several are quoted. "
            "Write -- before a command with options of its own.",
        ),
    ] = None,
    cpu: Annotated[
        float, typer.Option(metavar="CORES", show_default=False, help="Cores that it needs.")
    ] = 0.0,
    memory: Annotated[
        float, typer.Option(metavar="GIB", show_default=False, help="Memory that it needs.")
    ] = 0.0,
    gpu: Annotated[
        float, typer.Option(metavar="N", show_default=False, help="Devices; fractions are allowed.")
    ] = 0.0,
    storage: Annotated[
        float, typer.Option(metavar="GIB", show_default=False, help="Storage that it needs.")
    ] = 0.0,
    task_type: Annotated[
        str,
        typer.Option(
            "--type",
            metavar="TYPE",
            help="cpu-light, cpu-heavy, memory-heavy, gpu-inference, gpu-training or mixed; inferred from "
            "what it needs when not given.",
            autocompletion=complete.task_types,
        ),
    ] = "",
    sla_multiplier: Annotated[
        float,
        typer.Option(
            metavar="K",
            show_default=False,
            help="Deadline = submission + K times the type's expected runtime; the master's when not given.",
        ),
    ] = 0.0,
    deadline: Annotated[
        str, typer.Option(metavar="WHEN", help="From now (90s, 5m, 2h) or an instant (2030-01-31T12:00:00).")
    ] = "",
    time_limit: Annotated[
        str, typer.Option(metavar="TIME", help="How long the command may run (90s, 5m, 2h); 0: no limit.")
    ] = "0",
    image: Annotated[
        str, typer.Option(metavar="NAME", help="Container image, for workers that run containers.")
    ] = "",
    task_id: Annotated[
        str,
        typer.Option(
            "--id", metavar="ID", help="The task's id: submitting the same again is then no second task."
        ),
    ] = "",
    user: Annotated[str, typer.Option(envvar="RTS_USER", metavar="NAME", help="Whose task it is.")] = "",
    file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Submit one task per line of this JSON lines file; - is stdin."),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for the end; exit 1 unless every task completed.")
    ] = False,
    master: MasterOption = DEFAULT_MASTER,
    as_json: JsonOption = False,
) -> None:
    """Submit a command, or a file of them.

    Prints the id of each task on stdout, and what else there is to say on stderr.
    """
    from rtscore.client import TaskSpec

    if file is not None:
        _refuse_beside_file(context)
        specs = _specs_of_file(file)
    else:
        from master.cli.values import parse_deadline, parse_duration

        if not command and not image:
            raise CommandError("There is no command. Give one, as in `rts submit 'sleep 1'`, or --file.")
        words = command or []
        spec = TaskSpec(
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
        specs = [spec]
    _submit(specs, master=master, many=file is not None, wait=wait, as_json=as_json)


def _refuse_beside_file(context: typer.Context) -> None:
    # What is said on the command line would silently not hold for the lines of the file.
    of_all = {"file", "wait", "master", "as_json", *CREDENTIAL_OPTIONS}
    for name in context.params.keys() - of_all:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            flag = "a command" if name == "command" else f"--{_FLAGS.get(name, name.replace('_', '-'))}"
            raise CommandError(f"--file and {flag} were both given; each line of the file says it all.")


_FLAGS = {"task_type": "type", "task_id": "id"}


def _specs_of_file(path: Path) -> Sequence[TaskSpec]:
    from master.cli.values import read_task_lines

    try:
        if str(path) == "-":
            return read_task_lines(sys.stdin.buffer, "stdin")
        with path.open("rb") as file:
            return read_task_lines(file, str(path))
    except OSError as error:
        raise CommandError(f"--file: {path} cannot be read: {error.strerror}.") from None


def _submit(specs: Sequence[TaskSpec], *, master: str, many: bool, wait: bool, as_json: bool) -> None:
    from rtscore.client import SubmitError

    with connect(master) as client:
        outcomes = client.submit_many(specs) if many else [client.submit(specs[0])]
    accepted = [outcome for outcome in outcomes if not isinstance(outcome, SubmitError)]
    refusals = [
        f"task {number}: {outcome.message}"
        for number, outcome in enumerate(outcomes, 1)
        if isinstance(outcome, SubmitError)
    ]
    if not as_json:
        for task in accepted:
            print(output.clean(task.task_id), flush=True)
            if not many:
                output.say(_accepted(task))
    if wait:
        ended = {task.task_id: task for task in _wait(accepted, master)}
        accepted = [ended[task.task_id] for task in accepted]
        if not as_json:
            for task in accepted:
                output.say(_ended(task))
    if as_json:
        found = iter(accepted)
        answers = [outcome if isinstance(outcome, SubmitError) else next(found) for outcome in outcomes]
        output.print_json(answers if many else answers[0])
    if refusals:
        raise CommandError("\n".join(("Some tasks were refused:", *refusals)), Exit.NO)
    if wait and any(task.state != "completed" for task in accepted):
        raise typer.Exit(Exit.NO)


def _wait(tasks: Sequence[TaskInfo], master: str) -> Sequence[TaskInfo]:
    def ended() -> Iterator[Sequence[TaskInfo]]:
        with connect(master, WAIT_RETRY_FOR_S) as client:
            yield client.wait([task.task_id for task in tasks])

    try:
        return next(from_thread(ended, "wait"))
    except KeyboardInterrupt:
        output.say("No longer waiting; the tasks go on. `rts cancel` ends them.")
        raise typer.Exit(130) from None


def _accepted(task: TaskInfo) -> str:
    waits = f" ({task.reason})" if task.reason else ""
    return (
        f"{task.state}{waits}: {task.task_type}, expected to run {output.duration(task.tau)}, "
        f"deadline at {output.instant(task.deadline)}{output.prediction(task)}"
    )


def _ended(task: TaskInfo) -> str:
    if task.sla_success is None:
        return f"{task.task_id} {task.state}{f': {task.reason}' if task.reason else ''}"
    late_s = task.finished_at - task.deadline
    verdict = f"{output.duration(abs(late_s))} {'before' if late_s <= 0.0 else 'after'}"
    reason = f" ({task.reason})" if task.reason else ""
    return (
        f"{task.task_id} {task.state}{reason} on {task.worker_id} in {output.duration(task.runtime_s)}, "
        f"{verdict} its deadline"
    )
