"""What only the MongoDB store promises: fencing, half-made commits, the existing cluster's documents."""

from __future__ import annotations

import asyncio
import datetime
import math
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import Any

import pymongo
import pytest
from mongo_proxy import Proxy
from mongo_server import MongoServer, kind
from store_samples import FINISHED, insert, outcome, place, status, worker

from master.errors import StoreUnavailableError
from master.events import EndAttempt, PutTau, PutWorker, RemoveWorker, UpdateTask, Write
from master.records import AttemptEnd, TaskState
from master.store import mongo, mongo_commits
from master.store.base import (
    StoreConflictError,
    StoreInUseError,
    StoreOpenError,
    StoreSupersededError,
    StoreUnreachableError,
)
from master.store.mongo import MongoStore
from master.store.mongo_lease import Lease
from master.store.reader import reader
from master.store.target import without_secrets
from rtscore import DEFAULT_TAU

PERIOD_S = 0.3
# Of a holder that must not be taken for dead, however long this process waits for its turn.
UNHURRIED_S = 1.5
PATIENCE_S = 60.0


@pytest.fixture
def documents(mongo_uri: str) -> Iterator[Any]:
    """The database, seen without our code."""
    with pymongo.MongoClient(mongo_uri) as client:
        yield client.get_default_database()


def new_store(uri: str, period_s: float = PERIOD_S) -> MongoStore:
    return MongoStore(uri, lease_period_s=period_s)


@asynccontextmanager
async def opened(uri: str, period_s: float = PERIOD_S) -> AsyncIterator[MongoStore]:
    store = new_store(uri, period_s)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def taken_over(uri: str) -> MongoStore:
    """A store that waits until the one that has it is silent, as a standby does."""
    store = new_store(uri)
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                await store.open()
            except StoreInUseError:
                continue
            return store


@contextmanager
def asleep(store: MongoStore) -> Iterator[None]:
    """The store's lease is not renewed, as if its process were suspended; it knows nothing of that."""
    assert store._lease is not None
    renew = store._lease.renew

    async def nothing() -> None:
        pass

    store._lease.renew = nothing  # type: ignore[method-assign]
    yield
    store._lease.renew = renew  # type: ignore[method-assign]


def test_the_report_says_what_was_tested(mongo_server: str) -> None:
    print(f"\nthe MongoDB store is tested on {kind(mongo_server)}")


async def test_a_master_that_was_taken_for_dead_can_no_longer_write(mongo_uri: str) -> None:
    async with opened(mongo_uri) as first:
        await first.commit([insert("before")])
        with asleep(first):
            second = await taken_over(mongo_uri)
        try:
            with pytest.raises(StoreSupersededError, match="fencing number is 2, ours 1"):
                await first.commit([insert("late")])
            with pytest.raises(StoreSupersededError):
                async with asyncio.timeout(PATIENCE_S):
                    await first.lost()
            await second.commit([insert("after")])
            assert await second.count_tasks() == {TaskState.QUEUED: 2}
        finally:
            await second.close()


async def test_a_master_that_renews_keeps_its_lease(mongo_uri: str) -> None:
    async with opened(mongo_uri, UNHURRIED_S) as first:
        first.serves_at("10.0.0.5:7070")
        for _ in range(2):
            second = new_store(mongo_uri)
            with pytest.raises(StoreInUseError, match="in use by another master") as refused:
                await second.open()
        assert refused.value.address == "10.0.0.5:7070"
        await first.commit([insert("a")])


async def test_a_server_that_answers_late_makes_no_holder_dead(
    mongo_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(mongo_uri) as first:
        stalled = ExitStack()
        reads = 0
        read = Lease.read

        async def late(lease: Lease) -> dict[str, Any]:
            nonlocal reads
            reads += 1
            if reads == 1:
                # Whoever waits for an answer of the server, the holder waits for one as well.
                stalled.enter_context(asleep(first))
            seen = await read(lease)
            if reads == 2:
                await asyncio.sleep(3.0 * PERIOD_S)
                stalled.close()
            return seen

        monkeypatch.setattr(Lease, "read", late)
        with pytest.raises(StoreInUseError):
            await new_store(mongo_uri).open()
        await first.commit([insert("a")])


async def test_a_released_lease_is_taken_at_once(mongo_uri: str) -> None:
    async with opened(mongo_uri):
        pass
    async with asyncio.timeout(PATIENCE_S), opened(mongo_uri) as second:
        assert second._lease is not None
        assert second._lease.fence == 2


async def test_two_that_wait_for_a_dead_masters_lease_do_not_both_get_it(mongo_uri: str) -> None:
    async with opened(mongo_uri) as first:
        await first.commit([insert("a")])
        with asleep(first):
            waiting = [new_store(mongo_uri) for _ in range(4)]
            outcomes = await asyncio.gather(*(each.open() for each in waiting), return_exceptions=True)
        assert sorted(type(each).__name__ for each in outcomes) == ["NoneType"] + ["StoreInUseError"] * 3
        for store, failure in zip(waiting, outcomes, strict=True):
            if failure is None:
                await store.commit([insert("b")])
            await store.close()


LARGE: list[Write] = [insert(f"large-{number}", user_id="x" * 900) for number in range(400)]
GROUP: list[Write] = [
    UpdateTask("old", FINISHED),
    insert("new"),
    place("new", 1),
    EndAttempt("old", 1, 5.0, AttemptEnd.COMPLETED),
    outcome("old", attempt=1),
    PutWorker(worker("w1")),
    RemoveWorker("w0"),
    PutTau("mixed", 7.0),
]
BEFORE: list[Write] = [insert("old"), place("old", 1), PutWorker(worker("w0")), PutTau("mixed", 3.0)]


@pytest.mark.parametrize("size", ["small", "large"])
async def test_a_commit_that_was_made_and_not_carried_out_is_carried_out_by_the_next_master(
    mongo_uri: str, monkeypatch: pytest.MonkeyPatch, size: str, documents: Any
) -> None:
    monkeypatch.setattr(mongo_commits, "PIECE_BYTES", 100_000)
    group = GROUP if size == "small" else [*GROUP, *LARGE]

    async def crash(*_: object) -> None:
        raise pymongo.errors.AutoReconnect("the master dies here")

    async with opened(mongo_uri) as first:
        await first.commit(BEFORE)
        with monkeypatch.context() as patched, asleep(first):
            patched.setattr(mongo_commits, "apply", crash)
            with pytest.raises(StoreUnavailableError):
                await first.commit(group)
            assert documents["TASKS"].count_documents({}) == 1
            assert (documents["MASTER_COMMITS"].count_documents({}) > 1) == (size == "large")
            patched.undo()
            second = await taken_over(mongo_uri)
    try:
        assert documents["TASKS"].count_documents({}) == 2 + (len(group) - len(GROUP))
        assert (await second.find_tasks(["old"]))["old"].status == FINISHED
        assert [each.end for each in await second.attempts("old")] == [AttemptEnd.COMPLETED]
        assert await second.result("old") is not None
        snapshot = await second.load()
        assert [each.worker_id for each in snapshot.workers] == ["w1"]
        assert snapshot.tau == {"mixed": 7.0}
        await second.commit([insert("more")])
        await second.commit([insert("and more")])
    finally:
        await second.close()
    assert documents["MASTER_COMMITS"].count_documents({}) == 0


async def test_a_group_that_a_sleeper_carries_out_too_late_changes_nothing(
    mongo_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply, asleep_now, awake = mongo_commits.apply, asyncio.Event(), asyncio.Event()

    async def fall_asleep(*arguments: Any) -> None:
        asleep_now.set()
        await awake.wait()
        await apply(*arguments)

    async with opened(mongo_uri) as first:
        await first.commit(BEFORE)
        with monkeypatch.context() as patched, asleep(first):
            patched.setattr(mongo_commits, "apply", fall_asleep)
            late = asyncio.create_task(first.commit(GROUP))
            await asleep_now.wait()
            patched.undo()
            second = await taken_over(mongo_uri)
        await second.commit(
            [
                UpdateTask("new", status(TaskState.CANCELLED, reason="later")),
                EndAttempt("new", 1, 9.0, AttemptEnd.CANCELLED),
                RemoveWorker("w1"),
                PutWorker(worker("w0", cpu=99.0)),
                PutTau("mixed", 8.0),
            ]
        )
        before = [await second.load(), await second.find_tasks(["old", "new"]), await second.attempts("new")]
        awake.set()
        await asyncio.gather(late, return_exceptions=True)
        assert before == [
            await second.load(),
            await second.find_tasks(["old", "new"]),
            await second.attempts("new"),
        ]
        assert [each.worker_id for each in (await second.load()).workers] == ["w0"]
        await second.close()


@pytest.mark.parametrize("moment", ["the commit", "its carrying out"])
async def test_a_commit_whose_answer_is_lost_is_made_once_when_it_is_repeated(
    mongo_uri: str, moment: str
) -> None:
    async with Proxy(mongo_uri) as proxy, opened(proxy.uri) as store:
        await store.commit([insert("a")])
        # The payload's own bytes are only in what sets the lease's document.
        proxy.lose_answers_to = b"group" if moment == "the commit" else b"$setOnInsert"
        writes = [insert("b"), place("b"), UpdateTask("a", status(reason="seen"))]
        with pytest.raises(StoreUnavailableError):
            await store.commit(writes)
        assert proxy.lose_answers_to is None
        # What the journal does: the same again.
        await store.commit(writes)
        await store.commit([insert("c")])
        assert (await store.load()).attempts == (place("b").record,)
        assert await store.count_tasks() == {TaskState.QUEUED: 3}
        assert (await store.find_tasks(["a"]))["a"].status.reason == "seen"
        with pytest.raises(StoreConflictError, match="task 'b' is stored already"):
            await store.commit(writes)


async def test_after_a_lost_answer_another_commit_finds_the_first_one_made(mongo_uri: str) -> None:
    async with Proxy(mongo_uri) as proxy, opened(proxy.uri) as store:
        proxy.lose_answers_to = b"group"
        with pytest.raises(StoreUnavailableError):
            await store.commit([insert("a")])
        with pytest.raises(StoreConflictError, match="task 'a' is stored already"):
            await store.commit([insert("a"), insert("b")])
        await store.commit([insert("b")])
        assert await store.count_tasks() == {TaskState.QUEUED: 2}


async def test_a_commit_that_never_arrived_is_made_when_it_is_repeated(mongo_uri: str) -> None:
    async with Proxy(mongo_uri) as proxy, opened(proxy.uri) as store:
        proxy.cut_before = b"group"
        with pytest.raises(StoreUnavailableError):
            await store.commit([insert("a")])
        await store.commit([insert("a")])
        assert await store.count_tasks() == {TaskState.QUEUED: 1}


async def test_a_read_of_a_commit_that_was_made_sees_all_of_it(
    mongo_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise pymongo.errors.AutoReconnect("away")

    async with opened(mongo_uri) as store:
        with monkeypatch.context() as patched:
            patched.setattr(mongo_commits, "apply", fail)
            with pytest.raises(StoreUnavailableError):
                await store.commit([insert("a"), place("a")])
            with pytest.raises(StoreUnavailableError):
                await store.count_tasks()
        assert await store.count_tasks() == {TaskState.QUEUED: 1}
        assert len(await store.attempts("a")) == 1


async def test_a_commit_that_a_read_has_finished_is_told_of_its_success_when_it_is_repeated(
    mongo_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise pymongo.errors.AutoReconnect("away")

    async with opened(mongo_uri) as store:
        with monkeypatch.context() as patched:
            patched.setattr(mongo_commits, "apply", fail)
            with pytest.raises(StoreUnavailableError):
                await store.commit([insert("a")])
        assert await store.count_tasks() == {TaskState.QUEUED: 1}
        await store.commit([insert("a")])
        with pytest.raises(StoreConflictError, match="task 'a' is stored already"):
            await store.commit([insert("a")])


async def test_a_master_whose_opening_takes_long_keeps_its_lease(
    mongo_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when an existing cluster's large collections get their indexes."""
    make, begun, go_on = mongo._make_indexes, asyncio.Event(), asyncio.Event()

    async def make_slowly(database: Any) -> None:
        begun.set()
        await go_on.wait()
        await make(database)

    monkeypatch.setattr(mongo, "_make_indexes", make_slowly)
    first, second = new_store(mongo_uri, UNHURRIED_S), new_store(mongo_uri)
    opening = asyncio.create_task(first.open())
    await begun.wait()
    with pytest.raises(StoreInUseError):
        async with asyncio.timeout(PATIENCE_S):
            await second.open()
    go_on.set()
    await opening
    await first.commit([insert("a")])
    await first.close()


async def test_a_server_that_hangs_is_unavailable_and_then_goes_on(
    own_mongo: MongoServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("master.store.mongo.ANSWER_S", 1.0)
    async with opened(f"{own_mongo.uri}/rts") as store:
        await store.commit([insert("a")])
        own_mongo.suspend()
        try:
            with pytest.raises(StoreUnavailableError):
                async with asyncio.timeout(PATIENCE_S):
                    await store.commit([insert("b")])
        finally:
            own_mongo.resume()
        await until_committed(store, [insert("b")])
        assert await store.count_tasks() == {TaskState.QUEUED: 2}


async def test_a_server_that_is_gone_is_unavailable_within_seconds(own_mongo: MongoServer) -> None:
    async with opened(f"{own_mongo.uri}/rts") as store:
        await store.commit([insert("a")])
        own_mongo.end()
        async with asyncio.timeout(PATIENCE_S):
            with pytest.raises(StoreUnavailableError):
                await store.commit([insert("b")])
            with pytest.raises(StoreUnavailableError):
                await store.load()
    with pytest.raises(StoreUnreachableError, match="cannot reach mongodb://127"):
        await new_store(f"{own_mongo.uri}/rts").open()


async def until_committed(store: MongoStore, writes: list[Write]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                await store.commit(writes)
            except StoreUnavailableError:
                await asyncio.sleep(0.05)
            else:
                return


# ---- the existing cluster ----

NOON = datetime.datetime(2025, 11, 16, 12, 0, tzinfo=datetime.UTC)
NEVER = datetime.datetime(1, 1, 1, tzinfo=datetime.UTC)


def after(seconds: float) -> datetime.datetime:
    return NOON + datetime.timedelta(seconds=seconds)


def foreign(task_id: str, state: str, **fields: Any) -> dict[str, Any]:
    task = {"task_id": task_id, "user_id": "admin", "docker_image": "alpine:3", "command": "true"}
    amounts = {"req_cpu": 6.0, "req_memory": 2.0, "req_storage": 1.0, "req_gpu": 0.0}
    return task | amounts | {"status": state, "created_at": NOON} | fields


@pytest.fixture
def existing(documents: Any) -> Any:
    documents["TASKS"].insert_many(
        [
            foreign("waits", "pending", created_at=after(10)),
            foreign(
                "runs", "running", started_at=after(5), task_type="cpu", deadline=NEVER, sla_multiplier=0.0
            ),
            foreign(
                "done",
                "completed",
                started_at=after(1),
                completed_at=after(9),
                task_type="cpu-heavy",
                tau=10.0,
                sla_multiplier=2.5,
                deadline=after(25),
            ),
        ]
    )
    documents["ASSIGNMENTS"].insert_many(
        [
            {"ass_id": f"ass-{name}", "task_id": name, "worker_id": "worker-1", "assigned_at": after(0.5)}
            | ({"load_at_start": 0.25} if name == "done" else {})
            for name in ("runs", "done")
        ]
    )
    documents["RESULTS"].insert_one(
        {
            "task_id": "done",
            "worker_id": "worker-1",
            "status": "success",
            "logs": "hello\n",
            "completed_at": after(9),
            "sla_success": True,
        }
    )
    documents["WORKER_REGISTRY"].insert_one(
        {
            "worker_id": "worker-1",
            "worker_ip": "10.0.0.7:50052",
            "total_cpu": 8.0,
            "total_memory": 16.0,
            "total_storage": 100.0,
            "total_gpu": 0.0,
            "is_active": True,
            "last_heartbeat": 1763294400,
            "registered_at": NOON,
        }
    )
    return documents


async def test_an_existing_clusters_documents_are_read_as_they_are(mongo_uri: str, existing: Any) -> None:
    noon = NOON.timestamp()
    async with opened(mongo_uri) as store:
        snapshot = await store.load()
        assert [task.spec.task_id for task in snapshot.tasks] == ["runs", "waits"]
        runs, waits = snapshot.tasks
        assert (waits.status.state, waits.status.attempt) == (TaskState.QUEUED, 0)
        assert (runs.status.state, runs.status.attempt) == (TaskState.RUNNING, 1)
        assert waits.spec.task_type == runs.spec.task_type == "cpu-heavy"
        assert waits.spec.tau == DEFAULT_TAU["cpu-heavy"]
        assert waits.spec.deadline == noon + 10 + 2.0 * DEFAULT_TAU["cpu-heavy"]
        assert runs.status.started_at == noon + 5
        (attempt,) = snapshot.attempts
        assert (attempt.task_id, attempt.attempt, attempt.worker_id) == ("runs", 1, "worker-1")
        assert math.isnan(attempt.cpu_avail)
        (known,) = snapshot.workers
        assert (known.address, known.cpu, known.registered_at) == ("10.0.0.7:50052", 8.0, noon)
        result = await store.result("done")
        assert result is not None
        assert (result.success, result.logs, result.finished_at) == (True, "hello\n", noon + 9)
        assert await store.count_tasks() == {
            TaskState.QUEUED: 1,
            TaskState.RUNNING: 1,
            TaskState.COMPLETED: 1,
        }
        columns = await store.history(noon, noon + 100)
        row = {name: column[0] for name, column in columns.items()}
        assert (row["actual_start"], row["actual_runtime_s"], row["tau"]) == (noon + 1, 8.0, 10.0)
        assert (row["deadline"], row["load_at_start"], row["succeeded"]) == (noon + 25, 0.25, True)


async def test_an_existing_clusters_task_is_carried_on(mongo_uri: str, existing: Any) -> None:
    async with opened(mongo_uri) as store:
        with pytest.raises(StoreConflictError, match="task 'waits' is stored already"):
            await store.commit([insert("waits")])
        ended = status(TaskState.COMPLETED, attempt=1, worker_id="worker-1", finished_at=2e9)
        await store.commit(
            [
                UpdateTask("runs", ended),
                EndAttempt("runs", 1, 2e9, AttemptEnd.COMPLETED),
                outcome("runs", attempt=1, finished_at=2e9),
                UpdateTask("waits", status(TaskState.ASSIGNED, attempt=1)),
                place("waits", 1),
                PutWorker(worker("worker-1", cpu=4.0)),
            ]
        )
        snapshot = await store.load()
        assert [each.task_id for each in snapshot.attempts] == ["waits"]
        assert snapshot.workers == (worker("worker-1", cpu=4.0),)
        assert (await store.find_tasks(["runs"]))["runs"].status == ended
        assert (await store.history(1.9e9, 2.1e9))["task_id"] == ["runs"]
    assert existing["WORKER_REGISTRY"].count_documents({}) == 1
    task = existing["TASKS"].find_one({"task_id": "runs"})
    assert (task["status"], task["completed_at"].year) == ("completed", 2033)


async def test_our_documents_have_the_existing_clusters_names_and_dates(
    mongo_uri: str, documents: Any
) -> None:
    async with opened(mongo_uri) as store:
        await store.commit([insert("a"), place("a", 2), outcome("a"), PutWorker(worker("w7"))])
    task = documents["TASKS"].find_one({"task_id": "a"})
    assert task["created_at"] == datetime.datetime(1970, 1, 1, 0, 16, 40, 250_000)
    assert (task["req_cpu"], task["status"], task["task_type"]) == (4.5, "queued", "gpu-inference")
    assignment = documents["ASSIGNMENTS"].find_one({"task_id": "a"})
    assert (assignment["ass_id"], assignment["worker_id"]) == ("a/2", "w7")
    result = documents["RESULTS"].find_one({"task_id": "a"})
    assert (result["status"], result["sla_success"]) == ("success", True)
    known = documents["WORKER_REGISTRY"].find_one({"worker_id": "w7"})
    assert (known["worker_ip"], known["total_gpu"]) == ("10.0.0.1:5000", 2.0)


async def test_two_documents_of_one_worker_are_refused_by_name(mongo_uri: str, documents: Any) -> None:
    documents["WORKER_REGISTRY"].insert_many([{"worker_id": "w"}, {"worker_id": "w"}])
    with pytest.raises(StoreOpenError, match="WORKER_REGISTRY has two documents with the same worker_id"):
        await new_store(mongo_uri).open()


@pytest.mark.parametrize(
    ("collection", "document", "what"),
    [
        ("TASKS", {"task_id": 17}, "task_id is 17"),
        ("TASKS", {"task_id": ""}, "task_id is ''"),
        ("TASKS", {"command": "true"}, "task_id is None"),
        ("WORKER_REGISTRY", {"total_cpu": 1.0}, "worker_id is None"),
    ],
)
async def test_a_document_without_an_id_is_refused_by_its_name(
    mongo_uri: str, documents: Any, existing: Any, collection: str, document: dict[str, Any], what: str
) -> None:
    documents[collection].insert_one({"_id": "this-one", **document})
    async with opened(mongo_uri) as store:
        with pytest.raises(
            StoreOpenError, match=rf"{collection} has a document \(this-one\) whose {what}; a"
        ):
            await store.load()


async def test_amounts_of_a_worker_that_are_no_numbers_are_nothing(mongo_uri: str, documents: Any) -> None:
    documents["WORKER_REGISTRY"].insert_one({"worker_id": "w", "total_cpu": "8", "total_memory": None})
    async with opened(mongo_uri) as store:
        (known,) = (await store.load()).workers
    assert (known.cpu, known.memory, known.gpu, known.storage) == (0.0, 0.0, 0.0, 0.0)


async def test_a_newer_versions_database_is_left_alone(mongo_uri: str, documents: Any) -> None:
    documents["MASTER"].insert_one({"_id": "master", "schema": 2, "fence": 1, "beat": 1, "holder": ""})
    with pytest.raises(StoreOpenError, match="newer rtscore: schema version 2, this one knows 1"):
        await new_store(mongo_uri).open()


async def test_a_reader_reads_beside_the_master(mongo_uri: str) -> None:
    async with opened(mongo_uri) as store:
        finished = [10.0, 20.0, 30.0]
        for number, finish in enumerate(finished):
            name = f"t{number}"
            await store.commit([insert(name), place(name, 2), outcome(name, finished_at=finish)])
        await store.commit([PutWorker(worker("w7"))])

        def read() -> tuple[Any, ...]:
            with reader(mongo_uri) as found:
                since = found.newest_since(2, math.inf)
                ids = found.history(since, math.inf)["task_id"]
                return ids, found.newest_since(0, math.inf), found.workers(), found.newest_params()

        assert await asyncio.to_thread(read) == (
            ["t1", "t2"],
            math.nextafter(30.0, math.inf),
            (worker("w7"),),
            None,
        )


async def test_a_server_without_its_majority_is_one_that_may_be_reached_later(
    mongo_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def wait_in_vain(*_: object) -> None:
        raise pymongo.errors.WTimeoutError("waiting for replication timed out", 64)

    monkeypatch.setattr(mongo, "_make_indexes", wait_in_vain)
    with pytest.raises(StoreUnreachableError, match="timed out"):
        await new_store(mongo_uri).open()


SECRET = "mongodb://ann:s3cret@127.0.0.1:1/rts?tlsCertificateKeyFilePassword=s3cret"


async def test_no_sentence_has_the_password(capsys: pytest.CaptureFixture[str]) -> None:
    assert without_secrets(SECRET) == "mongodb://127.0.0.1:1/rts"
    for mark in "#/:":
        assert without_secrets(f"mongodb://ann:s3cret{mark}more@db/rts?w=1") == "mongodb://db/rts"
    uri = SECRET.partition("?")[0]
    with pytest.raises(StoreUnreachableError) as refused:
        await new_store(uri).open()
    with pytest.raises(StoreOpenError) as wrong:
        await new_store("mongodb://ann:s3cret@host:notaport/rts").open()
    # Drivers before 4.20.1 repeat what they took for the database's name, and with it the password.
    with pytest.raises(StoreOpenError, match=r"escaped|[Dd]atabase name") as unescaped:
        await new_store("mongodb://ann:two/s3cret@host/rts").open()
    for error in (refused.value, wrong.value, unescaped.value):
        assert "s3cret" not in str(error)
    assert "s3cret" not in "".join(capsys.readouterr())


async def test_a_document_that_is_too_large_is_refused_before_anything_is_written(
    mongo_uri: str, documents: Any
) -> None:
    async with opened(mongo_uri) as store:
        with pytest.raises(ValueError, match="more than 16 MiB"):
            await store.commit([insert("a"), outcome("a", logs="x" * (17 << 20))])
        assert documents["TASKS"].count_documents({}) == 0
        await store.commit([insert("a")])
