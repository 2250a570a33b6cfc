"""What people look at, through the client: searches, the queue in its order, workers, numbers, learning."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from learned_samples import recorded, totals, write_history
from peers import SessionWorker, config, serving, until
from test_learning import KEPT, Server, accepted, learning

from master import runner
from master.epochs import EpochProgress, EpochRequest
from master.training import Trainer, TrainerError
from rtscore import GAParams
from rtscore.client import AsyncMasterClient, RequestError, TaskPage, TaskSpec
from rtscore.params import params_to_dict


def ids(page: TaskPage) -> list[str]:
    return [task.task_id for task in page.tasks]


async def pages(ask: Callable[..., Any], **query: Any) -> list[Any]:
    """Every page of a listing, asked for by token."""
    found = [await ask(**query)]
    while token := found[-1].next_page_token:
        found.append(await ask(**query, page_token=token))
    return found


async def waiting(client: AsyncMasterClient, count: int, **fields: Any) -> None:
    """Tasks that no worker can have, "t0" the last to be placed."""
    now = time.time()
    await client.submit_many(
        [TaskSpec("true", f"t{n}", cpu=64 + n % 7, deadline=now + 10_000 - n, **fields) for n in range(count)]
    )


@contextlib.asynccontextmanager
async def cluster(tmp_path: Path) -> Any:
    # Workers that say nothing stay, however slow this machine is.
    settings = config(tmp_path, heartbeat_interval_s=60.0)
    async with serving(settings) as (server, _), AsyncMasterClient(server.address) as client:
        yield server, client


# ---- tasks ----


async def test_a_search_finds_what_lies_far_back_over_pages_of_which_some_are_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "SEARCHED", 10)
    async with cluster(tmp_path) as (_, client):
        await waiting(client, 35)
        found = await pages(client.task_page, text="T3", page_size=2)
        assert [task for page in found for task in ids(page)] == ["t34", "t33", "t32", "t31", "t30", "t3"]
        assert max(len(page.tasks) for page in found) == 2
        assert [] in map(ids, found)
        assert {page.total for page in found} == {None}


async def test_pages_join_to_one_list_whatever_arrives_meanwhile(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (_, client):
        await waiting(client, 10)
        number = 0

        async def next_page(**query: Any) -> TaskPage:
            nonlocal number
            number += 1
            await client.submit(TaskSpec("true", f"new{number}", cpu=64))
            return await client.task_page(**query)

        found = [task for page in await pages(next_page, text="TRUE", page_size=3) for task in ids(page)]
        assert found == ["new1", *(f"t{n}" for n in reversed(range(10)))]


async def test_a_search_narrows_by_worker_type_and_deadline(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (server, client), SessionWorker(server.address) as worker:
        await client.submit(TaskSpec("true", "fast", cpu=1))
        await client.submit(TaskSpec("true", "late", memory=1, task_type="mixed", deadline=time.time() - 1))
        for _ in range(2):
            await worker.finished(await worker.next_assignment())
        await until(lambda: len(worker.recorded) == 2)
        await client.submit(TaskSpec("true", "waits", cpu=64))
        assert ids(await client.task_page(worker_id="w1")) == ["late", "fast"]
        assert ids(await client.task_page(worker_id="w2")) == []
        assert ids(await client.task_page(task_type="mixed")) == ["late"]
        assert ids(await client.task_page(sla="met")) == ["fast"]
        assert [task.task_id async for task in client.tasks(sla="missed")] == ["late"]
        assert ids(await client.task_page(["completed"], text="AS")) == ["fast"]
        with pytest.raises(ValueError, match="met, missed"):
            await client.task_page(sla="maybe")
        with pytest.raises(RequestError, match=r"task_type.*'huge' came; allowed are"):
            await client.task_page(task_type="huge")
        with pytest.raises(RequestError, match="at most 256"):
            await client.task_page(text="x" * 257)


async def test_the_queue_is_listed_in_the_order_in_which_it_is_placed(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (_, client):
        await waiting(client, 20)
        now = time.time()
        await client.submit(TaskSpec("true", "hopeless2", cpu=64, deadline=now - 5))
        await client.submit(TaskSpec("true", "hopeless1", cpu=65, deadline=now - 9))
        await client.submit(TaskSpec("true", "gone", cpu=64))
        await client.cancel("gone")
        found = await pages(client.task_page, order="queue", page_size=6)
        order = [task for page in found for task in ids(page)]
        assert order == [*(f"t{n}" for n in reversed(range(20))), "hopeless2", "hopeless1"]
        assert [len(page.tasks) for page in found] == [6, 6, 6, 4]
        assert {page.total for page in found} == {22}
        assert ids(await client.task_page(order="queue", text="t1", page_size=3)) == ["t19", "t18", "t17"]
        with pytest.raises(RequestError, match="only that is allowed"):
            await client.task_page(["running"], order="queue")
        with pytest.raises(RequestError, match="page_token"):
            await client.task_page(
                order="queue", page_token=(await client.task_page(page_size=1)).next_page_token
            )


async def test_the_total_is_told_where_the_master_knows_it(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (_, client):
        await waiting(client, 3, user_id="alice")
        await client.submit(TaskSpec("true", "other", cpu=64, user_id="bob"))
        await client.cancel("t0")
        assert (await client.task_page()).total == 4
        assert (await client.task_page(["queued"], page_size=1)).total == 3
        assert (await client.task_page(["cancelled"])).total == 1
        assert (await client.task_page(["queued"], "alice")).total == 2
        assert (await client.task_page(user_id="alice")).total is None


# ---- workers ----


async def test_workers_come_in_pages_by_what_is_asked(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (server, client), contextlib.AsyncExitStack() as stack:
        for number in range(7):
            await stack.enter_async_context(
                SessionWorker(server.address, f"w{number}", total_cpu=4.0 * (1 + number % 3))
            )
        await client.submit(TaskSpec("true", "big", cpu=12, memory=1))
        await until(lambda: server.master.cluster.counts()["assigned"])
        ran_on = (await client.task("big")).worker_id
        for descending in (False, True):
            found = await pages(client.worker_page, page_size=3, descending=descending)
            names = [worker.worker_id for page in found for worker in page.workers]
            assert names == sorted((f"w{n}" for n in range(7)), reverse=descending)
            assert {page.total for page in found} == {7}
        for order in ("running", "use", "load"):
            busiest = await client.worker_page(order=order, descending=True, page_size=1)
            assert [worker.worker_id for worker in busiest.workers] == [ran_on], order
            found = await pages(client.worker_page, order=order, page_size=2)
            names = [worker.worker_id for page in found for worker in page.workers]
            assert len(names) == len(set(names)) == 7
            assert names[-1] == ran_on
        await client.drain("w3")
        page = await client.worker_page(["draining"], text="W")
        assert [(worker.worker_id, worker.executors) for worker in page.workers] == [("w3", ("process",))]
        assert page.total == 1
        assert len(await client.workers()) == 7
        with pytest.raises(RequestError, match=r"states.*'asleep' came; allowed are active"):
            await client.worker_page(["asleep"])


# ---- numbers ----


async def test_the_numbers_of_a_cluster_add_up(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (server, client):
        await waiting(client, 3)
        async with SessionWorker(server.address, "w1"), SessionWorker(server.address, "w2") as second:
            await client.drain("w1")
            await client.submit(TaskSpec("true", "a", cpu=2, memory=4))
            await second.finished(await second.next_assignment())
            await until(lambda: second.recorded)
            await client.submit(TaskSpec("true", "b", cpu=2, memory=4, deadline=time.time() - 1))
            await second.next_assignment()
            await client.submit(TaskSpec("true", "c", cpu=64, deadline=time.time() - 1))
            found = await client.stats()
        assert (found.total_cpu, found.total_memory, found.total_storage) == (16.0, 32.0, 200.0)
        assert (found.cpu_avail, found.memory_avail, found.storage_avail) == (14.0, 28.0, 200.0)
        assert found.workers == {"active": 1, "draining": 1}
        assert (found.queued, found.queued_hopeless, found.queued_parked) == (4, 1, 0)
        assert (found.submitted_since_start, found.finished_since_start) == (6, 1)
        assert (found.sla_met_since_start, found.sla_missed_since_start) == (1, 0)
        assert sum(tasks for _, tasks in found.queue_reasons) == 4
        assert found.queue_reasons[0][1] == 2
        assert found.queue_reasons[0][0].startswith("needs cpu 64; the largest worker has 8")
        assert abs(found.now - time.time()) < 60.0


async def test_what_a_silent_worker_has_counts_for_nobody(tmp_path: Path) -> None:
    settings = config(tmp_path, heartbeat_interval_s=0.1)
    async with (
        serving(settings) as (server, _),
        AsyncMasterClient(server.address) as client,
        SessionWorker(server.address),
    ):
        await until(lambda: server.master.cluster.overview(0.0).workers == {"inactive": 1})
        found = await client.stats()
        assert (found.total_cpu, found.cpu_avail, found.workers) == (0.0, 0.0, {"inactive": 1})


async def test_a_timeline_shows_what_was_submitted_and_what_ended(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (server, client), SessionWorker(server.address) as worker:
        begin = time.time()
        await client.submit(TaskSpec("true", "a", cpu=1))
        await worker.finished(await worker.next_assignment())
        await until(lambda: worker.recorded)
        await waiting(client, 3)
        found = await client.timeline(begin - 60.0, begin + 60.0, buckets=1, by_type=True)
        (bucket,) = found.series[""]
        assert (bucket.submitted, bucket.finished, bucket.met, bucket.missed) == (4, 1, 1, 0)
        assert found.series["cpu-light"][0].finished == 1
        assert found.counted_since == found.since == begin - 60.0
        assert len((await client.timeline()).series[""]) == 60
        assert list((await client.timeline()).series) == [""]
        for wrong, field in (
            ({"buckets": 501}, "buckets"),
            ({"since": float("nan")}, "since"),
            ({"until": -1.0}, "until"),
            ({"since": begin, "until": begin}, "until"),
        ):
            with pytest.raises(RequestError) as caught:
                await client.timeline(**wrong)
            assert caught.value.field == field


# ---- learning ----


async def test_a_running_epoch_is_seen_with_every_generation_so_far(tmp_path: Path) -> None:
    async with learning(tmp_path, ga_epoch_interval_s=0.0) as server:
        told, go_on = asyncio.Event(), asyncio.Event()

        async def epoch(request: EpochRequest, progress: Callable[[EpochProgress], None]) -> Any:
            for number in range(3):
                progress(EpochProgress(generation=number, best=float(number), mean=None))
            told.set()
            await go_on.wait()
            return accepted(5.0)

        server.script.epoch = epoch  # type: ignore[method-assign, assignment]
        async with AsyncMasterClient(server.address) as client:
            assert (await client.learning()).running is None
            training = asyncio.create_task(client.train())
            await told.wait()
            state = await client.learning()
            assert state.running is not None
            assert state.running.requested
            assert [(each.number, each.best) for each in state.running.course] == [(0, 0), (1, 1), (2, 2)]
            assert state.running.course[0].mean != state.running.course[0].mean
            assert state.past == ()
            go_on.set()
            await training
            state = await client.learning()
            assert state.running is None
            (past,) = state.past
            assert (past.verdict, past.params_version, past.requested) == ("accepted", 2, True)
            assert len(past.course) == 3
            assert state.probation is not None
            assert (state.probation.seen, state.probation.needed, state.probation.promised) == (0, 200, 0.9)
            assert "version 2 is on probation" in state.held_back
            assert [(m.task_type, m.records, m.workers) for m in state.model] == [("mixed", 50, 1)]
            assert state.next_epoch_at == 0.0


def over(server: Server, epochs: int) -> bool:
    """Whether so many epochs are."""
    return len(server.learned.epochs.past) >= epochs


async def test_past_epochs_say_what_became_of_them_newest_first(tmp_path: Path) -> None:
    answers = (TrainerError("it died"), KEPT, accepted(5.0), accepted(6.0))
    async with learning(tmp_path, *answers, ga_epoch_interval_s=0.02) as server:
        for number, epochs in enumerate((2, 3, 4)):
            await server.finish(1, prefix=f"round{number}-")
            await until(partial(over, server, epochs))
        async with AsyncMasterClient(server.address) as client:
            state = await client.learning()
        oldest = state.past[::-1]
        verdicts = [(past.verdict, past.params_version) for past in oldest]
        assert verdicts[:4] == [("failed", 0), ("kept", 0), ("accepted", 2), ("kept", 0)]
        assert oldest[0].reason == "it died"
        assert "on probation" in oldest[3].reason
        assert state.trainer_failures == 1
        assert state.epoch_interval_s == 0.02


async def test_a_scheduler_without_parameters_learns_nothing_and_says_so(tmp_path: Path) -> None:
    settings = config(tmp_path, scheduler="round-robin")
    async with serving(settings) as (server, _), AsyncMasterClient(server.address) as client:
        with pytest.raises(RequestError, match="has no parameters"):
            await client.learning()


async def test_the_trainer_tells_of_each_generation_while_it_searches(tmp_path: Path) -> None:
    store = tmp_path / "rts.db"
    await write_history(store, recorded())
    request = EpochRequest(
        store=str(store),
        since=0.0,
        until=1e12,
        workers=totals(),
        params=params_to_dict(GAParams.default()),
        seed=1,
        population_size=8,
        generations=3,
        mutation_rate=0.1,
        crossover_rate=0.7,
    )
    trainer, told = Trainer(), list[EpochProgress]()
    try:
        reply = await trainer.epoch(request, told.append)
    finally:
        await trainer.stop()
    course = reply.evidence["generations"]
    assert [(each.generation, each.best, each.mean) for each in told] == [
        (each["number"], each["best"], each["mean"]) for each in course
    ]
    assert len(told) >= 2
