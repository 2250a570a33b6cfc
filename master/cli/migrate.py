"""`rts migrate-task-types`: gives every stored task one of the six types."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from master.cli import output
from master.cli.connect import JsonOption
from master.cli.failure import CommandError, Exit

if TYPE_CHECKING:
    from master.store.task_types import Outcome, TypedStore

EPILOG = """\b
Examples:
  rts migrate-task-types --dry-run
  rts migrate-task-types --store /var/lib/rts/master.db
  rts migrate-task-types --store mongodb://db.example:27017/cluster
  rts migrate-task-types --store /var/lib/rts/master.db --json | jq .types

A type that is missing is inferred from what the task asks; cpu becomes cpu-light, gpu gpu-inference, dl
gpu-training, any other name mixed. A type that is one of the six stays. Stop the master first; --dry-run may
look while it runs. An interrupted migration loses nothing: run it again.
"""


def migrate_task_types(
    store: Annotated[
        str,
        typer.Option(
            metavar="FILE|URI",
            envvar=["RTS_STORE", "MONGODB_URI"],
            help="A file of the embedded store, or a MongoDB URI; of a master that is stopped.",
        ),
    ] = ".rts/master.db",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count what would change, write nothing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Give every stored task one of the six types, and count the tasks of each.

    For stores with records of a time before there were six types. Nothing but the type changes.
    """
    from master.cli.simulate.progress import progress
    from master.errors import StoreUnavailableError
    from master.store.base import StoreOpenError
    from master.store.task_types import migrate

    try:
        with _opened(store, write=not dry_run) as tasks, progress(tasks.count()) as advance:
            outcome = migrate(tasks, dry_run=dry_run, advance=lambda seen: advance(seen, "tasks"))
    except StoreOpenError as error:
        raise CommandError(f"--store: {error}.") from None
    except StoreUnavailableError as error:
        raise CommandError(f"{error}. What was migrated stays so; run it again.", Exit.NO) from None
    except KeyboardInterrupt:
        raise CommandError("Interrupted; what was migrated stays so, run it again.", Exit.NO) from None
    if as_json:
        output.print_json(_document(outcome, dry_run))
    else:
        _print(outcome, dry_run)


def _opened(store: str, *, write: bool) -> AbstractContextManager[TypedStore]:
    from master.store.base import StoreOpenError
    from master.store.target import is_mongo

    if not is_mongo(store):
        from master.store.sqlite_task_types import open_task_types

        return open_task_types(Path(store), write=write)
    try:
        from master.store.mongo_task_types import open_mongo_task_types
    except ImportError as error:
        raise StoreOpenError(f"a store in MongoDB needs pymongo, of the extra cluster ({error})") from None
    return open_mongo_task_types(store, write=write)


def _document(outcome: Outcome, dry_run: bool) -> dict[str, object]:
    return {
        "dry_run": dry_run,
        "tasks": outcome.tasks,
        "changed": outcome.changed,
        "types": outcome.types,
        "changes": [
            {"from": change.before, "to": change.after, "reason": change.reason, "tasks": count}
            for change, count in sorted(outcome.changes.items())
        ],
    }


def _print(outcome: Outcome, dry_run: bool) -> None:
    changed_to = dict.fromkeys(outcome.types, 0)
    for change, count in outcome.changes.items():
        changed_to[change.after] += count
    output.print_table(
        ("TYPE", "TASKS", "CHANGED"),
        [(name, str(count), str(changed_to[name])) for name, count in outcome.types.items()],
        right=("TASKS", "CHANGED"),
    )
    if outcome.changes:
        print()
        output.print_table(
            ("FROM", "TO", "BECAUSE", "TASKS"),
            [
                (change.before or "(nothing)", change.after, _because(change.reason), str(count))
                for change, count in sorted(outcome.changes.items())
            ],
            right=("TASKS",),
        )
    would = "would change" if dry_run else "changed"
    output.say(f"{outcome.changed} of {outcome.tasks} tasks {would}.")


def _because(reason: str) -> str:
    return {"inferred": "of what it asks", "mapped": "of its old name", "unknown": "no such type"}[reason]
