"""The master without its wire: order, durability, and what happens when the store does not take writes."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from peers import until

from master.cluster import Cluster
from master.errors import StoppingError, StoreUnavailableError
from master.events import (
    Assign,
    AttemptFinished,
    AttemptId,
    Heartbeat,
    InsertAttempt,
    InsertResult,
    InsertTask,
    RegisterWorker,
    Write,
)
from master.journal import COMPANY_S, IDLE_TURN_S
from master.records import Submission, TaskState, WorkerRecord
from master.runner import Master
from master.store.base import StoreConflictError
from master.store.sqlite import SqliteStore
from master.timed import TimedScheduler
from rtscore import InMemoryTauStore, RTSScheduler, WorkerTable

WORKER = WorkerRecord("w1", cpu=8.0, memory=16.0, gpu=0.0, storage=0.0)


class Faulty(SqliteStore):
    """A real store that can be told to refuse, wait, conflict, or forget; it notes what was committed."""

    def __init__(self, path: Any) -> None:
        super().__init__(path)
        self.refuse = False
        self.conflict = False
        self.instant = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.commits: list[list[Write]] = []

    async def commit(self, writes: Sequence[Write]) -> None:
        await self.gate.wait()
        if self.refuse:
            raise StoreUnavailableError("no space left")
        if self.conflict:
            raise StoreConflictError("task t exists")
        if not self.instant:
            await super().commit(writes)
        self.commits.append(list(writes))


class Link:
    """A worker's end: notes what reaches it, and whether it was in the store by then."""

    def __init__(self, store: Faulty) -> None:
        self._store = store
        self.assigned: list[str] = []
        self.attempts: list[tuple[str, int]] = []
        self.confirmed: list[str] = []
        self.early: list[str] = []

    def _durable(self, kind: type, task_id: str) -> bool:
        return any(
            isinstance(write, kind) and write.record.task_id == task_id  # type: ignore[attr-defined]
            for commit in self._store.commits
            for write in commit
        )

    def assign(self, effect: Assign) -> None:
        self.assigned.append(effect.spec.task_id)
        self.attempts.append((effect.spec.task_id, effect.attempt))
        if not self._durable(InsertAttempt, effect.spec.task_id):
            self.early.append(effect.spec.task_id)

    def cancel(self, attempt: AttemptId) -> None:
        raise AssertionError("nothing is cancelled here")

    def recorded(self, attempt: AttemptId) -> None:
        self.confirmed.append(attempt.task_id)
        if not self._durable(InsertResult, attempt.task_id):
            self.early.append(attempt.task_id)

    def lost(self) -> None:
        raise AssertionError("nobody is lost here")


@contextlib.asynccontextmanager
async def running(tmp_path: Any) -> AsyncIterator[tuple[Master, Faulty, Link]]:
    """A master with one worker on a store that the test can disturb."""
    store = Faulty(tmp_path / "m.db")
    await store.open()
    table = WorkerTable()
    scheduler = TimedScheduler(RTSScheduler(table))
    master = Master(Cluster(table, scheduler, InMemoryTauStore()), scheduler, store, tick_s=0.05)
    await master.start()
    link = Link(store)
    master.links["w1"] = link
    await master.apply(RegisterWorker(WORKER, ()))
    try:
        yield master, store, link
    finally:
        store.gate.set()
        store.refuse = False
        await master.stop(5.0)
        await store.close()


def task(task_id: str, **fields: Any) -> Submission:
    return Submission(task_id, command="true", **fields)


async def test_a_submission_and_its_placement_share_a_commit(tmp_path: Any) -> None:
    async with running(tmp_path) as (master, store, link):
        before = len(store.commits)
        await master.submit([task("t")])
        await until(lambda: link.assigned == ["t"])
        (commit,) = store.commits[before:]
        assert {type(write) for write in commit} >= {InsertTask, InsertAttempt}


async def test_what_comes_during_a_commit_shares_the_next_one(tmp_path: Any) -> None:
    async with running(tmp_path) as (master, store, _):
        before = len(store.commits)
        store.gate.clear()
        callers = [asyncio.create_task(master.submit([task(f"t{n}")])) for n in range(50)]
        await until(lambda: len(master.cluster.counts()) and master.cluster.task("t49") is not None)
        store.gate.set()
        await asyncio.gather(*callers)
        assert len(store.commits) - before <= 3


async def test_what_a_busy_loop_brings_one_by_one_shares_commits(tmp_path: Any) -> None:
    async with running(tmp_path) as (master, store, _):
        store.instant = True
        before = len(store.commits)
        begin = time.perf_counter()

        async def submit_after(turns: int) -> None:
            for _ in range(turns):
                await asyncio.sleep(0)
            until = time.perf_counter() + 3.0 * IDLE_TURN_S
            while time.perf_counter() < until:
                pass
            await master.submit([task(f"t{turns}")])

        await asyncio.gather(*map(submit_after, range(100)))
        busy_s = time.perf_counter() - begin
        assert len(store.commits) - before <= busy_s / COMPANY_S + 2.0


async def test_no_effect_comes_before_its_writes_are_durable(tmp_path: Any) -> None:
    async with running(tmp_path) as (master, store, link):
        for name in ("a", "b", "c"):
            store.gate.clear()
            submitted = asyncio.create_task(master.submit([task(name)]))
            await until(lambda name=name: master.cluster.task(name) is not None)
            master.post(Heartbeat("w1", 0.1, 0.1, 0.0))
            store.gate.set()
            await submitted
            await until(lambda name=name: name in link.assigned)
            finished = AttemptFinished("w1", AttemptId(name, 1), success=True)
            store.gate.clear()
            master.post(finished)
            master.post(finished)
            await asyncio.sleep(0)
            assert name not in link.confirmed
            store.gate.set()
            await until(lambda name=name: link.confirmed.count(name) == 2)
        assert link.early == []
        assert link.assigned == ["a", "b", "c"]


async def test_a_submitter_whose_write_is_not_durable_is_told_so(tmp_path: Any) -> None:
    async with running(tmp_path) as (master, store, link):
        store.refuse = True
        with pytest.raises(StoreUnavailableError, match="no space"):
            await master.submit([task("t")])
        assert link.assigned == []


async def test_while_the_store_is_away_submissions_are_refused_without_a_trace(tmp_path: Any) -> None:
    async with running(tmp_path) as (master, store, _):
        store.refuse = True
        with pytest.raises(StoreUnavailableError):
            await master.submit([task("t")])
        with pytest.raises(StoreUnavailableError):
            await master.submit([task("u")])
        assert master.cluster.task("u") is None
        with pytest.raises(StoreUnavailableError):
            await master.task("t")


async def test_what_gathered_while_the_store_was_away_is_made_durable_in_order_when_it_is_back(
    tmp_path: Any,
) -> None:
    async with running(tmp_path) as (master, store, link):
        await master.submit([task("t", cpu=8.0), task("u", cpu=8.0)])
        await until(lambda: link.assigned == ["t"])
        store.refuse = True
        finished = AttemptFinished("w1", AttemptId("t", 1), success=True)
        with pytest.raises(StoreUnavailableError):
            await master.apply(finished)
        assert link.confirmed == []
        master.post(finished)
        store.refuse = False
        await until(lambda: link.confirmed == ["t", "t"] and link.assigned == ["t", "u"])
        assert link.early == []
        again = await master.submit([task("t", cpu=8.0)])
        assert again[0].status.state is TaskState.COMPLETED  # type: ignore[union-attr]
        assert (await store.result("t")) is not None


async def test_a_submission_that_was_refused_for_the_store_is_one_task_when_repeated(tmp_path: Any) -> None:
    async with running(tmp_path) as (master, store, _):
        store.refuse = True
        with pytest.raises(StoreUnavailableError):
            await master.submit([task("t")])
        store.refuse = False

        async def accepted() -> bool:
            try:
                await master.submit([task("t")])
            except StoreUnavailableError:
                return False
            return True

        await until(accepted)
        inserted = [w for commit in store.commits for w in commit if isinstance(w, InsertTask)]
        assert len(inserted) == 1


async def test_a_store_that_does_not_fit_stops_the_master(tmp_path: Any) -> None:
    async with running(tmp_path) as (master, store, link):
        store.conflict = True
        with pytest.raises(StoppingError):
            await master.submit([task("t")])
        with pytest.raises(StoreConflictError):
            await master.failed()
        with pytest.raises(StoppingError):
            await master.submit([task("u")])
        assert link.assigned == []


async def test_a_caller_that_gives_up_disturbs_nobody(tmp_path: Any) -> None:
    async with running(tmp_path) as (master, store, _):
        store.gate.clear()
        gone = asyncio.create_task(master.submit([task("t")]))
        stays = asyncio.create_task(master.submit([task("u")]))
        await until(lambda: master.cluster.task("u") is not None)
        gone.cancel()
        store.gate.set()
        assert await stays
        assert set(await store.find_tasks(["t", "u"])) == {"t", "u"}


async def test_a_stop_makes_durable_what_has_gathered_and_places_nothing_more(tmp_path: Any) -> None:
    async with running(tmp_path) as (master, store, link):
        await master.submit([task("t", cpu=8.0), task("u", cpu=8.0)])
        await until(lambda: link.assigned == ["t"])
        master.stop_placing()
        master.post(AttemptFinished("w1", AttemptId("t", 1), success=True))
        await master.stop(5.0)
        await master.stop(5.0)
        assert (await store.result("t")) is not None
        assert link.assigned == ["t"]


async def test_a_stop_does_not_wait_longer_than_its_grace_for_the_store(tmp_path: Any) -> None:
    async with running(tmp_path) as (master, store, _):
        store.gate.clear()
        waiting = asyncio.create_task(master.submit([task("t")]))
        await until(lambda: master.cluster.task("t") is not None)
        await asyncio.wait_for(master.stop(0.05), 60.0)
        with pytest.raises(StoppingError):
            await waiting


async def test_an_effect_that_cannot_be_delivered_does_not_keep_the_others(tmp_path: Any) -> None:
    async with running(tmp_path) as (master, _, link):

        def broken(effect: Assign) -> None:
            link.assigned.append(effect.spec.task_id)
            raise RuntimeError("as the test wants it")

        link.assign = broken  # type: ignore[method-assign]
        await master.submit([task("t"), task("u")])
        await until(lambda: link.assigned == ["t", "u"])


async def test_an_assignment_for_a_worker_without_a_connection_goes_back_to_the_queue(tmp_path: Any) -> None:
    async with running(tmp_path) as (master, _, link):
        del master.links["w1"]
        await master.submit([task("t")])
        await until(lambda: master.cluster.task("t").status.state is TaskState.QUEUED)  # type: ignore[union-attr]
        assert master.cluster.why_waiting("t", master.clock())
        master.links["w1"] = link


async def _forgetting(master: Master) -> None:
    """Let the master ask the store for every id, as it does while it reads those of earlier runs."""
    await until(lambda: master._stored.complete)
    master._stored.complete = False


async def test_lookups_of_many_callers_share_a_read(tmp_path: Any) -> None:
    async with running(tmp_path) as (master, store, _):
        await _forgetting(master)
        reads, find = [], store.find_tasks

        async def counted(task_ids: Any) -> Any:
            reads.append(set(task_ids))
            return await find(task_ids)

        store.find_tasks = counted  # type: ignore[method-assign]
        await asyncio.gather(*(master.submit([task(f"t{n}")]) for n in range(40)))
        assert set().union(*reads) == {f"t{n}" for n in range(40)}
        assert len(reads) <= 3


async def test_an_assignment_that_was_overtaken_by_a_new_registration_is_not_sent(tmp_path: Any) -> None:
    async with running(tmp_path) as (master, store, link):
        store.gate.clear()
        submitted = asyncio.create_task(master.submit([task("t")]))
        await until(lambda: master.cluster.task("t") and master.cluster.task("t").status.attempt == 1)  # type: ignore[union-attr]
        master.post(RegisterWorker(WORKER, ()))
        store.gate.set()
        await submitted
        await until(lambda: link.attempts == [("t", 2)])


async def test_a_caller_that_gives_up_a_lookup_disturbs_nobody(tmp_path: Any) -> None:
    async with running(tmp_path) as (master, store, _):
        await _forgetting(master)
        find, go = store.find_tasks, asyncio.Event()

        async def slow(task_ids: Any) -> Any:
            await go.wait()
            return await find(task_ids)

        store.find_tasks = slow  # type: ignore[method-assign]
        gone, stays = (asyncio.create_task(master.submit([task(name)])) for name in ("t", "u"))
        await until(lambda: master._stored._lookup._next is None and master._stored._lookup._reading.locked())
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        go.set()
        assert await stays


async def test_a_bug_in_the_middle_of_a_batch_loses_nothing_that_the_core_accepted(tmp_path: Any) -> None:
    async with running(tmp_path) as (master, store, _):
        handle = master.cluster.handle

        def broken(event: Any, now: float) -> Any:
            if getattr(event, "submission", None) and event.submission.task_id == "u":
                raise RuntimeError("as the test wants it")
            return handle(event, now)

        master.cluster.handle = broken  # type: ignore[method-assign]
        with pytest.raises(RuntimeError):
            await master.submit([task("t"), task("u")])
        await master.durable()
        assert set(await store.find_tasks(["t", "u"])) == {"t"}
