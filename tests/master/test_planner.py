"""MasterAgent over a real connection: planners that are right, wrong, late, or one of several."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
from peers import SessionWorker, config, refusal, serving, until

from master.server import MasterServer
from rtscore.rpc import agent_pb2, agent_pb2_grpc, scheduler_pb2

Assignment = agent_pb2.TaskAssignment
Spec = scheduler_pb2.TaskSpec


@contextlib.asynccontextmanager
async def planner(address: str) -> AsyncIterator[agent_pb2_grpc.MasterAgentAsyncStub]:
    """What an outside planner has: the two calls."""
    async with grpc.aio.insecure_channel(address) as channel:
        yield agent_pb2_grpc.MasterAgentStub(channel)


def paused(server: MasterServer) -> int:
    """Tasks that only workers that refused them have room for, as of the last pass."""
    return server.master.cluster.overview(server.master.clock()).waiting["refused"]


def plan(state: agent_pb2.ClusterState) -> agent_pb2.TaskAssignments:
    """A planner of its own mind: the shortest task first, onto the active worker with the most free cores."""
    free = {w.worker_id: w.available_cpu for w in state.workers if w.state == "active" and not w.reserved_for}
    made = agent_pb2.TaskAssignments(state_version=state.state_version)
    for task in sorted(state.pending_tasks, key=lambda task: task.tau):
        able = [w for w in free if w not in task.avoid and free[w] >= task.req_cpu]
        if able:
            roomiest = max(able, key=lambda worker_id: free[worker_id])
            free[roomiest] -= task.req_cpu
            made.assignments.add(task_id=task.task_id, worker_id=roomiest)
    return made


async def work(worker: SessionWorker) -> None:
    """A worker whose commands end at once."""
    while True:
        task = await worker.next_assignment()
        await worker.started(task)
        await worker.finished(task, runtime_s=0.01)


async def states(stub: Any) -> list[int]:
    reply = await stub.ListTasks(scheduler_pb2.ListTasksRequest(page_size=1000))
    return [info.state for info in reply.tasks]


async def test_a_planner_places_what_waits_out_a_pause_and_it_runs_to_its_end(tmp_path: Any) -> None:
    """From the fetch to the outcome: one worker refuses everything, and the master would wait a minute."""
    async with (
        serving(config(tmp_path, heartbeat_interval_s=60.0)) as (server, stub),
        planner(server.address) as agent,
        SessionWorker(server.address, "w1") as refusing,
    ):
        for number, task_type in enumerate(("mixed", "cpu-light", "cpu-heavy")):
            await stub.SubmitTask(Spec(task_id=f"t{number}", command="true", cpu=2, task_type=task_type))
        await until(lambda: len(refusing.assignments) == 3)
        refs = [scheduler_pb2.AttemptRef(task_id=t.task_id, attempt=1) for t in refusing.assignments]
        await refusing.send(refused=[scheduler_pb2.AttemptRefused(attempt=a, reason="no") for a in refs])
        # A pass has seen the refusals then: before it, they would be placed on whoever comes.
        await until(lambda: paused(server) == 3)
        async with SessionWorker(server.address, "w2") as willing:
            working = asyncio.create_task(work(willing))
            state = await agent.FetchClusterState(agent_pb2.Empty())
            assert [(w.worker_id, w.available_cpu, w.state) for w in state.workers] == [
                ("w1", 8.0, "active"),
                ("w2", 8.0, "active"),
            ]
            assert {t.task_id: (t.task_type, t.tau, t.req_cpu) for t in state.pending_tasks} == {
                "t0": ("mixed", 10.0, 2.0),
                "t1": ("cpu-light", 5.0, 2.0),
                "t2": ("cpu-heavy", 15.0, 2.0),
            }
            assert all(t.avoid == ["w1"] and t.attempts == 1 for t in state.pending_tasks)
            made = plan(state)
            assert [a.task_id for a in made.assignments] == ["t1", "t0", "t2"]
            ack = await agent.SubmitAssignments(made)
            assert (ack.success, ack.message) == (True, "3 of 3 accepted")
            assert [(o.task_id, o.accepted, o.attempt) for o in ack.outcomes] == [
                ("t1", True, 2),
                ("t0", True, 2),
                ("t2", True, 2),
            ]

            async def all_completed() -> bool:
                return await states(stub) == [scheduler_pb2.COMPLETED] * 3

            await until(all_completed)
            why = await stub.Explain(scheduler_pb2.TaskRef(task_id="t0"))
            assert (why.placement.worker_id, why.placement.source) == ("w2", "planner")
            working.cancel()


async def test_each_proposal_gets_its_own_answer_and_those_that_hold_are_carried_out(tmp_path: Any) -> None:
    async with (
        serving(config(tmp_path, heartbeat_interval_s=60.0)) as (server, stub),
        planner(server.address) as agent,
        SessionWorker(server.address, "w1") as refusing,
    ):
        await stub.SubmitTask(Spec(task_id="a", command="true", cpu=5))
        await stub.SubmitTask(Spec(task_id="b", command="true", cpu=5))
        task = await refusing.next_assignment()
        await refusing.send(
            refused=[
                scheduler_pb2.AttemptRefused(
                    attempt=scheduler_pb2.AttemptRef(task_id=task.task_id, attempt=1), reason="no"
                )
            ]
        )
        await until(lambda: refusing.assignments)
        async with SessionWorker(server.address, "w2") as worker:
            state = await agent.FetchClusterState(agent_pb2.Empty())
            waiting = task.task_id
            proposals = [
                Assignment(task_id="nobody's", worker_id="w2"),
                Assignment(task_id=waiting, worker_id="nobody"),
                Assignment(task_id=waiting, worker_id="w1"),
                Assignment(task_id=waiting, worker_id="w2"),
                Assignment(task_id=waiting, worker_id="w2"),
            ]
            ack = await agent.SubmitAssignments(
                agent_pb2.TaskAssignments(assignments=proposals, state_version=state.state_version)
            )
            assert (ack.success, ack.message) == (False, "1 of 5 accepted")
            assert [o.accepted for o in ack.outcomes] == [False, False, False, True, False]
            assert [bool(o.reason) for o in ack.outcomes] == [True, True, True, False, True]
            assert "only a queued one" in ack.outcomes[4].reason
            assert (await worker.next_assignment()).task_id == waiting


async def test_planners_beside_the_masters_own_scheduler_make_no_task_run_twice(tmp_path: Any) -> None:
    """Two planners race each other and the master over the same tasks; each is recorded once."""
    count = 150
    async with contextlib.AsyncExitStack() as stack:
        server, stub = await stack.enter_async_context(serving(config(tmp_path)))
        agents = [await stack.enter_async_context(planner(server.address)) for _ in range(2)]
        workers = [
            await stack.enter_async_context(SessionWorker(server.address, f"w{n}", total_cpu=2.0))
            for n in range(3)
        ]
        answers = {True: 0, False: 0}

        async def planning(agent: Any) -> None:
            while True:
                made = plan(await agent.FetchClusterState(agent_pb2.Empty()))
                # Also what it would rather have: every task on the first worker.
                made.assignments.extend(
                    Assignment(task_id=f"t{n}", worker_id="w0") for n in range(0, count, 10)
                )
                for outcome in (await agent.SubmitAssignments(made)).outcomes:
                    answers[outcome.accepted] += 1
                    assert outcome.accepted != bool(outcome.reason)

        running = [asyncio.create_task(planning(agent)) for agent in agents]
        running += [asyncio.create_task(work(worker)) for worker in workers]
        for number in range(count):
            await stub.SubmitTask(Spec(task_id=f"t{number}", command="true", cpu=1))

        async def all_completed() -> bool:
            assert not any(task.done() for task in running)
            server.master.cluster.check()
            return await states(stub) == [scheduler_pb2.COMPLETED] * count

        await until(all_completed, 60.0)
        for task in running:
            task.cancel()
        assert answers[False] > 0
        for number in range(count):
            (attempt,) = await server.store.attempts(f"t{number}")
            assert attempt.end == "completed"
        assert all(worker.cpu_avail == 2.0 for worker in server.master.cluster.workers())


async def test_more_proposals_than_allowed_are_refused_as_a_whole(tmp_path: Any) -> None:
    async with serving(config(tmp_path)) as (server, _), planner(server.address) as agent:
        many = agent_pb2.TaskAssignments(assignments=[Assignment(task_id="t", worker_id="w")] * 10_001)
        error = await refusal(agent.SubmitAssignments(many))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "10001 came; at most 10000" in error.details()


async def test_a_master_that_stops_takes_no_proposals(tmp_path: Any) -> None:
    async with serving(config(tmp_path)) as (server, _), planner(server.address) as agent:
        server.master.stop_placing()
        error = await refusal(agent.SubmitAssignments(agent_pb2.TaskAssignments()))
        assert error.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_queue_beyond_a_message_is_cut_and_its_length_told(tmp_path: Any) -> None:
    async with serving(config(tmp_path)) as (server, stub), planner(server.address) as agent:
        image = "i" * 1000
        specs = [Spec(task_id=f"t{n}", docker_image=image) for n in range(3000)]
        await stub.SubmitTasks(scheduler_pb2.SubmitTasksRequest(tasks=specs))
        state = await agent.FetchClusterState(agent_pb2.Empty())
        assert state.queued == 3000
        assert 1000 < len(state.pending_tasks) < 3000
        assert [t.task_id for t in state.pending_tasks[:2]] == ["t0", "t1"]
