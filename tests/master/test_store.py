"""What the contract of `master.store.base` says, sentence by sentence, on every backend."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from store_samples import (
    ENDED,
    FINISHED,
    attempt,
    insert,
    outcome,
    place,
    result,
    status,
    stored,
    use,
    version,
    worker,
)

from master.errors import StoreUnavailableError
from master.events import EndAttempt, PutTau, PutWorker, RemoveWorker, UpdateTask, Write
from master.records import AttemptEnd, ParamsReason, Snapshot, TaskState, TaskStatus
from master.store.base import (
    HISTORY_FIELDS,
    KEPT_VERSIONS,
    Store,
    StoreConflictError,
    StoreOpenError,
    TaskQuery,
)

MakeStore = Callable[[], Store]


async def test_a_new_store_has_nothing(store: Store) -> None:
    assert await store.load() == Snapshot()
    assert await store.find_tasks(["a"]) == {}
    assert await store.list_tasks(TaskQuery()) == []
    assert await store.attempts("a") == []
    assert await store.result("a") is None
    assert await store.count_tasks() == {}
    assert await store.history(0.0, 1e12) == {name: [] for name in HISTORY_FIELDS}
    assert await store.params_versions(10) == []
    assert await store.params_version(1) is None


async def test_every_field_survives_closing_and_opening(make_store: MakeStore) -> None:
    store = make_store()
    await store.open()
    done, waiting = insert("done"), insert("waiting")
    await store.commit(
        [
            done,
            waiting,
            place("done", 1, **ENDED),
            place("done", 2),
            place("waiting", 1, risk=None),
            outcome("done"),
            PutWorker(worker("w7")),
            PutTau("mixed", 10.5),
        ]
    )
    await store.commit(
        [UpdateTask("done", FINISHED), EndAttempt("done", 2, 1010.75, AttemptEnd.COMPLETED)],
    )
    await store.close()
    store = make_store()
    await store.open()
    assert await store.load() == Snapshot(
        tasks=(stored(waiting),),
        attempts=(attempt("waiting", 1, risk=None),),
        workers=(worker("w7"),),
        tau={"mixed": 10.5},
    )
    assert await store.find_tasks({"done", "waiting", "unknown"}) == {
        "done": stored(done, FINISHED),
        "waiting": stored(waiting),
    }
    assert await store.attempts("done") == [
        attempt("done", 1, **ENDED),
        attempt("done", 2, ended_at=1010.75, end=AttemptEnd.COMPLETED),
    ]
    assert await store.result("done") == result("done")
    await store.close()


async def test_truth_values_come_back_as_truth_values(store: Store) -> None:
    await store.commit([insert("a"), outcome("a"), PutWorker(worker("w"))])
    await store.commit([UpdateTask("a", FINISHED)])
    (task,) = (await store.find_tasks(["a"])).values()
    recorded = await store.result("a")
    (registered,) = (await store.load()).workers
    assert recorded is not None
    values = (
        task.spec.submission.id_given,
        task.status.sla_success,
        recorded.success,
        recorded.sla_success,
        registered.draining,
    )
    assert all(type(value) is bool for value in values)


async def test_closing_again_does_nothing(store: Store) -> None:
    await store.close()
    await store.close()


async def test_a_call_before_opening_or_after_closing_says_so(make_store: MakeStore) -> None:
    store = make_store()
    with pytest.raises(StoreUnavailableError, match="not open"):
        await store.commit([insert("a")])
    await store.open()
    await store.close()
    with pytest.raises(StoreUnavailableError, match="not open"):
        await store.commit([insert("a")])
    with pytest.raises(StoreUnavailableError, match="not open"):
        await store.load()


async def test_a_closed_store_can_be_opened_again(store: Store) -> None:
    await store.commit([insert("a")])
    await store.close()
    await store.open()
    await store.commit([insert("b")])
    assert (await store.count_tasks()) == {TaskState.QUEUED: 2}


async def test_a_second_master_is_kept_out_until_the_first_closes(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("master.store.sqlite.LOCK_WAIT_S", 0.1)
    first, second = make_store(), make_store()
    await first.open()
    with pytest.raises(StoreOpenError, match="in use by another master"):
        await second.open()
    await first.commit([insert("a")])
    await first.close()
    await second.open()
    assert await second.count_tasks() == {TaskState.QUEUED: 1}
    await second.close()


async def test_an_open_store_is_not_opened_twice(store: Store) -> None:
    with pytest.raises(StoreOpenError, match="open already"):
        await store.open()
    await store.commit([insert("a")])


REFUSED: dict[str, tuple[Sequence[Write], str]] = {
    "a task that exists": ([insert("a")], "task 'a' is stored already"),
    "a task twice in one commit": ([insert("b"), insert("b")], "task 'b'"),
    "a task after an update of it": ([UpdateTask("b", status()), insert("b")], "task 'b'"),
    "an update of an unknown task": ([UpdateTask("b", status())], "task 'b' is not stored"),
    "the second of two updates is unknown": (
        [UpdateTask("a", status()), UpdateTask("b", status())],
        "task 'b' is not stored",
    ),
    "an attempt that exists": ([place("a", 1)], "attempt 1 of task 'a' is stored already"),
    "an attempt twice in one commit": ([place("a", 2), place("a", 2)], "attempt 2 of task 'a'"),
    "the end of an unknown attempt": (
        [EndAttempt("a", 2, 5.0, AttemptEnd.LOST)],
        "attempt 2 of task 'a' is not stored",
    ),
    "an attempt after its end": (
        [EndAttempt("a", 2, 5.0, AttemptEnd.LOST), place("a", 2)],
        "attempt 2 of task 'a'",
    ),
    "a second result": ([outcome("a", success=False)], "the result of task 'a' is stored already"),
    "a parameter version that exists": ([use(1)], "parameter version 1 is stored already"),
    "a parameter version twice in one commit": ([use(2), use(2)], "parameter version 2 is inserted twice"),
    "two results in one commit": ([outcome("b"), outcome("b", success=False)], "task 'b'"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_what_does_not_fit_fails_the_whole_commit_and_names_it(store: Store, case: str) -> None:
    await store.commit([insert("a"), place("a", 1), outcome("a"), PutTau("mixed", 10.0), use(1)])
    before = await store.load()
    writes, named = REFUSED[case]
    bystanders: list[Write] = [
        insert("bystander"),
        place("bystander"),
        PutTau("mixed", 99.0),
        PutWorker(worker("w")),
    ]
    for commit in ([*bystanders, *writes], [*writes, *bystanders]):
        with pytest.raises(StoreConflictError, match=named):
            await store.commit(commit)
        assert await store.load() == before
        assert await store.result("a") == result("a")
    await store.commit(bystanders)


async def test_writes_of_one_commit_take_effect_in_their_order(store: Store) -> None:
    running = TaskStatus(TaskState.RUNNING, attempt=1, worker_id="w7")
    task = insert("a")
    await store.commit(
        [
            task,
            UpdateTask("a", FINISHED),
            UpdateTask("a", running),
            place("a", 1),
            EndAttempt("a", 1, 1010.0, AttemptEnd.REFUSED),
            PutWorker(worker("gone")),
            RemoveWorker("gone"),
            RemoveWorker("back"),
            PutWorker(worker("back")),
            PutTau("mixed", 1.0),
            PutTau("mixed", 2.0),
        ]
    )
    assert await store.find_tasks(["a"]) == {"a": stored(task, running)}
    assert await store.attempts("a") == [attempt("a", 1, ended_at=1010.0, end=AttemptEnd.REFUSED)]
    snapshot = await store.load()
    assert snapshot.workers == (worker("back"),)
    assert snapshot.tau == {"mixed": 2.0}


async def test_commits_take_effect_in_the_order_of_their_calls(store: Store) -> None:
    task = insert("a")
    statuses = [status(TaskState.QUEUED, reason=f"pass {number}") for number in range(50)]
    await asyncio.gather(store.commit([task]), *(store.commit([UpdateTask("a", each)]) for each in statuses))
    assert await store.find_tasks(["a"]) == {"a": stored(task, statuses[-1])}


async def test_a_read_sees_every_commit_that_returned(store: Store) -> None:
    for number in range(100):
        await store.commit([insert(f"t{number}")])
        assert await store.count_tasks() == {TaskState.QUEUED: number + 1}


async def test_ending_an_attempt_again_replaces_its_end(store: Store) -> None:
    await store.commit([place("a", 1, **ENDED)])
    await store.commit([EndAttempt("a", 1, 2000.0, AttemptEnd.COMPLETED)])
    assert await store.attempts("a") == [attempt("a", 1, ended_at=2000.0, end=AttemptEnd.COMPLETED)]


async def test_putting_replaces_and_removing_the_absent_is_nothing(store: Store) -> None:
    await store.commit([PutWorker(worker("w")), PutTau("mixed", 1.0)])
    await store.commit([PutWorker(worker("w", cpu=99.0)), PutTau("mixed", 2.0), RemoveWorker("nobody")])
    snapshot = await store.load()
    assert snapshot.workers == (worker("w", cpu=99.0),)
    assert snapshot.tau == {"mixed": 2.0}
    await store.commit([RemoveWorker("w")])
    assert (await store.load()).workers == ()


async def test_nothing_to_write_is_fine(store: Store) -> None:
    await store.commit([])


async def test_numpy_numbers_are_numbers(store: Store) -> None:
    await store.commit([PutTau("mixed", np.float64(1.25)), place("a", load_at_start=np.float32(0.5))])
    snapshot = await store.load()
    assert snapshot.tau == {"mixed": 1.25}
    assert snapshot.attempts == (attempt("a", load_at_start=0.5),)


@pytest.mark.parametrize(
    ("write", "named"),
    [
        (PutTau("mixed", float("nan")), "NaN"),
        (UpdateTask("a", status(exit_code=2**64)), "64 bits"),
        (UpdateTask("a", status(exit_code=2**63)), "64 bits"),
        (PutTau("mi\ud800xed", 1.0), "surrogates"),
    ],
    ids=["NaN", "beyond 64 bits", "beyond 63 bits", "not Unicode"],
)
async def test_a_value_that_cannot_be_stored_fails_the_whole_commit(
    store: Store, write: Write, named: str
) -> None:
    await store.commit([insert("a")])
    with pytest.raises(ValueError, match=named):
        await store.commit([insert("b"), write])
    assert await store.find_tasks(["b"]) == {}
    await store.commit([insert("b")])


async def test_a_value_of_a_foreign_type_is_refused(store: Store) -> None:
    with pytest.raises(TypeError, match="cannot store a complex"):
        await store.commit([PutTau("mixed", 1j)])  # type: ignore[arg-type]


async def test_load_has_unfinished_tasks_and_those_of_open_attempts(store: Store) -> None:
    live = [
        insert("running", TaskState.RUNNING, submitted_at=3.0),
        insert("assigned", TaskState.ASSIGNED, submitted_at=2.0),
        insert("queued", submitted_at=1.0),
        insert("also queued", submitted_at=1.0),
    ]
    lingering = insert("lingering", TaskState.CANCELLED, submitted_at=0.5)
    over = [
        insert("completed", TaskState.COMPLETED),
        insert("failed", TaskState.FAILED),
        insert("cancelled", TaskState.CANCELLED),
    ]
    attempts = [place("running", 3), place("lingering", 2), place("running", 2, **ENDED)]
    await store.commit([*live, *over, lingering, *attempts, place("failed", 1, **ENDED)])
    await store.commit([PutWorker(worker("w2")), PutWorker(worker("w1"))])
    snapshot = await store.load()
    ids = [task.spec.task_id for task in snapshot.tasks]
    assert ids == ["lingering", "also queued", "queued", "assigned", "running"]
    assert snapshot.attempts == (attempt("lingering", 2), attempt("running", 3))
    assert snapshot.workers == (worker("w1"), worker("w2"))


async def test_a_page_goes_from_the_newest_on_and_ties_by_descending_id(store: Store) -> None:
    times = {"a": 1.0, "b": 2.0, "c": 2.0, "d": 2.0, "e": 3.0}
    await store.commit(
        [
            insert(task_id, state, submitted_at=at)
            for (task_id, at), state in zip(times.items(), TaskState, strict=False)
        ]
    )

    async def page(after: tuple[float, str] | None, limit: int) -> str:
        tasks = await store.list_tasks(TaskQuery(limit=limit, after=after))
        return "".join(task.spec.task_id for task in tasks)

    assert await page(None, 100) == "edcba"
    assert await page(None, 2) == "ed"
    assert await page((2.0, "d"), 2) == "cb"
    assert await page((2.0, "b"), 2) == "a"
    assert await page((1.0, "a"), 2) == ""
    assert await page((2.5, ""), 9) == "dcba"
    assert await page(None, 0) == ""
    assert await page(None, -1) == ""
    assert await page(None, 2**80) == "edcba"


async def test_a_listing_keeps_to_the_states_and_the_user(store: Store) -> None:
    states = list(TaskState)
    await store.commit(
        [
            insert(f"{state}-{user}", state, user_id=user, submitted_at=float(number))
            for number, state in enumerate(states)
            for user in ("", "alice", "bob")
        ]
    )

    async def ids(**query: object) -> list[str]:
        return [task.spec.task_id for task in await store.list_tasks(TaskQuery(**query))]  # type: ignore[arg-type]

    two = frozenset({TaskState.QUEUED, TaskState.FAILED})
    assert await ids(states=two, user_id="alice") == ["failed-alice", "queued-alice"]
    assert await ids(user_id="bob") == [f"{state}-bob" for state in reversed(states)]
    assert await ids(states=two) == [
        f"{state}-{user}" for state in ("failed", "queued") for user in ("bob", "alice", "")
    ]
    assert len(await ids()) == 18
    assert await ids(user_id="carol") == []


async def test_counts_follow_the_states(store: Store) -> None:
    await store.commit([insert("a"), insert("b"), insert("c", TaskState.RUNNING)])
    await store.commit([UpdateTask("c", FINISHED)])
    assert await store.count_tasks() == {TaskState.QUEUED: 2, TaskState.FAILED: 1}


async def test_a_cancelled_commit_is_made_or_not_made_and_disturbs_nobody(store: Store) -> None:
    for number in range(50):
        calls = [
            asyncio.create_task(store.commit([insert(f"{number}-{part}-{row}") for row in range(5)]))
            for part in range(3)
        ]
        for _ in range(number % 4):
            await asyncio.sleep(0)
        calls[1].cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        found = await store.find_tasks(f"{number}-{part}-{row}" for part in range(3) for row in range(5))
        parts = [sum(task_id.startswith(f"{number}-{part}-") for task_id in found) for part in range(3)]
        assert parts[0] == parts[2] == 5
        assert parts[1] in (0, 5)


async def test_closing_finishes_what_is_under_way(make_store: MakeStore) -> None:
    store = make_store()
    await store.open()
    commits = [asyncio.create_task(store.commit([insert(f"t{number}")])) for number in range(20)]
    reading = asyncio.create_task(store.load())
    await asyncio.sleep(0)
    await store.close()
    await asyncio.gather(*commits, reading)
    await store.open()
    assert await store.count_tasks() == {TaskState.QUEUED: 20}
    await store.close()


async def test_an_answer_of_many_rows_comes_whole(store: Store) -> None:
    writes = [insert(f"{number:05}", submitted_at=float(number)) for number in range(12_000)]
    await store.commit(writes)
    assert [task.spec for task in (await store.load()).tasks] == [write.spec for write in writes]
    assert len(await store.find_tasks([write.spec.task_id for write in writes])) == 12_000
    assert len(await store.list_tasks(TaskQuery(limit=11_000))) == 11_000


async def test_what_a_placement_was_chosen_from_comes_back_byte_for_byte(store: Store) -> None:
    kept = {"decision": bytes(range(256)), **ENDED}
    await store.commit([insert("a"), place("a", 1, **kept), place("a", 2, decision=None)])
    assert await store.attempts("a") == [attempt("a", 1, **kept), attempt("a", 2, decision=None)]
    assert (await store.load()).attempts == (attempt("a", 2, decision=None),)


async def test_a_history_joins_a_result_with_its_task_and_its_attempt(store: Store) -> None:
    await store.commit([insert("a", submitted_at=1000.25), place("a", 1, load_at_start=0.9, cpu_avail=1.0)])
    await store.commit([place("a", 2, worker_id="w8"), outcome("a", worker_id="w8", sla_success=False)])
    columns = await store.history(1000.0, 1100.0)
    assert tuple(columns) == HISTORY_FIELDS
    assert {name: column[0] for name, column in columns.items()} == {
        "task_id": "a",
        "worker_id": "w8",
        "type": "gpu-inference",
        "arrival": 1000.25,
        "deadline": 1000.25 + 25.3,
        "actual_start": 1002.5,
        "actual_finish": 1010.75,
        "actual_runtime_s": 8.2,
        "sla_success": False,
        "cpu_used": 4.5,
        "memory_used": 8.125,
        "gpu_used": 0.5,
        "storage_used": 1.75,
        "load_at_start": 0.25,
        "tau": 10.1,
        "sla_multiplier": 2.5,
        "cpu_available": 12.0,
        "memory_available": 48.5,
        "gpu_available": 1.5,
        "succeeded": True,
    }
    assert all(len(column) == 1 for column in columns.values())
    assert type(columns["sla_success"][0]) is type(columns["succeeded"][0]) is bool


async def test_a_history_is_half_open_and_goes_from_the_oldest_finish_on(store: Store) -> None:
    finishes = {"d": 10.0, "c": 30.0, "b": 20.0, "a": 20.0, "e": 9.5}
    for task_id, finished_at in finishes.items():
        placed = place(task_id, 2)
        await store.commit([insert(task_id), placed, outcome(task_id, finished_at=finished_at)])
    await store.commit([insert("unfinished"), place("unfinished", 1)])
    columns = await store.history(10.0, 30.0)
    assert columns["task_id"] == ["d", "a", "b"]
    assert columns["actual_finish"] == [10.0, 20.0, 20.0]


async def test_parameter_versions_come_back_whole_and_newest_first(make_store: MakeStore) -> None:
    store = make_store()
    await store.open()
    by_hand = use(2, reason=ParamsReason.AUTO_ROLLBACK, params='{"Meta": {"wörd": "✓"}}', evidence="{}")
    await store.commit([use(1), by_hand])
    await store.commit([use(3)])
    await store.close()
    store = make_store()
    await store.open()
    assert await store.params_versions(2) == [version(3), by_hand.record]
    assert await store.params_versions(0) == []
    assert await store.params_version(2) == by_hand.record
    assert await store.params_version(4) is None
    await store.close()


async def test_the_newest_fifty_parameter_versions_are_kept(store: Store) -> None:
    assert KEPT_VERSIONS == 50
    await store.commit([use(number) for number in range(1, 50)])
    assert [v.version for v in await store.params_versions(99)] == list(range(49, 0, -1))
    for number in range(50, 54):
        await store.commit([use(number)])
    assert [v.version for v in await store.params_versions(99)] == list(range(53, 3, -1))
    assert await store.params_version(3) is None
    assert await store.params_version(4) == version(4)
