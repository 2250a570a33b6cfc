"""An agent that speaks only the unary calls works end to end: a real process that knows field numbers."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import foreign_agent
import grpc
import pytest
from foreign_agent import first, method, text
from peers import config, serving, until

from master.events import Drain
from rtscore.rpc import cluster_pb2, cluster_pb2_grpc, scheduler_pb2

Ref, Spec = scheduler_pb2.TaskRef, scheduler_pb2.TaskSpec
COMPLETED, FAILED, RUNNING = scheduler_pb2.COMPLETED, scheduler_pb2.FAILED, scheduler_pb2.RUNNING

# Silence and drops are noticed after three intervals; the grace period is long where no test waits for it.
BRIEF = {"heartbeat_interval_s": 0.3, "worker_grace_s": 30.0}
PATIENCE_S = 60.0


class Agents:
    """The processes of one test."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, master: str, *more: str, name: str = "a1", port: int | None = None) -> Any:
        """An agent on a port of its own, or on the one of an earlier agent."""
        port = port or free_port()
        process = subprocess.Popen(
            [sys.executable, foreign_agent.__file__, master, name, str(port), *more],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        process.port = port  # type: ignore[attr-defined]
        self._running.append(process)
        return process

    def kill(self, process: Any) -> None:
        """SIGKILL: no chance to report."""
        process.kill()
        process.wait()

    @property
    def until_go(self) -> str:
        """A command that ends when the test says so, at its end at the latest."""
        return f"echo begun; until [ -e {self.directory}/go ]; do sleep 0.05; done; echo done"

    def go(self) -> None:
        """End those commands."""
        (self.directory / "go").touch()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def agents(tmp_path: Path) -> Iterator[Agents]:
    started = Agents(tmp_path)
    yield started
    # Commands of a killed agent go on; they end now.
    started.go()
    for process in started._running:
        started.kill(process)


async def in_state(stub: Any, task_id: str, state: int, **wanted: Any) -> Any:
    """The task once it is in this state, with these fields."""

    async def reached() -> Any:
        info = await stub.GetTask(Ref(task_id=task_id))
        same = all(getattr(info, name) == value for name, value in wanted.items())
        return info if info.state == state and same else None

    return await until(reached, PATIENCE_S)


async def test_it_runs_a_command_and_its_result_is_recorded(tmp_path: Path, agents: Agents) -> None:
    async with serving(config(tmp_path)) as (server, stub):
        agents.start(server.address)
        await stub.SubmitTask(Spec(task_id="t", command="echo out; echo err >&2", cpu=1))
        info = await in_state(stub, "t", COMPLETED)
        assert (info.worker_id, info.attempt, info.sla_success) == ("a1", 1, True)
        result = await server.store.result("t")
        assert result is not None
        assert result.logs == "out\nerr\n"
        assert (result.result_location, result.output_files) == ("/results/here", ("a", "b"))
        assert server.master.cluster.workers()[0].cpu_avail == 4.0


async def test_a_command_that_fails_is_a_failed_task_and_is_not_repeated(
    tmp_path: Path, agents: Agents
) -> None:
    async with serving(config(tmp_path)) as (server, stub):
        agents.start(server.address)
        await stub.SubmitTask(Spec(task_id="t", command="echo so; exit 3"))
        info = await in_state(stub, "t", FAILED)
        assert (info.attempt, info.sla_success) == (1, False)
        assert info.reason == "the worker reported a failure"


async def test_output_of_its_running_task_is_read_through_the_master(tmp_path: Path, agents: Agents) -> None:
    async with serving(config(tmp_path)) as (server, stub):
        agents.start(server.address)
        await stub.SubmitTask(Spec(task_id="t", command=agents.until_go))
        await in_state(stub, "t", RUNNING)

        async def output() -> str:
            request = cluster_pb2.TaskLogRequest(task_id="t")
            return "".join([chunk.content async for chunk in stub.StreamTaskLogs(request)])

        async def begun() -> bool:
            return await output() == "begun\n"

        await until(begun, PATIENCE_S)
        agents.go()
        await in_state(stub, "t", COMPLETED)
        assert await output() == "begun\ndone\n"


async def test_cancelling_ends_the_command_and_frees_its_room(tmp_path: Path, agents: Agents) -> None:
    async with serving(config(tmp_path)) as (server, stub):
        agents.start(server.address)
        await stub.SubmitTask(Spec(task_id="t", command=agents.until_go, cpu=4))
        await in_state(stub, "t", RUNNING)
        await stub.CancelTask(Ref(task_id="t"))
        await until(lambda: server.master.cluster.workers()[0].cpu_avail == 4.0, PATIENCE_S)
        await stub.SubmitTask(Spec(task_id="u", command="true", cpu=4))
        await in_state(stub, "u", COMPLETED)
        assert (await stub.GetTask(Ref(task_id="t"))).state == scheduler_pb2.CANCELLED


async def test_a_task_that_it_refuses_goes_to_another(tmp_path: Path, agents: Agents) -> None:
    async with serving(config(tmp_path)) as (server, stub):
        agents.start(server.address, "--refuse", "disk full")
        await stub.SubmitTask(Spec(task_id="t", command="true"))

        async def refused() -> bool:
            return "disk full" in (await stub.Explain(Ref(task_id="t"))).task.reason or bool(
                [a for a in await server.store.attempts("t") if a.end == "refused"]
            )

        await until(refused, PATIENCE_S)
        agents.start(server.address, name="a2")
        info = await in_state(stub, "t", COMPLETED, worker_id="a2")
        first_attempt, *_ = await server.store.attempts("t")
        assert (first_attempt.worker_id, first_attempt.end) == ("a1", "refused")
        assert info.attempt >= 2


async def test_a_restarted_agent_that_has_forgotten_its_task_gets_it_again(
    tmp_path: Path, agents: Agents
) -> None:
    brief = {**BRIEF, "worker_grace_s": 1.0}
    async with serving(config(tmp_path, **brief)) as (server, stub):
        agent = agents.start(server.address)
        await stub.SubmitTask(Spec(task_id="t", command=agents.until_go))
        await in_state(stub, "t", RUNNING)
        agents.kill(agent)
        agents.start(server.address, port=agent.port)
        await in_state(stub, "t", RUNNING, attempt=2)
        agents.go()
        await in_state(stub, "t", COMPLETED, attempt=2, worker_id="a1")


async def test_a_task_of_an_agent_that_is_gone_runs_on_another(tmp_path: Path, agents: Agents) -> None:
    brief = {**BRIEF, "worker_grace_s": 0.5}
    async with serving(config(tmp_path, **brief)) as (server, stub):
        agent = agents.start(server.address)
        await stub.SubmitTask(Spec(task_id="t", command=agents.until_go))
        await in_state(stub, "t", RUNNING)
        agents.kill(agent)
        agents.start(server.address, name="a2")
        agents.go()
        await in_state(stub, "t", COMPLETED, attempt=2, worker_id="a2")
        one, _ = await server.store.attempts("t")
        assert (one.worker_id, one.end) == ("a1", "lost")


async def test_an_agent_that_was_given_up_is_dialled_again_when_it_comes_back(
    tmp_path: Path, agents: Agents
) -> None:
    brief = {**BRIEF, "worker_grace_s": 0.3}
    async with serving(config(tmp_path, **brief)) as (server, stub):
        agent = agents.start(server.address)
        await until(lambda: server.master.cluster.workers(), PATIENCE_S)
        agents.kill(agent)
        await until(lambda: not server.master.cluster.workers(), PATIENCE_S)
        agents.start(server.address, port=agent.port)
        await stub.SubmitTask(Spec(task_id="t", command="true"))
        await in_state(stub, "t", COMPLETED, attempt=1)


@pytest.mark.parametrize("store", ["kept", "lost"])
async def test_after_a_restart_of_the_master_it_goes_on(tmp_path: Path, agents: Agents, store: str) -> None:
    async with contextlib.AsyncExitStack() as stack:
        server, stub = await stack.enter_async_context(serving(config(tmp_path, **BRIEF)))
        address = server.address
        agents.start(address)
        await stub.SubmitTask(Spec(task_id="t", command=agents.until_go))
        await in_state(stub, "t", RUNNING)
        await stack.aclose()
        again = {"listen": address, **BRIEF}
        if store == "lost":
            again["store"] = str(tmp_path / "other.db")
        server, stub = await stack.enter_async_context(serving(config(tmp_path, **again)))
        await until(lambda: [w.state for w in server.master.cluster.workers()] == ["active"], PATIENCE_S)
        await stub.SubmitTask(Spec(task_id="u", command="true"))
        await in_state(stub, "u", COMPLETED, worker_id="a1")
        agents.go()
        if store == "kept":
            await in_state(stub, "t", COMPLETED, attempt=1)


async def test_a_task_that_it_drops_without_a_word_is_lost_after_three_heartbeats(
    tmp_path: Path, agents: Agents
) -> None:
    async with serving(config(tmp_path, **BRIEF)) as (server, stub):
        agents.start(server.address, "--drop")
        await stub.SubmitTask(Spec(task_id="t", command="true"))
        await in_state(stub, "t", RUNNING)
        agents.start(server.address, name="a2")
        await until(lambda: len(server.master.cluster.workers()) == 2, PATIENCE_S)
        server.master.post(Drain("a1", True))
        await in_state(stub, "t", COMPLETED, worker_id="a2")
        one, *_ = await server.store.attempts("t")
        assert (one.worker_id, one.end) == ("a1", "lost")


async def test_a_report_of_what_it_does_not_hold_is_answered_with_no_and_changes_nothing(
    tmp_path: Path, agents: Agents
) -> None:
    async with serving(config(tmp_path)) as (server, stub), grpc.aio.insecure_channel(server.address) as raw:
        agents.start(server.address)
        await stub.SubmitTask(Spec(task_id="t", command=agents.until_go))
        await in_state(stub, "t", RUNNING)

        async def report(task_id: str, worker_id: str) -> tuple[int, str]:
            message = text(1, task_id) + text(2, worker_id) + text(3, "success")
            answer = await raw.unary_unary(method("ReportTaskCompletion"))(message)
            return first(answer, 1, 0), first(answer, 2).decode()

        yes, why = await report("t", "a2")
        assert not yes
        assert "worker a2 does not hold task t, which is running on worker a1" in why
        yes, why = await report("never", "a1")
        assert not yes
        assert "'never'" in why
        agents.go()
        await in_state(stub, "t", COMPLETED, worker_id="a1")
        assert not (await report("t", "a2"))[0]
        assert await report("t", "a1") == (1, "task t is completed already")


@pytest.mark.parametrize("address", ["", "127.0.0.1", "127.0.0.1:http", "unix:/run/x.sock:1"])
async def test_a_registration_without_an_address_to_dial_is_answered_with_no(
    tmp_path: Path, address: str
) -> None:
    async with serving(config(tmp_path)) as (server, _), grpc.aio.insecure_channel(server.address) as raw:
        info = text(1, "a1") + text(2, address) + foreign_agent.real(3, 1.0)
        answer = await raw.unary_unary(method("RegisterWorker"))(info)
        assert not first(answer, 1, 0)
        assert "worker_ip" in first(answer, 2).decode()
        assert server.master.cluster.workers() == []


async def test_an_agent_at_a_host_that_is_called_like_a_scheme_is_no_socket_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = []

    class Local(cluster_pb2_grpc.MasterWorkerServicer):
        async def AssignTask(self, request: Any, context: Any) -> cluster_pb2.TaskAck:  # type: ignore[override]
            asked.append(request)
            return cluster_pb2.TaskAck(success=True)

    local = grpc.aio.server()
    cluster_pb2_grpc.add_MasterWorkerServicer_to_server(Local(), local)
    local.add_insecure_port("unix:7070")
    await local.start()
    try:
        async with (
            serving(config(tmp_path)) as (server, stub),
            grpc.aio.insecure_channel(server.address) as raw,
        ):
            info = text(1, "a1") + text(2, "unix:7070") + foreign_agent.real(3, 1.0)
            assert first(await raw.unary_unary(method("RegisterWorker"))(info), 1, 0)
            await stub.SubmitTask(scheduler_pb2.TaskSpec(task_id="t", command="true", cpu=1.0))
            await until(
                lambda: "did not answer" in server.master.cluster.task("t").status.reason or asked, 30
            )
            assert not asked
    finally:
        await local.stop(None)
