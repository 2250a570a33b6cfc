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
from master.cli.simulate import command as simulate

# Plain help: rich's costs 60 ms more, and boxes around options when they are piped.
app = typer.Typer(
    name="rts",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help="A deadline-aware task scheduler: run its master and workers, submit commands, see what they do.",
    epilog="Exit codes: 0 done, 1 the answer is no, 2 wrong use, 3 no master answers.",
)

app.command(epilog=demo.EPILOG)(demo.demo)
app.command(epilog=serve.MASTER_EPILOG)(serve.master)
app.command(epilog=serve.WORKER_EPILOG)(serve.worker)
app.command(epilog=submit.EPILOG)(reaches_master(submit.submit))
app.command(epilog=tasks.TASKS_EPILOG)(reaches_master(tasks.tasks))
app.command(epilog=tasks.TASK_EPILOG)(reaches_master(tasks.task))
app.command(epilog=logs.EPILOG)(reaches_master(logs.logs))
app.command(epilog=tasks.CANCEL_EPILOG)(reaches_master(tasks.cancel))
app.command(epilog=workers.WORKERS_EPILOG)(reaches_master(workers.workers))
app.command(epilog=workers.DRAIN_EPILOG)(reaches_master(workers.drain))
app.command(epilog=explain.EPILOG)(reaches_master(explain.explain))
app.command(epilog=plan.EPILOG)(reaches_master(plan.plan))
app.command(epilog=workers.STATS_EPILOG)(reaches_master(workers.stats))
app.command(epilog=dashboard.EPILOG)(reaches_master(dashboard.dashboard))
app.command(epilog=train.EPILOG)(reaches_master(train.train))
app.add_typer(params.app, name="params")
app.command("migrate-task-types", epilog=migrate.EPILOG)(migrate.migrate_task_types)
app.command(epilog=simulate.EPILOG)(simulate.simulate)
app.command(epilog=certs.EPILOG)(certs.certs)


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
