"""Gives every stored task one of the six types: what is missing is inferred, what is old is mapped.

A store is read in the order of its keys and written in batches, each whole or not at all. A type that is one
of the six is left as it is, so the migration may be interrupted anywhere and repeated as often as one likes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any, Protocol

import msgspec

from rtscore import TASK_TYPES, TaskType, infer_task_type, is_valid_task_type

BATCH = 1_000
"""Tasks of one commit: a few milliseconds, and what an interruption costs."""

OLD_TYPES = {
    "cpu": TaskType.CPU_LIGHT,
    "gpu": TaskType.GPU_INFERENCE,
    "dl": TaskType.GPU_TRAINING,
}


class TypedTask(msgspec.Struct, frozen=True):
    """What the migration sees of a task; `task_type` is whatever is stored, None for nothing."""

    key: Any
    task_type: Any
    cpu: float
    memory: float
    gpu: float


class TypedStore(Protocol):
    """A store whose types are migrated, read in ascending order of a key that never changes."""

    def count(self) -> int:
        """How many tasks there are, for the bar."""
        ...

    def read(self, after: Any, limit: int) -> list[TypedTask]:
        """At most `limit` tasks whose keys follow `after`; None is before the first."""
        ...

    def write(self, types: Sequence[tuple[Any, str]]) -> None:
        """Set the types of tasks by key, all of them durably or none."""
        ...


class Reason(StrEnum):
    """Why a type is what it becomes."""

    VALID = "valid"
    INFERRED = "inferred"
    MAPPED = "mapped"
    UNKNOWN = "unknown"


class Change(msgspec.Struct, frozen=True, order=True):
    """From what to what."""

    before: str
    after: str
    reason: Reason


class Outcome(msgspec.Struct):
    """What a migration found and did.

    Attributes
    ----------
    tasks : int
        Looked at.
    types : dict of int
        Tasks of each of the six types, afterwards.
    changes : Counter of Change
        Tasks that were, or in a dry run would be, given another type.
    """

    tasks: int
    types: dict[str, int]
    changes: Counter[Change]

    @property
    def changed(self) -> int:
        """How many tasks have another type now."""
        return self.changes.total()


def new_type(task: TypedTask) -> tuple[str, Reason]:
    """The type that a task should have, one of the six, and why.

    Nothing, blanks and what is no text at all say nothing of the task: its amounts do. A name that is one of
    the six or of the old ones is recognised in other letters (CPU, cpu_light) too.
    """
    found = task.task_type
    if isinstance(found, str) and is_valid_task_type(found):
        return found, Reason.VALID
    if not isinstance(found, str) or not (name := found.strip().lower().replace("_", "-")):
        return infer_task_type(task.cpu, task.memory, task.gpu).value, Reason.INFERRED
    if is_valid_task_type(name):
        return name, Reason.MAPPED
    if name in OLD_TYPES:
        return OLD_TYPES[name].value, Reason.MAPPED
    return TaskType.MIXED.value, Reason.UNKNOWN


def migrate(
    store: TypedStore,
    *,
    dry_run: bool = False,
    batch: int = BATCH,
    advance: Callable[[int], None] = lambda tasks: None,
) -> Outcome:
    """Give every task of a store a type of the six, and return what was found.

    Parameters
    ----------
    store : TypedStore
    dry_run : bool
        Look and count, write nothing.
    batch : int
        Tasks read and written at a time.
    advance : callable
        Told after each batch how many tasks it had.
    """
    outcome = Outcome(0, dict.fromkeys(map(str, TASK_TYPES), 0), Counter())
    after = None
    while tasks := store.read(after, batch):
        after = tasks[-1].key
        writes = []
        for task in tasks:
            name, reason = new_type(task)
            outcome.types[name] += 1
            if reason is not Reason.VALID:
                before = task.task_type if isinstance(task.task_type, str) else ""
                outcome.changes[Change(before, name, reason)] += 1
                writes.append((task.key, name))
        if writes and not dry_run:
            store.write(writes)
        outcome.tasks += len(tasks)
        advance(len(tasks))
    return outcome
