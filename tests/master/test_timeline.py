"""Timelines: what a store counts in which span; and searches that look at a part."""

from __future__ import annotations

import math
from typing import Any

import pytest
import store_samples as some
from msgspec.structs import replace

from master.events import InsertTask
from master.records import TaskState, TaskStatus
from master.store.base import Store, TaskQuery
from master.timeline import Bucket, wait_bin

COMPLETED, FAILED = TaskState.COMPLETED, TaskState.FAILED


def ended(
    task_id: str,
    *,
    submitted: float,
    started: float,
    at: float,
    deadline: float,
    state: TaskState = COMPLETED,
) -> InsertTask:
    met = state is COMPLETED and at <= deadline
    status = TaskStatus(state, 1, "w", submitted, started, at, at - started, 0, met)
    return InsertTask(some.spec(task_id, submitted_at=submitted, deadline=deadline), status)


def named(write: InsertTask, task_type: str) -> InsertTask:
    return InsertTask(replace(write.spec, task_type=task_type), write.status)


async def series(store: Store, since: float, until: float, buckets: int, most: int = 1000) -> Any:
    found = await store.timeline(since, until, buckets, most)
    assert (found.since, found.until, found.bucket_s) == (since, until, (until - since) / buckets)
    return found.counted_since, found.series


async def test_a_task_counts_where_it_was_submitted_and_again_where_it_ended(store: Store) -> None:
    await store.commit(
        [
            ended("a", submitted=1001.0, started=1003.0, at=1011.0, deadline=1012.0),
            ended("b", submitted=1002.0, started=1006.0, at=1015.0, deadline=1012.0),
            ended("c", submitted=1012.0, started=1013.0, at=1016.0, deadline=1100.0, state=FAILED),
            some.insert("d", TaskState.RUNNING, submitted_at=1019.5),
            InsertTask(
                some.spec("e", submitted_at=1013.0), TaskStatus(TaskState.CANCELLED, finished_at=1014.0)
            ),
        ]
    )
    first, found = await series(store, 1000.0, 1020.0, 2)
    assert first == 1000.0
    begin, end = found[""]
    assert begin == Bucket(submitted=2)
    assert (end.submitted, end.finished, end.failed, end.met, end.missed) == (3, 3, 1, 1, 2)
    assert end.wait_mean_s == pytest.approx(7.0 / 3.0)
    assert end.wait_p95_s == pytest.approx(4.0, rel=0.05)
    assert end.lateness_mean_s == pytest.approx(1.0)
    assert found["gpu-inference"] == found[""]


async def test_each_type_has_a_series_and_an_unknown_one_counts_among_all(store: Store) -> None:
    one = ended("a", submitted=1001.0, started=1002.0, at=1003.0, deadline=1010.0)
    two = ended("b", submitted=1001.5, started=1002.0, at=1003.0, deadline=1010.0)
    three = ended("c", submitted=1001.5, started=1002.0, at=1003.0, deadline=1010.0)
    await store.commit([named(one, "mixed"), named(two, "cpu-light"), named(three, "dl")])
    _, found = await series(store, 1000.0, 1010.0, 1)
    assert {name: buckets[0].finished for name, buckets in found.items()} == {
        "": 3,
        "cpu-light": 1,
        "mixed": 1,
    }


async def test_a_window_is_half_open(store: Store) -> None:
    at = [999.75, 1000.0, 1004.75, 1005.0]
    await store.commit([ended(f"t{x}", submitted=x, started=x, at=x, deadline=2000.0) for x in at])
    _, found = await series(store, 1000.0, 1005.0, 5)
    assert [bucket.submitted for bucket in found[""]] == [1, 0, 0, 0, 1]
    assert [bucket.finished for bucket in found[""]] == [1, 0, 0, 0, 1]
    assert await series(store, 2000.0, 3000.0, 3) == (2000.0, {"": [Bucket()] * 3})


async def test_only_the_newest_count_and_it_is_said_since_when(store: Store) -> None:
    await store.commit(
        [
            ended(f"t{n}", submitted=1000.0 + n, started=1000.5 + n, at=1001.0 + n, deadline=2000.0)
            for n in range(10)
        ]
    )
    first, found = await series(store, 1000.0, 1020.0, 20, most=4)
    assert 1007.0 < first < 1007.5
    assert [n for n, bucket in enumerate(found[""]) if bucket.submitted] == [8, 9]
    assert [n for n, bucket in enumerate(found[""]) if bucket.finished] == [8, 9, 10]


def test_no_wait_is_shorter_than_the_first_bin_and_bins_ascend() -> None:
    assert [wait_bin(w) for w in (-1.0, 0.0, 0.001, 0.0011)] == [0, 0, 0, 1]
    waits = [0.002 * 1.05**n for n in range(400)]
    bins = [wait_bin(w) for w in waits]
    assert bins == sorted(bins)
    for wait, bin_ in zip(waits, bins, strict=True):
        assert 0.001 * 2.0 ** ((bin_ + 0.5) / 8) == pytest.approx(wait, rel=0.0451)


async def test_a_search_narrows_a_listing_by_each_of_its_fields(store: Store) -> None:
    failed = replace(some.FINISHED, worker_id="w8", state=COMPLETED, sla_success=True)
    first = some.insert("Job-1", submitted_at=1.0, user_id="Bob", task_type="mixed")
    await store.commit(
        [
            first,
            InsertTask(some.spec("job-2", submitted_at=2.0), some.FINISHED),
            InsertTask(some.spec("x%y_z.*", submitted_at=3.0, user_id=""), failed),
        ]
    )

    async def found(**query: Any) -> list[str]:
        return [task.spec.task_id for task in await store.list_tasks(TaskQuery(**query))]

    assert await found(worker_id="w7") == ["job-2"]
    assert await found(task_type="mixed") == ["Job-1"]
    assert await found(sla_success=True) == ["x%y_z.*"]
    assert await found(sla_success=False) == ["job-2"]
    assert await found(text="JOB-") == ["job-2", "Job-1"]
    assert await found(text="bob") == ["Job-1"]
    assert await found(text="ETC/hostname") == ["x%y_z.*", "job-2", "Job-1"]
    assert await found(text="%y_z.*") == ["x%y_z.*"]
    assert await found(text="j.b") == []
    assert await found(text="job", states=frozenset({FAILED}), user_id="alice") == ["job-2"]
    assert await found(text="job", after=(2.0, "job-2")) == ["Job-1"]
    assert await found(text="job", until=(2.0, "job-2")) == ["job-2"]
    assert await found(until=(2.0, "job-2")) == ["x%y_z.*", "job-2"]


async def test_a_position_is_that_of_the_last_task_that_was_counted(store: Store) -> None:
    times = [1.0, 2.0, 2.0, 2.0004, 3.0]
    states = [TaskState.QUEUED, TaskState.RUNNING, TaskState.QUEUED, TaskState.ASSIGNED, TaskState.RUNNING]
    await store.commit(
        [
            some.insert(f"t{n}", state, submitted_at=at)
            for n, (at, state) in enumerate(zip(times, states, strict=True))
        ]
    )
    everything = [(t.spec.submitted_at, t.spec.task_id) for t in await store.list_tasks(TaskQuery())]
    for count in range(1, 6):
        position = await store.list_position(TaskQuery(limit=0, text="none"), count)
        assert position == everything[count - 1]
        part = await store.list_tasks(TaskQuery(until=position))
        assert [t.spec.task_id for t in part] == [task_id for _, task_id in everything[:count]]
    assert await store.list_position(TaskQuery(), 6) is None
    assert await store.list_position(TaskQuery(after=everything[1]), 2) == everything[3]
    assert await store.list_position(TaskQuery(states=frozenset({FAILED})), 1) is None
    assert await store.list_position(TaskQuery(user_id="alice", after=(math.inf, "")), 2) == everything[1]
