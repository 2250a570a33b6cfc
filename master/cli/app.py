"""`rts`: the commands by name, and the one place where an error becomes a sentence and an exit code."""

from __future__ import annotations

import io
import sys
from importlib.metadata import version
from typing import Annotated

import typer

from master.cli import certs, explain, logs, migrate, params, plan, serve, submit, tasks, train, workers
from master.cli.connect import reaches_master
from master.cli.dashboard import command as dashboard
from master.cli.demo import command as demo
from master.cli.failure import CommandError, Exit
from master.cli.sections import CLUSTER, KEEP, LEARN, RUN, TASKS, Sections
from master.cli.simulate import command as simulate
from master.cli.top import command as top

# Plain help: rich's costs 60 ms more, and boxes around options when they are piped.
app = typer.Typer(
    name="rts",
    cls=Sections,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help="A deadline-aware task scheduler: run its master and workers, submit commands, see what they do.",
    epilog="Exit codes: 0 done, 1 the answer is no, 2 wrong use, 3 no master answers.",
)

app.command(epilog=demo.EPILOG, rich_help_panel=RUN)(demo.demo)
app.command(epilog=serve.MASTER_EPILOG, rich_help_panel=RUN)(serve.master)
app.command(epilog=serve.WORKER_EPILOG, rich_help_panel=RUN)(serve.worker)
app.command(epilog=submit.EPILOG, rich_help_panel=TASKS)(reaches_master(submit.submit))
app.command(epilog=tasks.TASKS_EPILOG, rich_help_panel=TASKS)(reaches_master(tasks.tasks))
app.command(epilog=tasks.TASK_EPILOG, rich_help_panel=TASKS)(reaches_master(tasks.task))
app.command(epilog=logs.EPILOG, rich_help_panel=TASKS)(reaches_master(logs.logs))
app.command(epilog=explain.EPILOG, rich_help_panel=TASKS)(reaches_master(explain.explain))
app.command(epilog=plan.EPILOG, rich_help_panel=TASKS)(reaches_master(plan.plan))
app.command(epilog=tasks.CANCEL_EPILOG, rich_help_panel=TASKS)(reaches_master(tasks.cancel))
app.command(epilog=top.EPILOG, rich_help_panel=CLUSTER)(reaches_master(top.top))
app.command(epilog=dashboard.EPILOG, rich_help_panel=CLUSTER)(reaches_master(dashboard.dashboard))
app.command(epilog=workers.WORKERS_EPILOG, rich_help_panel=CLUSTER)(reaches_master(workers.workers))
app.command(epilog=workers.DRAIN_EPILOG, rich_help_panel=CLUSTER)(reaches_master(workers.drain))
app.command(epilog=workers.STATS_EPILOG, rich_help_panel=CLUSTER)(reaches_master(workers.stats))
app.command(epilog=train.EPILOG, rich_help_panel=LEARN)(reaches_master(train.train))
app.add_typer(params.app, name="params", rich_help_panel=LEARN)
app.command(epilog=simulate.EPILOG, rich_help_panel=LEARN)(simulate.simulate)
app.command(epilog=certs.EPILOG, rich_help_panel=KEEP)(certs.certs)
app.command("migrate-task-types", epilog=migrate.EPILOG, rich_help_panel=KEEP)(migrate.migrate_task_types)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"rtscore {version('rtscore')}")
        raise typer.Exit


@app.callback()
def _root(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    return


def main() -> None:
    """Run `rts` with the process's arguments and end the process."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that has no letter for something is no reason to fail.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        app(prog_name="rts")
    except UnicodeEncodeError as error:
        print(f"rts: {error.object!r} is not UTF-8 text.", file=sys.stderr)
        sys.exit(Exit.USAGE)
    except CommandError as error:
        # What was printed before is read first.
        sys.stdout.flush()
        print(f"rts: {error}", file=sys.stderr)
        sys.exit(error.code)


if __name__ == "__main__":
    main()
