"""What the master counts, and how it is told: true, of bounded size, never backwards, never by a hang."""

from __future__ import annotations

import asyncio
import re
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

import pytest
from core_world import World
from peers import SessionWorker, config, refusal, serving, until
from secured import guarded, shows

from master.config import ConfigError
from master.epochs import EpochReply
from master.events import Assign, AttemptId, Drain, RegisterWorker, WorkerSilent, WorkerStopping
from master.members import NAMES, STATES, Member
from master.metrics import endpoint
from master.metrics.counters import Histogram
from master.metrics.named_workers import OTHER, Counts, NamedWorkers
from master.records import Submission, WorkerRecord
from master.server import MasterServer
from master.timed import TimedScheduler
from rtscore import RTSScheduler, Task, WorkerTable
from rtscore.rpc import scheduler_pb2

SERVICE = "rtscore.v1.SchedulerService"


def settings(tmp_path: Any, **changes: Any) -> Any:
    return config(tmp_path, metrics_listen="127.0.0.1:0", **changes)


def fetched(address: str, path: str = "/metrics") -> tuple[int, str]:
    """The status and the text of an answer."""
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=20) as answer:
            return int(answer.status), answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


async def scraped(server: MasterServer) -> dict[str, float]:
    """Every sample by its name and labels."""
    status, text = await asyncio.to_thread(fetched, server.metrics_address)
    assert status == 200, text
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    samples = {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}
    assert len(samples) == len(lines), "two samples of the same name and labels"
    return samples


# ---- the endpoint ----


async def test_without_an_address_nothing_is_served(tmp_path: Any) -> None:
    async with serving(config(tmp_path)) as (server, _):
        assert server.metrics_address == ""


async def test_the_address_is_free_again_when_the_master_has_stopped(tmp_path: Any) -> None:
    async with serving(settings(tmp_path)) as (server, _):
        address = server.metrics_address
        assert (await scraped(server))["rts_master_active"] == 1.0
    with pytest.raises(OSError, match="refused"):
        await asyncio.to_thread(fetched, address)


async def test_an_address_that_is_taken_is_an_error_of_the_setting(tmp_path: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        server = MasterServer(config(tmp_path, metrics_listen=address))
        with pytest.raises(ConfigError, match=f"metrics_listen: cannot listen on {address}"):
            await server.start()


async def test_nobody_asks_dns_for_the_name_of_this_machine(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getfqdn", lambda name="": 1 / 0)
    async with serving(settings(tmp_path)) as (server, _):
        assert (await scraped(server))["rts_master_active"] == 1.0


async def test_there_is_nothing_but_the_metrics_and_nothing_can_be_sent(tmp_path: Any) -> None:
    async with serving(settings(tmp_path)) as (server, _):
        assert (await asyncio.to_thread(fetched, server.metrics_address, "/"))[0] == 404
        request = urllib.request.Request(f"http://{server.metrics_address}/metrics", data=b"x")
        with pytest.raises(urllib.error.HTTPError, match="405"):
            await asyncio.to_thread(urllib.request.urlopen, request)


async def test_a_scrape_ends_with_an_error_when_the_loop_hangs(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "LOOP_PATIENCE_S", 0.2)
    async with serving(settings(tmp_path)) as (server, _):

        async def hanging() -> tuple[int, str]:
            scrape = asyncio.get_running_loop().run_in_executor(None, fetched, server.metrics_address)
            while not scrape.done():
                # While the loop is here nobody hands over a reading. It is let go for the turn in which it
                # notices that the scrape has ended; should that answer a slow one, there is another.
                time.sleep(0.5)  # noqa: ASYNC251
                await asyncio.sleep(0)
            return await scrape

        error = 503, "the master's event loop has not answered for 0.2 s\n"
        assert error in [await hanging() for _ in range(3)]

        async def well() -> bool:
            return (await asyncio.to_thread(fetched, server.metrics_address))[0] == 200

        await until(well)


async def test_connections_that_say_nothing_do_not_pile_up(tmp_path: Any) -> None:
    async with serving(settings(tmp_path)) as (server, _):
        host, port = server.metrics_address.split(":")
        silent = [await asyncio.open_connection(host, port) for _ in range(endpoint.CONNECTIONS)]
        reader, writer = await asyncio.open_connection(host, port)
        assert await asyncio.wait_for(reader.read(), 10.0) == b""
        for _, each in (*silent, (reader, writer)):
            each.close()

        async def well() -> bool:
            try:
                return (await asyncio.to_thread(fetched, server.metrics_address))[0] == 200
            except OSError:
                return False

        await until(well)


async def test_a_reading_that_fails_is_an_error_and_in_the_log(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serving(settings(tmp_path)) as (server, _):
        monkeypatch.setattr(server.master, "counts", lambda: 1 / 0)
        status, sentence = await asyncio.to_thread(fetched, server.metrics_address)
        assert (status, sentence) == (500, "the master's log says more\n")
        monkeypatch.undo()
        await scraped(server)
    printed = capsys.readouterr()
    assert "ZeroDivisionError" in printed.out + printed.err


async def test_a_master_that_stands_by_says_so(tmp_path: Path, mongo_uri: str) -> None:
    changes = {"store": mongo_uri, "lease_period_s": 1.0}
    standby = MasterServer(settings(tmp_path, **changes))
    async with MasterServer(settings(tmp_path, **changes)) as active:
        assert (await scraped(active))["rts_master_active"] == 1.0
        starting = asyncio.create_task(standby.start())
        await until(lambda: standby.metrics_address)
        samples = await scraped(standby)
        assert samples["rts_master_active"] == 0.0
        assert "rts_tasks" not in str(samples)
    await starting
    try:
        assert (await scraped(standby))["rts_master_active"] == 1.0
    finally:
        await standby.stop()


# ---- what is counted ----


def test_a_value_that_equals_a_bound_is_below_it() -> None:
    histogram = Histogram([1.0, 2.0])
    for value in (0.5, 1.0, 1.5, 2.0, 2.5):
        histogram.add(value)
    copy = histogram.copy()
    histogram.add(9.0)
    assert (copy.counts, copy.total) == ([2, 2, 1], 7.5)


def test_every_decision_is_counted_by_its_source_and_its_time() -> None:
    table = WorkerTable()
    table.add("w1", cpu=8, memory=8)
    timed = TimedScheduler(RTSScheduler(table))
    for _ in range(5):
        timed.select_worker(Task("t", cpu=1))
    # Its risk is not finite on any worker; the other fits nowhere.
    timed.select_worker(Task("t", cpu=1, tau=1e308, deadline=0.0))
    timed.select_worker(Task("t", cpu=9))
    assert timed.by_source() == {"rts": 5, "round-robin": 1, "none": 1}
    histogram = timed.histogram()
    assert sum(histogram.counts) == 7
    assert 0.0 < histogram.total < 7 * histogram.bounds[-1]


async def test_calls_are_counted_by_method_and_code(tmp_path: Path) -> None:
    async with guarded(tmp_path, metrics_listen="127.0.0.1:0") as (server, stub, channel):
        stats = scheduler_pb2.ClusterStatsRequest()
        await stub.GetClusterStats(stats, **shows("alice"))
        await refusal(stub.GetClusterStats(stats))
        await refusal(stub.DrainWorker(scheduler_pb2.DrainWorkerRequest(worker_id="w"), **shows("alice")))
        await refusal(stub.GetTask(scheduler_pb2.TaskRef(task_id="none"), **shows("root")))
        await refusal(channel.unary_unary("/no.such.Service/Call")(b""))
        watch = stub.WatchTasks(scheduler_pb2.WatchTasksRequest(), **shows("alice"))
        reading = asyncio.ensure_future(watch.read())
        await until(lambda: server.master.watchers.count)
        assert (await scraped(server))["rts_watchers"] == 1.0
        watch.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await until(lambda: not server.master.watchers.count)
        samples = await scraped(server)

    def calls(method: str, code: str) -> float:
        return samples[f'rts_grpc_calls_total{{code="{code}",method="{method}"}}']

    assert calls(f"{SERVICE}/GetClusterStats", "OK") == 1.0
    assert calls(f"{SERVICE}/GetClusterStats", "UNAUTHENTICATED") == 1.0
    assert calls(f"{SERVICE}/DrainWorker", "PERMISSION_DENIED") == 1.0
    assert calls(f"{SERVICE}/GetTask", "NOT_FOUND") == 1.0
    assert calls(f"{SERVICE}/WatchTasks", "CANCELLED") == 1.0
    assert calls("other", "UNIMPLEMENTED") == 1.0
    answered = f'rts_grpc_call_duration_seconds_count{{method="{SERVICE}/'
    assert {name for name in samples if name.startswith(answered)} == {f'{answered}GetClusterStats"}}'}


async def test_submissions_are_counted_by_outcome(tmp_path: Any) -> None:
    async with serving(settings(tmp_path, max_queued=3)) as (server, stub):
        one = scheduler_pb2.TaskSpec(task_id="t", command="true", cpu=1.0)
        for _ in range(2):
            await stub.SubmitTask(one)
        bad = scheduler_pb2.TaskSpec(command="true", cpu=-1.0)
        await stub.SubmitTasks(scheduler_pb2.SubmitTasksRequest(tasks=[bad, bad]))
        many = [scheduler_pb2.TaskSpec(command="true", cpu=1.0)] * 4
        await stub.SubmitTasks(scheduler_pb2.SubmitTasksRequest(tasks=many))
        samples = await scraped(server)
    told = {
        name: value
        for name, value in samples.items()
        if name.startswith("rts_submission") and "refused" not in name
    }
    assert told == {
        'rts_submissions_total{outcome="accepted"}': 1.0,
        'rts_submissions_total{outcome="repeated"}': 1.0,
        'rts_submission_refusals_total{code="INVALID_ARGUMENT"}': 2.0,
        'rts_submission_refusals_total{code="RESOURCE_EXHAUSTED"}': 4.0,
    }
    assert samples['rts_submissions_total{outcome="refused"}'] == 6.0


def test_the_queue_is_told_by_the_reasons_that_each_task_is_told() -> None:
    world = World()
    world.worker("w1", cpu=4.0)
    world.running("long", "w1", cpu=4.0)
    world.submit("room", cpu=1.0)
    world.submit("large", cpu=64.0)
    world.submit("kept", cpu=4.0, deadline=world.now + 1000.0)
    world.place()
    assert world.cluster.overview(world.now).waiting == {
        "room": 2,
        "reserved": 0,
        "refused": 0,
        "impossible": 1,
    }
    # What waits too long gets the next worker to itself.
    world.wait(200.0, "w1")
    world.place()
    overview = world.cluster.overview(world.now)
    reserved = {task for task in ("room", "large", "kept") if "kept free" in world.why(task)}
    assert reserved
    assert overview.waiting == {
        "room": 2 - len(reserved),
        "reserved": len(reserved),
        "refused": 0,
        "impossible": 1,
    }
    assert overview.hopeless == sum(
        world.cluster.explain(task, world.now).summary.endswith("can no longer be met")
        for task in (world.cluster.task("room"), world.cluster.task("large"), world.cluster.task("kept"))
        if task is not None
    )


def test_a_task_that_only_workers_that_refused_it_have_room_for_is_told_as_refused() -> None:
    world = World()
    world.worker("w1", cpu=4.0)
    world.submit("t", cpu=1.0)
    world.place()
    world.refuse("t")
    world.place()
    # Also when no worker is that large any more: that is what it is told until its pause ends.
    for cpu in (4.0, 0.5):
        world.worker("w1", cpu=cpu)
        assert "refused" in world.why("t")
        waiting = world.cluster.overview(world.now).waiting
        assert waiting == {"room": 0, "reserved": 0, "refused": 1, "impossible": 0}
    world.wait(10.0, "w1")
    world.place()
    assert world.why("t").startswith("needs cpu 1")
    waiting = world.cluster.overview(world.now).waiting
    assert waiting == {"room": 0, "reserved": 0, "refused": 0, "impossible": 1}
    assert world.cluster.tally.ended == {"refused": 1}


def test_workers_are_counted_by_state_and_by_why_they_are_gone() -> None:
    world = World()
    for worker_id in ("active", "draining", "stopping", "leaving", "silent"):
        world.worker(worker_id, cpu=2.0)
    world.drain("draining")
    world.stopping("stopping")
    world.leave("leaving")
    overview = world.cluster.overview(world.now)
    assert overview.workers == {"active": 2, "draining": 1, "stopping": 1}
    assert overview.total == overview.free == (8.0, 256.0, 0.0, 400.0)
    world.wait(15.0, "active", "draining", "stopping")
    overview = world.cluster.overview(world.now)
    assert (overview.workers["inactive"], overview.total[0]) == (1, 6.0), "what is silent has nothing"
    world.wait(60.0, "active", "draining", "stopping")
    assert world.cluster.overview(world.now).workers == {"active": 1, "draining": 1, "stopping": 1}
    assert world.cluster.tally.removed == {"left": 1, "lost": 1}


class Patient:
    """A worker that takes everything and finishes nothing."""

    def assign(self, effect: Assign) -> None: ...

    def cancel(self, attempt: AttemptId) -> None: ...

    def recorded(self, attempt: AttemptId) -> None: ...

    def lost(self) -> None: ...


async def at_once(server: MasterServer, stub: Any) -> tuple[Any, dict[str, float]]:
    """The stats, and a scrape before which and after which they were the same."""

    async def stats() -> Any:
        found = await stub.GetClusterStats(scheduler_pb2.ClusterStatsRequest())
        found.now = 0.0
        return found

    for _ in range(100):
        before, told, after = await stats(), await scraped(server), await stats()
        if before == after:
            return before, told
    raise AssertionError("the cluster does not come to rest")


async def test_a_scrape_and_the_stats_tell_the_same_of_a_random_cluster(tmp_path: Any) -> None:
    random = Random(7)
    async with serving(settings(tmp_path, heartbeat_interval_s=600.0)) as (server, stub):
        master = server.master
        for worker_id in (f"w{number}" for number in range(20)):
            master.post(RegisterWorker(WorkerRecord(worker_id, random.choice((2.0, 4.5)), 8.0, 1.0, 9.0)))
            # What is assigned to a worker that is not connected is refused, and pauses.
            if random.random() < 0.7:
                master.links[worker_id] = Patient()
        for begin in range(0, 96, 24):
            tasks = [
                Submission(
                    f"t{number}",
                    cpu=random.choice((0.5, 2.0, 4.0, 16.0)),
                    command="true",
                    deadline=time.time() + random.choice((-1e3, 1e5)),
                )
                for number in range(begin, begin + 24)
            ]
            await master.submit(tasks)
            await master.durable()
            for worker_id in random.sample(sorted(master.cluster.members.by_id), 4):
                events = WorkerSilent(worker_id), WorkerStopping(worker_id), Drain(worker_id, True)
                master.post(random.choice(events))
            await master.durable()
            stats, told = await at_once(server, stub)
            of: dict[str, dict[str, float]] = {}
            for sample, value in told.items():
                if found := re.match(r'rts_(\w+)\{\w+="(\w+)"', sample):
                    of.setdefault(found[1], {})[found[2]] = value
            for name in NAMES:
                total, free = getattr(stats, f"total_{name}"), getattr(stats, f"{name}_avail")
                assert of["resource_capacity"][name] == total
                assert of["resource_allocated"][name] == total - free
            assert of["workers"] == dict.fromkeys(STATES, 0) | dict(stats.workers)
            waits = of["queue_tasks"]
            assert (waits["reserved"], waits["refused"]) == (stats.queued_reserved, stats.queued_parked)
            assert sum(waits.values()) == stats.queued == of["tasks"]["queued"]
            assert told["rts_queue_hopeless_tasks"] == stats.queued_hopeless
        assert min(waits["refused"], waits["impossible"], stats.queued_hopeless) > 0
        assert min(of["workers"].values()) > 0


def test_deadlines_waits_and_runtimes_are_told_by_type() -> None:
    world = World()
    world.worker("w1", cpu=4.0)
    for task, deadline in (("early", 100.0), ("late", 1.0)):
        world.submit(task, cpu=1.0, task_type="mixed", deadline=world.now + deadline)
        world.place()
        world.wait(3.0, "w1")
        world.finish(task, runtime_s=2.5)
    tally = world.cluster.tally
    assert (tally.met, tally.missed) == ({"mixed": 1}, {"mixed": 1})
    assert (tally.results, tally.results_met) == (2, 1)
    assert tally.runtimes["mixed"].total == 5.0
    assert sum(tally.waits["mixed"].counts) == 2
    assert tally.lateness["mixed"].total == pytest.approx(2.0, abs=0.5)


async def test_an_epoch_in_which_no_candidate_could_be_judged_has_no_best_fitness(tmp_path: Any) -> None:
    async with serving(settings(tmp_path, ga_epoch_interval_s=0.0)) as (server, _):
        assert server.learning is not None
        epochs = server.learning.epochs
        for best in (None, 0.5):
            generations = [{"number": 0, "best": None}, {"number": 1, "best": best}]
            reply = EpochReply(verdict="kept", reason="worse", evidence={"generations": generations})
            epochs.end(epochs.begin(1.0, 1, requested=True), 2.0, "kept", "worse", reply=reply)
            assert (await scraped(server)).get("rts_aod_best_fitness") == best


# ---- bounded labels ----


class Cluster:
    """Workers that come, do something and go, and what Prometheus would make of what is told of them."""

    def __init__(self, limit: int) -> None:
        self.named = NamedWorkers(limit)
        self.members: dict[str, Member] = {}
        self.total: Counts = (0, 0, 0)
        self.told: dict[str, Counts] = {}
        # The sum of all increases, as Prometheus computes them: a series that is new, or fell, begins at 0.
        self.grown = [0, 0, 0]

    def join(self, worker_id: str) -> Member:
        member = Member(WorkerRecord(worker_id, 1.0, 1.0, 0.0, 0.0), 0.0, active=True, last_heartbeat_at=0.0)
        self.members[worker_id] = member
        return member

    def work(self, worker_id: str, *, met: bool) -> None:
        member = self.members[worker_id]
        member.placed += 1
        member.tasks_finished += 1
        member.sla_met += met
        placed, in_time, late = self.total
        self.total = placed + 1, in_time + met, late + (not met)

    def read(self) -> Mapping[str, Counts]:
        told = self.named.read(self.members, self.total)
        for worker_id, counts in told.items():
            before = self.told.get(worker_id, (0, 0, 0))
            for k, (value, earlier) in enumerate(zip(counts, before, strict=True)):
                self.grown[k] += value - earlier if value >= earlier else value
        assert all(
            now >= before for now, before in zip(told[OTHER], self.told.get(OTHER, told[OTHER]), strict=True)
        )
        self.told = dict(told)
        return told


def test_of_3000_workers_those_with_the_most_placements_are_named_and_the_rest_is_summed() -> None:
    cluster, random = Cluster(100), Random(7)
    for number in range(3000):
        cluster.join(f"w{number}")
    for _ in range(20_000):
        cluster.work(f"w{int(3000 * random.random() ** 3)}", met=random.random() < 0.8)
    told = cluster.read()
    assert len(told) == 101
    assert tuple(map(sum, zip(*told.values(), strict=True))) == cluster.total
    least = min(counts[0] for worker_id, counts in told.items() if worker_id != OTHER)
    assert all(m.placed <= least for m in cluster.members.values() if m.id not in told)


def test_a_small_cluster_is_told_whole() -> None:
    cluster = Cluster(100)
    for number in range(5):
        cluster.join(f"w{number}")
    cluster.work("w3", met=False)
    told = cluster.read()
    assert set(told) == {"w0", "w1", "w2", "w3", "w4", OTHER}
    assert told["w3"] == (1, 0, 1)
    assert told[OTHER] == (0, 0, 0)


def test_a_named_worker_keeps_its_series_while_others_overtake_it() -> None:
    cluster = Cluster(2)
    for worker_id in "abc":
        cluster.join(worker_id)
    for worker_id in "ab":
        cluster.work(worker_id, met=True)
    assert set(cluster.read()) == {"a", "b", OTHER}
    for _ in range(50):
        cluster.work("c", met=True)
    assert cluster.read() == {"a": (1, 1, 0), "b": (1, 1, 0), OTHER: (50, 50, 0)}
    # What was told under other stays there: its own series begins with what it does from now on.
    del cluster.members["a"]
    assert cluster.read() == {"b": (1, 1, 0), "c": (0, 0, 0), OTHER: (50, 50, 0)}
    cluster.work("c", met=True)
    assert cluster.read() == {"b": (1, 1, 0), "c": (1, 1, 0), OTHER: (50, 50, 0)}


def test_a_worker_whose_id_is_that_of_the_others_is_one_of_them() -> None:
    cluster = Cluster(5)
    for worker_id in ("a", OTHER):
        cluster.join(worker_id)
        cluster.work(worker_id, met=True)
    assert cluster.read() == {"a": (1, 1, 0), OTHER: (1, 1, 0)}


@pytest.mark.parametrize("seed", range(20))
def test_whoever_comes_and_goes_nothing_is_told_twice_and_no_series_falls(seed: int) -> None:
    cluster, random = Cluster(8), Random(seed)
    for step in range(2000):
        present = list(cluster.members)
        what = random.random()
        if what < 0.1 or not present:
            # Sometimes under the id of one that is gone.
            cluster.join(f"w{random.randrange(30)}")
        elif what < 0.15:
            del cluster.members[random.choice(present)]
        elif what < 0.9:
            cluster.work(random.choice(present), met=random.random() < 0.5)
        else:
            told = cluster.read()
            assert len(told) <= 9, step
    cluster.read()
    assert tuple(cluster.grown) == cluster.total


async def test_of_thousands_of_workers_a_page_has_few_series(tmp_path: Any) -> None:
    async with serving(settings(tmp_path, metrics_workers=10, heartbeat_interval_s=60.0)) as (server, _):
        for number in range(3000):
            server.master.post(RegisterWorker(WorkerRecord(f"w{number}", 4.0, 4.0, 0.0, 0.0)))
        await server.master.durable()
        before = await scraped(server)
        async with SessionWorker(server.address, "busy") as worker:
            tasks = [Submission(f"t{number}", cpu=8.0, command="true") for number in range(3)]
            for task in tasks:
                await server.master.submit([task])
                await worker.finished(await worker.next_assignment(), runtime_s=0.5)
                await until(lambda: len(worker.recorded))
                worker.recorded.clear()
            after = await scraped(server)
    assert before['rts_workers{state="active"}'] == 3000.0
    assert not [name for name in before if 'worker="w' in name]
    assert after['rts_worker_placements_total{worker="busy"}'] == 3.0
    assert after['rts_worker_sla_met_total{worker="busy"}'] == 3.0
    assert after['rts_worker_placements_total{worker="other"}'] == 0.0
    named = {found[1] for name in after if (found := re.search(r'worker="([^"]+)"', name))}
    assert named == {"busy", "other"}


async def test_a_worker_id_of_strange_letters_does_not_break_the_page(tmp_path: Any) -> None:
    async with serving(settings(tmp_path)) as (server, _):
        async with SessionWorker(server.address, 'a"b\\c é') as worker:
            assert worker.welcome, worker.ended
            samples = await scraped(server)
        assert samples['rts_worker_placements_total{worker="a\\"b\\\\c é"}'] == 0.0
