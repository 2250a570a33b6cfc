"""Random commits against a dictionary: every store answers what the dictionary would."""

from __future__ import annotations

import asyncio
import copy
import tempfile
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pymongo
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from master.events import (
    EndAttempt,
    InsertAttempt,
    InsertParams,
    InsertResult,
    InsertTask,
    PutTau,
    PutWorker,
    RemoveWorker,
    UpdateTask,
    Write,
)
from master.records import (
    AttemptEnd,
    AttemptRecord,
    ParamsReason,
    ParamsVersion,
    ResultRecord,
    Snapshot,
    StoredTask,
    Submission,
    TaskSpec,
    TaskState,
    TaskStatus,
    WorkerRecord,
)
from master.store.base import HISTORY_FIELDS, Store, StoreConflictError, TaskQuery
from master.store.mongo import MongoStore
from master.store.sqlite import SqliteStore


@dataclass
class Model:
    """The contract, on dictionaries."""

    tasks: dict[str, StoredTask] = field(default_factory=dict)
    attempts: dict[tuple[str, int], AttemptRecord] = field(default_factory=dict)
    results: dict[str, ResultRecord] = field(default_factory=dict)
    workers: dict[str, WorkerRecord] = field(default_factory=dict)
    tau: dict[str, float] = field(default_factory=dict)
    versions: dict[int, ParamsVersion] = field(default_factory=dict)

    def commit(self, writes: list[Write]) -> bool:
        """Whether the writes fit; only then they are made."""
        after = copy.copy(self)
        for name, table in vars(self).items():
            setattr(after, name, dict(table))
        if not all(after._write(write) for write in writes):
            return False
        vars(self).update(vars(after))
        return True

    def _write(self, write: Write) -> bool:
        match write:
            case InsertTask(spec, status):
                fits = spec.task_id not in self.tasks
                self.tasks[spec.task_id] = StoredTask(spec, status)
            case UpdateTask(task_id, status):
                fits = task_id in self.tasks
                if fits:
                    self.tasks[task_id] = StoredTask(self.tasks[task_id].spec, status)
            case InsertAttempt(record):
                key = (record.task_id, record.attempt)
                fits = key not in self.attempts
                self.attempts[key] = record
            case EndAttempt(task_id, number, ended_at, end):
                fits = (task_id, number) in self.attempts
                if fits:
                    old = self.attempts[task_id, number]
                    self.attempts[task_id, number] = replace(old, ended_at=ended_at, end=end)
            case InsertResult(record):
                fits = record.task_id not in self.results
                self.results[record.task_id] = record
            case PutWorker(record):
                fits = True
                self.workers[record.worker_id] = record
            case RemoveWorker(worker_id):
                fits = True
                self.workers.pop(worker_id, None)
            case PutTau(task_type, tau):
                fits = True
                self.tau[task_type] = tau
            case InsertParams(record):
                fits = record.version not in self.versions
                self.versions[record.version] = record
        return fits

    def history(self, since: float, until: float) -> dict[str, list[object]]:
        rows = []
        for r in sorted(self.results.values(), key=lambda r: (r.finished_at, r.task_id)):
            task, a = self.tasks.get(r.task_id), self.attempts.get((r.task_id, r.attempt))
            if task is not None and a is not None and since <= r.finished_at < until:
                s, given = task.spec, task.spec.submission
                ran = (r.started_at, r.finished_at, r.runtime_s, r.sla_success)
                used = (given.cpu, given.memory, given.gpu, given.storage)
                found = (a.cpu_avail, a.memory_avail, a.gpu_avail)
                names = (r.task_id, r.worker_id, s.task_type, s.submitted_at, s.deadline)
                rows.append(
                    (*names, *ran, *used, a.load_at_start, s.tau, s.sla_multiplier, *found, r.success)
                )
        return {name: [row[k] for row in rows] for k, name in enumerate(HISTORY_FIELDS)}

    def snapshot(self) -> Snapshot:
        open_ = sorted(key for key, record in self.attempts.items() if record.ended_at is None)
        of_open = {task_id for task_id, _ in open_}
        wanted = [
            task
            for task in self.tasks.values()
            if not task.status.state.terminal or task.spec.task_id in of_open
        ]
        return Snapshot(
            tasks=tuple(sorted(wanted, key=_page_key)),
            attempts=tuple(self.attempts[key] for key in open_),
            workers=tuple(self.workers[worker_id] for worker_id in sorted(self.workers)),
            tau=self.tau,
        )

    def list_tasks(self, query: TaskQuery) -> list[StoredTask]:
        found = [
            task
            for task in sorted(self.tasks.values(), key=_page_key, reverse=True)
            if query.matches(task)
            and (query.after is None or _page_key(task) < query.after)
            and (query.until is None or _page_key(task) >= query.until)
        ]
        return found[: max(0, query.limit)]


def _page_key(task: StoredTask) -> tuple[float, str]:
    return task.spec.submitted_at, task.spec.task_id


IDS = ("a", "b", "ä ", "z\0z")
ids = st.sampled_from(IDS)
texts = st.text(max_size=8)
numbers = st.floats(allow_nan=False, allow_infinity=False)
instants = st.sampled_from([0.0, 1.5, 1_700_000_000.123456, 1_700_000_000.123457])
users = st.sampled_from(["", "alice", "bob"])
integers = st.integers(-(2**31), 2**31)
attempt_numbers = st.integers(1, 2)
ends = st.sampled_from(AttemptEnd)
statuses = st.builds(
    TaskStatus,
    state=st.sampled_from(TaskState),
    attempt=st.integers(0, 5),
    worker_id=texts,
    assigned_at=numbers,
    started_at=numbers,
    finished_at=numbers,
    runtime_s=numbers,
    exit_code=st.none() | integers,
    sla_success=st.none() | st.booleans(),
    reason=texts,
)
submissions = st.builds(
    Submission,
    task_id=ids,
    user_id=users,
    command=texts,
    docker_image=texts,
    cpu=numbers,
    memory=numbers,
    gpu=numbers,
    storage=numbers,
    task_type=texts,
    sla_multiplier=numbers,
    deadline=numbers,
    time_limit_s=numbers,
    id_given=st.booleans(),
)
specs = st.builds(TaskSpec, submissions, texts, numbers, numbers, submitted_at=instants, deadline=numbers)
attempts = st.builds(
    AttemptRecord,
    ids,
    attempt_numbers,
    texts,
    *[numbers] * 5,
    source=texts,
    risk=st.none() | st.floats(allow_nan=False),
    ended_at=st.none(),
    end=st.none(),
)
results = st.builds(
    ResultRecord,
    task_id=ids,
    attempt=attempt_numbers,
    worker_id=texts,
    success=st.booleans(),
    exit_code=integers,
    started_at=numbers,
    finished_at=numbers,
    runtime_s=numbers,
    sla_success=st.booleans(),
    logs=texts,
    result_location=texts,
    output_files=st.lists(texts, max_size=3).map(tuple),
    reason=texts,
    logs_offset=st.integers(0, 2**63 - 1),
)
workers = st.builds(
    WorkerRecord,
    ids,
    *[numbers] * 4,
    address=texts,
    executors=st.lists(texts, max_size=2).map(tuple),
    draining=st.booleans(),
    registered_at=numbers,
)
writes = st.one_of(
    st.builds(InsertTask, specs, statuses),
    st.builds(UpdateTask, ids, statuses),
    st.builds(InsertAttempt, attempts),
    st.builds(EndAttempt, ids, attempt_numbers, numbers, ends),
    st.builds(InsertResult, results),
    st.builds(PutWorker, workers),
    st.builds(RemoveWorker, ids),
    st.builds(PutTau, ids, numbers),
    st.builds(
        InsertParams,
        st.builds(
            ParamsVersion, st.integers(1, 9), numbers, integers, st.sampled_from(ParamsReason), texts, texts
        ),
    ),
)
commits = st.lists(st.lists(writes, min_size=1, max_size=5), min_size=1, max_size=15)
queries = st.builds(
    TaskQuery,
    states=st.frozensets(st.sampled_from(TaskState)),
    user_id=users,
    limit=st.integers(-1, 5),
    after=st.none() | st.tuples(instants, ids),
    worker_id=st.just("") | texts.filter(lambda text: "\0" not in text),
    task_type=st.just("") | texts.filter(lambda text: "\0" not in text),
    text=st.sampled_from(["", "", "a", "B", "z", "Ali", ".", "%"]),
    sla_success=st.none() | st.booleans(),
    until=st.none() | st.tuples(instants, ids),
)


async def check(store: Store, model: Model, asked: list[TaskQuery]) -> None:
    assert await store.load() == model.snapshot()
    assert await store.find_tasks(IDS[:3]) == {i: model.tasks[i] for i in IDS[:3] if i in model.tasks}
    for query in [*asked, TaskQuery()]:
        assert await store.list_tasks(query) == model.list_tasks(query), query
    for task_id in IDS:
        numbered = sorted(key for key in model.attempts if key[0] == task_id)
        assert await store.attempts(task_id) == [model.attempts[key] for key in numbered]
        assert await store.result(task_id) == model.results.get(task_id)
    for window in ((-1.0, 1.0), (0.0, 1e300)):
        assert await store.history(*window) == model.history(*window)
    newest = sorted(model.versions.values(), key=lambda v: -v.version)
    assert await store.params_versions(5) == newest[:5]
    states = [task.status.state for task in model.tasks.values()]
    assert await store.count_tasks() == {state: states.count(state) for state in set(states)}


async def answers_like_a_dictionary(
    make: Callable[[], Store], commits: list[list[Write]], asked: list[TaskQuery]
) -> None:
    store, model = make(), Model()
    await store.open()
    for commit in commits:
        fits = model.commit(commit)
        try:
            await store.commit(commit)
        except StoreConflictError:
            assert not fits
        else:
            assert fits
    await check(store, model, asked)
    await store.close()
    await store.open()
    await check(store, model, asked)
    await store.close()


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(commits, st.lists(queries, max_size=4))
def test_a_store_answers_like_a_dictionary(commits: list[list[Write]], asked: list[TaskQuery]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "rts.db"
        asyncio.run(answers_like_a_dictionary(lambda: SqliteStore(path), commits, asked))


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(commits, st.lists(queries, max_size=4))
def test_a_store_in_mongodb_answers_like_a_dictionary(
    mongo_server: str, commits: list[list[Write]], asked: list[TaskQuery]
) -> None:
    name = f"rts_test_{uuid.uuid4().hex[:12]}"
    base, mark, options = mongo_server.partition("?")
    uri = f"{base.rstrip('/')}/{name}{mark}{options}"
    try:
        asyncio.run(answers_like_a_dictionary(lambda: MongoStore(uri), commits, asked))
    finally:
        with pymongo.MongoClient(mongo_server) as client:
            client.drop_database(name)
