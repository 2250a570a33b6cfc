"""The migration of task types: what becomes what, in batches, on the SQLite store."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from peers import config, serving
from store_samples import spec, status

from master.errors import StoreUnavailableError
from master.events import InsertTask
from master.records import StoredTask
from master.store.base import StoreOpenError
from master.store.sqlite import SqliteStore
from master.store.sqlite_task_types import open_task_types
from master.store.task_types import Change, Reason, TypedTask, migrate, new_type
from rtscore import TASK_TYPES, infer_task_type


def becomes(task_type: Any, cpu: float = 1.0, memory: float = 1.0, gpu: float = 0.0) -> str:
    return new_type(TypedTask(1, task_type, cpu, memory, gpu))[0]


def test_a_type_of_the_six_stays_whatever_the_task_asks() -> None:
    for name in TASK_TYPES:
        assert new_type(TypedTask(1, str(name), 9.0, 99.0, 9.0)) == (name, Reason.VALID)


@pytest.mark.parametrize("nothing", [None, "", "  ", "\t\n", 7, 1.5, b"cpu", [], {"type": "cpu"}])
def test_what_says_nothing_is_inferred_from_the_amounts(nothing: Any) -> None:
    assert becomes(nothing, cpu=8.0, gpu=4.0) == "gpu-training"
    assert becomes(nothing, gpu=1.0) == "gpu-inference"
    assert becomes(nothing, memory=9.0) == "memory-heavy"
    assert becomes(nothing, cpu=5.0) == "cpu-heavy"
    assert becomes(nothing) == "cpu-light"
    assert becomes(nothing, cpu=0.0) == "mixed"


def test_old_names_are_mapped_whatever_the_task_asks() -> None:
    for old, new in {"cpu": "cpu-light", "gpu": "gpu-inference", "dl": "gpu-training"}.items():
        assert becomes(old, cpu=9.0, memory=99.0, gpu=9.0) == new
        assert becomes(f" {old.upper()} ") == new


def test_one_of_the_six_is_known_in_another_spelling() -> None:
    assert becomes("CPU_LIGHT", gpu=1.0) == "cpu-light"
    assert becomes("Memory-Heavy") == "memory-heavy"


@pytest.mark.parametrize("other", ["batch", "cpu2", "gpu-", "ünïcode", "x" * 10_000, "cpu light"])
def test_every_other_name_is_mixed(other: str) -> None:
    assert becomes(other, gpu=1.0) == "mixed"


@given(st.none() | st.text() | st.integers() | st.binary(), st.floats(0), st.floats(0), st.floats(0))
def test_whatever_is_stored_becomes_one_of_the_six_and_then_stays(
    task_type: Any, cpu: float, memory: float, gpu: float
) -> None:
    name, _ = new_type(TypedTask(1, task_type, cpu, memory, gpu))
    assert name in set(map(str, TASK_TYPES))
    assert new_type(TypedTask(1, name, cpu, memory, gpu)) == (name, Reason.VALID)


class Memory:
    """A store in memory that fails when it is told to."""

    def __init__(self, types: Sequence[Any]) -> None:
        self.types = dict(enumerate(types))
        self.writes: list[int] = []
        self.fails_at = -1

    def count(self) -> int:
        return len(self.types)

    def read(self, after: Any, limit: int) -> list[TypedTask]:
        first = -1 if after is None else after
        keys = [key for key in self.types if key > first][:limit]
        return [TypedTask(key, self.types[key], 1.0, 1.0, 0.0) for key in keys]

    def write(self, types: Sequence[tuple[Any, str]]) -> None:
        if len(self.writes) == self.fails_at:
            raise KeyboardInterrupt
        self.writes.append(len(types))
        self.types.update(types)


OLD = ("cpu", "gpu", "dl", "", None, "who knows", "cpu-heavy")


def test_it_goes_through_the_store_in_batches_and_counts_what_it_did() -> None:
    store, seen = Memory(OLD * 3), list[int]()
    outcome = migrate(store, batch=5, advance=seen.append)
    assert seen == [5, 5, 5, 5, 1]
    assert (outcome.tasks, outcome.changed) == (21, 18)
    assert outcome.types == Counter(store.types.values()) | {"memory-heavy": 0}
    assert outcome.changes[Change("dl", "gpu-training", Reason.MAPPED)] == 3
    assert outcome.changes[Change("", "cpu-light", Reason.INFERRED)] == 6
    assert outcome.changes[Change("who knows", "mixed", Reason.UNKNOWN)] == 3


def test_a_second_migration_changes_nothing_and_writes_nothing() -> None:
    store = Memory(OLD * 3)
    first = migrate(store)
    writes = list(store.writes)
    second = migrate(store)
    assert (second.changed, second.types) == (0, first.types)
    assert store.writes == writes


def test_a_dry_run_counts_the_same_and_writes_nothing() -> None:
    store = Memory(OLD * 3)
    dry = migrate(store, dry_run=True, batch=4)
    assert store.writes == []
    assert dry == migrate(store)


def test_an_interrupted_migration_is_finished_by_the_next() -> None:
    whole, broken = Memory(OLD * 10), Memory(OLD * 10)
    migrate(whole)
    broken.fails_at = 3
    with pytest.raises(KeyboardInterrupt):
        migrate(broken, batch=5)
    assert len([t for t in broken.types.values() if t in OLD[:6]]) > 0
    broken.fails_at = -1
    migrate(broken, batch=5)
    assert broken.types == whole.types


# ---- on the SQLite store ----


def run(work: Any) -> Any:
    """What a coroutine returns; the migration is not called from an event loop."""
    return asyncio.run(work)


@contextlib.asynccontextmanager
async def opened(path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def filled(path: Path, types: Sequence[str]) -> Path:
    """A store with a task of each of these types, as an earlier time may have left it."""

    async def fill() -> None:
        async with opened(path) as store:
            specs = [spec(f"t{number}", task_type=name) for number, name in enumerate(types)]
            await store.commit([InsertTask(one, status()) for one in specs])

    run(fill())
    return path


def stored(path: Path, count: int) -> list[StoredTask]:
    async def read() -> list[StoredTask]:
        async with opened(path) as store:
            tasks = await store.find_tasks([f"t{number}" for number in range(count)])
            return [tasks[f"t{number}"] for number in range(count)]

    return run(read())


def test_the_stored_tasks_get_their_types_and_nothing_else_of_them_changes(tmp_path: Path) -> None:
    path = filled(tmp_path / "rts.db", ("cpu", "gpu", "dl", "", "other", "memory-heavy"))
    before = stored(path, 6)
    with open_task_types(path, write=True) as tasks:
        assert tasks.count() == 6
        outcome = migrate(tasks, batch=4)
    inferred = infer_task_type(4.5, 8.125, 0.5)
    wanted = ["cpu-light", "gpu-inference", "gpu-training", inferred, "mixed", "memory-heavy"]
    assert stored(path, 6) == [
        replace(task, spec=replace(task.spec, task_type=name))
        for task, name in zip(before, wanted, strict=True)
    ]
    assert outcome.changed == 5


def test_no_master_starts_while_it_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("master.store.sqlite.LOCK_WAIT_S", 0.1)
    path = filled(tmp_path / "rts.db", ("cpu",))
    with open_task_types(path, write=True), pytest.raises(StoreOpenError, match="in use"):
        run(SqliteStore(path).open())


def test_a_failing_batch_is_not_written_in_part(tmp_path: Path) -> None:
    path = filled(tmp_path / "rts.db", ("cpu", "cpu"))
    with open_task_types(path, write=True) as tasks:
        keys = [task.key for task in tasks.read(None, 2)]
        with pytest.raises(StoreUnavailableError, match="NOT NULL"):
            tasks.write([(keys[0], "mixed"), (keys[1], None)])  # type: ignore[list-item]
        assert [task.task_type for task in tasks.read(None, 2)] == ["cpu", "cpu"]


def test_a_master_names_the_command_when_an_unfinished_task_has_an_old_type(tmp_path: Path) -> None:
    settings = config(tmp_path)
    path = filled(Path(settings.store), ("dl",))

    async def queued() -> int:
        async with serving(settings) as (server, _):
            return server.master.cluster.queue_depth

    with pytest.raises(StoreOpenError, match=r"t0 .*'dl'.*migrate-task-types"):
        run(queued())
    with open_task_types(path, write=True) as tasks:
        migrate(tasks)
    assert run(queued()) == 1


@pytest.mark.parametrize("content", ["missing", "empty", "text", "other"])
def test_what_is_no_store_is_named_and_left_alone(tmp_path: Path, content: str) -> None:
    path = tmp_path / "rts.db"
    if content == "empty":
        path.touch()
    elif content == "text":
        path.write_text("not a database" * 100)
    elif content == "other":
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE tasks (task_type TEXT)")
    before = path.read_bytes() if path.exists() else None
    for write in (False, True):
        if content == "empty" and write:
            # As for a master, an empty file is a new store.
            continue
        with pytest.raises(StoreOpenError, match=r"rts\.db"), open_task_types(path, write=write):
            pass
        assert (path.read_bytes() if path.exists() else None) == before
