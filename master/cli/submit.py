"""`rts submit`: one command from the command line, or many from a file."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from master.cli import output
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
    from rtscore.client import TaskInfo, TaskSpec

EPILOG = """\b
Examples:
  rts submit --cpu 2 --memory 4 'gzip -k big.log'
  rts submit --cpu 1 --deadline 90s --wait -- python -m reports.daily --all
  rts submit --file tasks.jsonl --wait --json
"""


def submit(
    context: typer.Context,
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
    if file is not None:
        _refuse_beside_file(context)
        specs = _specs_of_file(file)
    else:
        if not command and not image:
            raise CommandError("There is no command. Give one, as in `rts submit 'sleep 1'`, or --file.")
        specs = [
            requested(
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
        ]
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
    ran = f" in {output.duration(task.runtime_s)}" if task.runtime_s else ""
    return f"{task.task_id} {task.state}{reason} on {task.worker_id}{ran}, {verdict} its deadline"
