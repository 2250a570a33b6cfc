"""Group commit: who is merged with whom, who fails, and what a caller may rely on."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from store_samples import insert, outcome, result, stored

from master.errors import StoreUnavailableError
from master.events import InsertTask, UpdateTask, Write
from master.records import TaskState, TaskStatus
from master.store.base import Store, StoreConflictError
from master.store.group import GroupCommit


class Watched:
    """The store under test, with a door that commits wait at, a record of them, and failures on demand."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.door = asyncio.Event()
        self.door.set()
        self.sizes: list[int] = []
        self.unavailable = False

    async def commit(self, writes: Sequence[Write]) -> None:
        self.sizes.append(len(writes))
        await self.door.wait()
        if self.unavailable:
            raise StoreUnavailableError("disk full")
        await self._store.commit(writes)


@pytest.fixture
def watched(store: Store) -> Watched:
    return Watched(store)


@pytest.fixture
def group(watched: Watched) -> GroupCommit:
    return GroupCommit(watched, max_rows=10)  # type: ignore[arg-type]


async def rounds(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_lone_writer_is_written_at_once(group: GroupCommit, watched: Watched) -> None:
    watched.door.clear()
    writing = asyncio.create_task(group.write([insert("a")]))
    await rounds()
    assert watched.sizes == [1]
    watched.door.set()
    await writing


async def test_what_comes_during_a_commit_is_the_next_one(
    group: GroupCommit, watched: Watched, store: Store
) -> None:
    watched.door.clear()
    writing = [asyncio.create_task(group.write([insert("first")]))]
    await rounds()
    writing += [asyncio.create_task(group.write([insert(f"{n}a"), insert(f"{n}b")])) for n in range(4)]
    await rounds()
    assert not any(each.done() for each in writing)
    watched.door.set()
    await asyncio.gather(*writing)
    assert watched.sizes == [1, 8]
    assert await store.count_tasks() == {TaskState.QUEUED: 9}


async def test_callers_of_the_same_moment_share_a_commit(group: GroupCommit, watched: Watched) -> None:
    await asyncio.gather(*(group.write([insert(f"{n}")]) for n in range(7)))
    assert watched.sizes == [7]


async def test_a_commit_has_at_most_max_rows_but_a_call_is_never_split(
    group: GroupCommit, watched: Watched, store: Store
) -> None:
    sizes = (4, 4, 4, 25, 1, 9, 1)
    await asyncio.gather(
        *(group.write([insert(f"{n}-{row}") for row in range(size)]) for n, size in enumerate(sizes))
    )
    assert watched.sizes == [8, 4, 25, 10, 1]
    assert await store.count_tasks() == {TaskState.QUEUED: sum(sizes)}


async def test_a_write_is_durable_when_it_returns(group: GroupCommit, store: Store) -> None:
    async def write_and_look(task_id: str) -> None:
        await group.write([insert(task_id)])
        assert task_id in await store.find_tasks([task_id])

    await asyncio.gather(*(write_and_look(f"{n}") for n in range(50)))


async def test_writes_take_effect_in_the_order_of_the_calls(group: GroupCommit, store: Store) -> None:
    task = insert("a")
    later = [TaskStatus(attempt=n) for n in range(40)]
    await asyncio.gather(group.write([task]), *(group.write([UpdateTask("a", each)]) for each in later))
    assert await store.find_tasks(["a"]) == {"a": stored(task, later[-1])}


@pytest.mark.parametrize("guilty", [0, 2, 4])
async def test_only_the_caller_whose_writes_do_not_fit_fails(
    group: GroupCommit, store: Store, guilty: int
) -> None:
    await store.commit([insert("taken")])
    calls = [[insert(f"{n}"), outcome(f"{n}")] for n in range(5)]
    calls[guilty] = [insert("companion"), insert("taken")]
    answers = await asyncio.gather(*map(group.write, calls), return_exceptions=True)
    assert [type(answer) for answer in answers if answer is not None] == [StoreConflictError]
    assert isinstance(answers[guilty], StoreConflictError)
    assert await store.find_tasks(["companion"]) == {}
    assert len(await store.find_tasks([f"{n}" for n in range(5)])) == 4


async def test_of_two_callers_with_the_same_key_the_first_wins(group: GroupCommit, store: Store) -> None:
    answers = await asyncio.gather(
        group.write([outcome("a")]),
        group.write([outcome("a", success=False)]),
        return_exceptions=True,
    )
    assert answers[0] is None
    assert isinstance(answers[1], StoreConflictError)
    assert await store.result("a") == result("a")


async def test_a_value_that_cannot_be_stored_fails_its_caller_only(group: GroupCommit, store: Store) -> None:
    bad = InsertTask(insert("bad").spec, TaskStatus(exit_code=2**63))
    answers = await asyncio.gather(
        group.write([insert("a")]), group.write([bad]), group.write([insert("b")]), return_exceptions=True
    )
    assert isinstance(answers[1], ValueError)
    assert set(await store.find_tasks(["a", "b", "bad"])) == {"a", "b"}


async def test_an_unavailable_store_fails_everyone_in_the_group_and_no_one_after(
    group: GroupCommit, watched: Watched, store: Store
) -> None:
    watched.unavailable = True
    answers = await asyncio.gather(*(group.write([insert(f"{n}")]) for n in range(5)), return_exceptions=True)
    assert all(isinstance(answer, StoreUnavailableError) for answer in answers)
    assert len({id(answer) for answer in answers}) == 5
    assert watched.sizes == [5]
    watched.unavailable = False
    await group.write([insert("after")])
    assert set(await store.find_tasks(["0", "after"])) == {"after"}


async def test_cancelling_a_caller_neither_recalls_its_writes_nor_hurts_the_others(
    group: GroupCommit, watched: Watched, store: Store
) -> None:
    watched.door.clear()
    writing = [asyncio.create_task(group.write([insert(f"{n}a"), insert(f"{n}b")])) for n in range(3)]
    await rounds()
    late = asyncio.create_task(group.write([insert("late")]))
    await rounds()
    writing[1].cancel()
    late.cancel()
    await rounds()
    watched.door.set()
    answers = await asyncio.gather(*writing, late, return_exceptions=True)
    assert [type(answer) for answer in answers] == [
        type(None),
        asyncio.CancelledError,
        type(None),
        asyncio.CancelledError,
    ]
    await group.close()
    assert await store.count_tasks() == {TaskState.QUEUED: 7}


async def test_closing_settles_what_came_and_takes_no_more(
    group: GroupCommit, watched: Watched, store: Store
) -> None:
    watched.door.clear()
    writing = [asyncio.create_task(group.write([insert(f"{n}")])) for n in range(3)]
    await rounds()
    writing.append(asyncio.create_task(group.write([insert("queued behind")])))
    await rounds()
    closing = asyncio.create_task(group.close())
    await rounds()
    assert not closing.done()
    with pytest.raises(StoreUnavailableError, match="being closed"):
        await group.write([insert("too late")])
    watched.door.set()
    await closing
    assert all(each.done() for each in writing)
    await group.close()
    assert await store.count_tasks() == {TaskState.QUEUED: 4}
