"""What the SQLite store adds to the contract: the file, the lock, and processes that may die."""

# ruff: noqa: ASYNC110, ASYNC240 (a test's loop may block on its files, and other processes have no events)

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import resource
import signal
import sqlite3
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest
from store_samples import attempt, insert, outcome, place, result, spec, status, use, version

from master.errors import StoreUnavailableError
from master.events import InsertTask
from master.records import TaskState
from master.store.base import StoreConflictError, StoreOpenError
from master.store.channel import Channel, _Connection
from master.store.database import HISTORY, STATEMENTS, Database
from master.store.rows import plan
from master.store.schema import APPLICATION_ID, MIGRATIONS
from master.store.sqlite import SqliteStore

PATIENCE_S = 60.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rts.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path)
    await store.open()
    yield store
    await store.close()


def process(path: Path, role: str) -> psutil.Process | None:
    for child in psutil.Process().children():
        try:
            arguments = child.cmdline()
        except psutil.Error:
            continue
        if arguments[-2:] == [role, str(path)] and child.status() != psutil.STATUS_ZOMBIE:
            return child
    return None


async def other_process(path: Path, role: str, than: psutil.Process | None = None) -> psutil.Process:
    async with asyncio.timeout(PATIENCE_S):
        while (found := process(path, role)) is None or found == than:
            await asyncio.sleep(0.01)
    return found


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.01)


async def refusal(path: Path) -> str:
    with pytest.raises(StoreOpenError) as refused:
        await SqliteStore(path).open()
    return str(refused.value)


async def test_the_directory_is_made_and_the_file_is_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "new" / "deep" / "rts.db"
    store = SqliteStore(path)
    await store.open()
    await store.commit([insert("a")])
    for name in ("rts.db", "rts.db-wal", "rts.db-shm", "rts.db.lock"):
        assert stat.S_IMODE((path.parent / name).stat().st_mode) == 0o600, name
    await store.close()


async def test_commits_are_synchronous_and_logged_ahead(store: SqliteStore, path: Path) -> None:
    await store.commit([insert("a")])
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()
    assert (path.parent / "rts.db-wal").stat().st_size > 0


async def test_tables_and_columns_have_the_names_of_the_existing_cluster(
    store: SqliteStore, path: Path
) -> None:
    connection = sqlite3.connect(path)
    columns = {
        table: {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
        for table in ("tasks", "assignments", "results", "worker_registry", "tau_store")
    }
    connection.close()
    named = (
        "task_id user_id docker_image command req_cpu req_memory req_gpu req_storage status created_at"
        " started_at completed_at tau deadline task_type"
    )
    assert set(named.split()) <= columns["tasks"]
    assert {"ass_id", "task_id", "worker_id", "assigned_at", "load_at_start"} <= columns["assignments"]
    assert {"task_id", "worker_id", "sla_success"} <= columns["results"]
    assert {"worker_id", "total_cpu", "total_memory"} <= columns["worker_registry"]
    assert {"task_type", "tau"} <= columns["tau_store"]


async def test_no_listing_scans_or_sorts_the_table(store: SqliteStore, path: Path) -> None:
    connection = sqlite3.connect(path)
    plans = [
        "SELECT * FROM tasks INDEXED BY tasks_by_status WHERE status = 'failed' AND (created_at, task_id) <"
        " (9.0, 'x') ORDER BY created_at DESC, task_id DESC LIMIT 9",
        "SELECT * FROM tasks INDEXED BY tasks_by_user WHERE user_id <> '' AND user_id = 'a' AND status IN"
        " ('failed') ORDER BY created_at DESC, task_id DESC LIMIT 9",
        "SELECT * FROM assignments WHERE task_id = 'a' ORDER BY attempt",
        "SELECT * FROM assignments WHERE ended_at IS NULL ORDER BY task_id, attempt",
        STATEMENTS["update_task"],
        STATEMENTS["end_attempt"],
        HISTORY,
    ]
    for sql in plans:
        steps = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", ("",) * sql.count("?"))]
        assert all("USING INDEX" in step for step in steps), (sql, steps)
    connection.close()


async def test_a_newer_version_is_refused(store: SqliteStore, path: Path) -> None:
    await store.close()
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    connection.close()
    assert f"newer rtscore: schema version {len(MIGRATIONS) + 1}" in await refusal(path)


async def test_a_migration_step_is_applied_once_and_whole(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from master.store import database

    database.Database(path, write=True).close()
    broken = (*MIGRATIONS, ("CREATE TABLE extra (x)", "CREATE TABLE extra (y)"))
    monkeypatch.setattr(database, "MIGRATIONS", broken)
    with pytest.raises(StoreOpenError, match="extra"):
        database.Database(path, write=True)
    monkeypatch.setattr(database, "MIGRATIONS", (*MIGRATIONS, ("CREATE TABLE extra (x)",)))
    for _ in range(2):
        database.Database(path, write=True).close()
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS) + 1,)
    assert [row[1] for row in connection.execute("PRAGMA table_info(extra)")] == ["x"]
    connection.close()


async def test_a_file_of_version_1_keeps_its_records_and_has_a_history(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as old, old:
        for statement in MIGRATIONS[0]:
            old.execute(statement)
        old.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        old.execute("PRAGMA user_version = 1")
        for kind, rows in plan([insert("a"), place("a", 2), outcome("a", logs_offset=0)]):
            statement, values = STATEMENTS[kind], [[getattr(v, "value", v) for v in row] for row in rows]
            if kind in ("insert_result", "insert_attempt"):
                # Columns of versions 3 and 5, and the last ones.
                added = {"insert_result": ", logs_offset", "insert_attempt": ", decision"}[kind]
                statement = statement.replace(added, "").replace("?, ?)", "?)")
                values = [row[:-1] for row in values]
            old.executemany(statement, values)
    store = SqliteStore(path)
    await store.open()
    try:
        assert await store.result("a") == result("a", logs_offset=0)
        assert await store.attempts("a") == [attempt("a", 2, decision=None)]
        assert (await store.history(0.0, 2000.0))["task_id"] == ["a"]
        await store.commit([use(1)])
        assert await store.params_versions(9) == [version(1)]
    finally:
        await store.close()
    with contextlib.closing(sqlite3.connect(path)) as new:
        assert new.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)


async def test_the_database_of_another_program_is_refused_and_left_alone(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE bookmarks (url)")
    connection.close()
    before = path.read_bytes()
    assert "another program" in await refusal(path)
    assert path.read_bytes() == before


async def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path) -> None:
    path.write_bytes(b"my thesis, chapter one\n" * 1000)
    assert "not a database" in await refusal(path)
    assert path.read_bytes() == b"my thesis, chapter one\n" * 1000


async def test_a_damaged_page_is_an_error_and_not_a_wrong_answer(store: SqliteStore, path: Path) -> None:
    await store.commit([insert(f"{number:04}") for number in range(2000)])
    await store.close()
    content = bytearray(path.read_bytes())
    pages = len(content) // 4096
    for page in range(pages // 2, pages):
        content[page * 4096 : page * 4096 + 2048] = b"\xa5" * 2048
    path.write_bytes(content)
    await store.open()
    with pytest.raises(StoreUnavailableError, match="malformed"):
        await store.load()


@pytest.mark.parametrize("kind", ["a directory", "below a file"])
async def test_an_impossible_path_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "taken"
    if kind == "a directory":
        path.mkdir()
    else:
        path.write_text("a file")
        path /= "rts.db"
    assert str(path) in await refusal(path)


async def test_a_refused_open_leaves_no_process_and_no_lock(path: Path) -> None:
    path.write_bytes(b"no database " * 1000)
    await refusal(path)
    assert process(path, "write") is None
    path.unlink()
    store = SqliteStore(path)
    await store.open()
    await store.close()


async def test_closing_ends_both_processes(store: SqliteStore, path: Path) -> None:
    assert process(path, "write") is not None
    assert process(path, "read") is not None
    await store.close()
    assert process(path, "write") is None
    assert process(path, "read") is None


async def test_the_signals_of_a_terminal_do_not_reach_the_processes(store: SqliteStore, path: Path) -> None:
    for role in ("write", "read"):
        target = await other_process(path, role)
        target.send_signal(signal.SIGINT)
        target.send_signal(signal.SIGTERM)
    before = process(path, "write")
    await store.commit([insert("a")])
    assert await store.count_tasks() == {TaskState.QUEUED: 1}
    assert process(path, "write") == before


async def test_a_slow_read_does_not_hold_up_commits(store: SqliteStore, path: Path) -> None:
    reader = await other_process(path, "read")
    reader.suspend()
    try:
        reading = asyncio.create_task(store.count_tasks())
        await store.commit([insert("a")])
        await store.commit([insert("b")])
        assert not reading.done()
    finally:
        reader.resume()
    assert await reading == {TaskState.QUEUED: 2}


async def test_a_lock_of_another_program_is_unavailability_and_passes(store: SqliteStore, path: Path) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailableError, match="locked"):
        await store.commit([insert("a")])
    connection.execute("ROLLBACK")
    connection.close()
    assert await store.find_tasks(["a"]) == {}
    await store.commit([insert("a")])


async def test_a_full_disk_is_unavailability_and_passes(store: SqliteStore, path: Path) -> None:
    """The limit on file sizes stands for the disk: the system refuses the write in the middle of a commit."""
    await store.commit([insert("before")])
    writer = await other_process(path, "write")
    _, hard = writer.rlimit(resource.RLIMIT_FSIZE)
    size = (path.parent / "rts.db-wal").stat().st_size
    writer.rlimit(resource.RLIMIT_FSIZE, (size + 40_000, hard))
    refused = [insert(f"{number:04}") for number in range(1000)]
    with pytest.raises(StoreUnavailableError, match="disk"):
        await store.commit(refused)
    assert await store.count_tasks() == {TaskState.QUEUED: 1}
    writer.rlimit(resource.RLIMIT_FSIZE, (hard, hard))
    await store.commit(refused)
    await store.close()
    await store.open()
    assert await store.count_tasks() == {TaskState.QUEUED: 1001}
    assert process(path, "write") != writer


async def test_killed_processes_are_replaced_and_nothing_is_lost_or_made_twice(
    store: SqliteStore, path: Path
) -> None:
    """A commit that was made twice would be a conflict, one that was lost would be missing at the end."""
    kills = 0
    written = 0
    victim: psutil.Process | None = None

    async def write() -> None:
        nonlocal written
        while kills < 20:
            await store.commit([insert(f"{written:06}-{row}") for row in range(20)])
            written += 1

    writing = asyncio.create_task(write())
    while kills < 20:
        role = "read" if kills % 5 == 4 else "write"
        victim = await other_process(path, role, than=victim)
        await asyncio.sleep(kills * 0.003)
        before = written
        victim.kill()
        kills += 1
        await until(lambda before=before: written > before + 1 or writing.done())
        assert sum((await store.count_tasks()).values()) % 20 == 0
        assert kills == 20 or not writing.done()
    await writing
    assert await store.count_tasks() == {TaskState.QUEUED: written * 20}


def lock_out(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    return connection


async def test_a_commit_made_just_before_the_writer_died_is_not_made_again(
    store: SqliteStore, path: Path
) -> None:
    await store.commit([insert("first")])
    task = insert("second")
    connection = lock_out(path)
    writer = await other_process(path, "write")
    committing = asyncio.create_task(store.commit([task]))
    await asyncio.sleep(0)
    writer.kill()
    # What the writer would have done just before: the task and the number of the commit, in one transaction.
    ((_, rows),) = plan([task])
    connection.execute(STATEMENTS["insert_task"], [str(v) if k == 18 else v for k, v in enumerate(rows[0])])
    connection.execute("UPDATE commits SET number = number + 1")
    connection.execute("COMMIT")
    connection.close()
    await committing
    with pytest.raises(StoreConflictError):
        await store.commit([task])
    assert await store.count_tasks() == {TaskState.QUEUED: 2}


async def test_a_commit_under_which_writers_keep_dying_is_given_up(store: SqliteStore, path: Path) -> None:
    connection = lock_out(path)
    committing = asyncio.create_task(store.commit([insert("a")]))
    victim: psutil.Process | None = None
    while not committing.done():
        victim = process(path, "write")
        if victim is not None:
            victim.kill()
        await asyncio.sleep(0.002)
    with pytest.raises(StoreUnavailableError):
        await committing
    connection.close()
    assert await store.find_tasks(["a"]) == {}
    await store.commit([InsertTask(spec("a"), status())])


async def test_a_request_that_ends_its_process_twice_is_given_up_and_the_next_is_served(
    store: SqliteStore, path: Path
) -> None:
    lock = os.open(f"{path}.lock", os.O_RDWR)
    channel = Channel(path, "read", lock)
    await channel.open()
    deadly = channel.request("no_such_operation")
    behind = channel.request("count_tasks")
    with pytest.raises(StoreUnavailableError, match="died 2 times under this request"):
        await deadly
    assert await behind == []
    await channel.close()
    os.close(lock)


async def test_what_nobody_waits_for_any_more_is_not_asked(
    store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[bytes] = []
    send = _Connection.send

    def noted(connection: _Connection, frame: bytes) -> None:
        sent.append(frame)
        send(connection, frame)

    monkeypatch.setattr(_Connection, "send", noted)
    lock = os.open(f"{path}.lock", os.O_RDWR)
    channel = Channel(path, "read", lock)
    await channel.open()
    left = [channel.request("count_tasks") for _ in range(20)]
    last = channel.request("count_tasks")
    for each in left:
        each.cancel()
    assert await last == []
    assert len(sent) == 2
    # Nor does the end wait for it.
    for each in [channel.request("count_tasks") for _ in range(20)]:
        each.cancel()
    await channel.close()
    assert len(sent) == 3
    os.close(lock)


async def test_a_writer_that_died_idle_is_replaced_by_the_next_commit(store: SqliteStore, path: Path) -> None:
    writer = await other_process(path, "write")
    writer.kill()
    await until(lambda: not writer.is_running() or writer.status() == psutil.STATUS_ZOMBIE)
    await store.commit([insert("a")])
    assert await store.count_tasks() == {TaskState.QUEUED: 1}


async def test_a_damaged_file_after_the_writer_died_is_unavailability(store: SqliteStore, path: Path) -> None:
    writer = await other_process(path, "write")
    writer.kill()
    await until(lambda: process(path, "write") is None)
    reader = await other_process(path, "read")
    reader.kill()
    await until(lambda: process(path, "read") is None)
    for name in (path, f"{path}-wal"):
        Path(name).write_bytes(b"overwritten " * 1000)
    with pytest.raises(StoreUnavailableError, match="cannot be started"):
        await store.commit([insert("a")])


def test_a_reader_of_what_is_not_there_says_so_and_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(StoreOpenError, match="absent"):
        Database(tmp_path / "absent.db", write=False)
    assert list(tmp_path.iterdir()) == []


async def test_the_newest_records_are_found_by_their_finish(store: SqliteStore, path: Path) -> None:
    for number in range(5):
        task_id = f"t{number}"
        await store.commit([insert(task_id), place(task_id, 2), outcome(task_id, finished_at=100.0 + number)])
    reader = Database(path, write=False)
    try:
        for count in range(5):
            since = reader.newest_since(count, 104.5)
            rows = [row for _, part in reader.history(since, 104.5) for row in part]
            assert [row[0] for row in rows] == [f"t{number}" for number in range(5 - count, 5)]
        assert reader.newest_since(5, 104.5) == -math.inf
        assert reader.newest_since(0, 102.0) == math.nextafter(101.0, math.inf)
    finally:
        reader.close()
