"""As `convert`, for the messages of outside planners."""

from __future__ import annotations

from collections.abc import Sequence

from master.convert import PAGE_BYTES
from master.errors import InvalidRequestError, MasterError
from master.events import Propose
from master.proposals import PlannerState, PlannerWorker, WaitingTask
from rtscore.rpc import agent_pb2

# About 0.2 s of the master's time.
PROPOSALS_MAX = 10_000


def cluster_state(state: PlannerState) -> agent_pb2.ClusterState:
    """What a planner decides on, its tasks cut at about 2 MiB."""
    reply = agent_pb2.ClusterState(state_version=state.version, queued=state.queued)
    reply.workers.extend(map(_worker, state.workers))
    size = 0
    for waiting in state.waiting:
        task = _task(waiting)
        size += task.ByteSize()
        if size > PAGE_BYTES:
            break
        reply.pending_tasks.append(task)
    return reply


def proposals(request: agent_pb2.TaskAssignments) -> list[Propose]:
    """What a planner wants.

    Raises
    ------
    InvalidRequestError
        When there is more of it than allowed.
    """
    count = len(request.assignments)
    if count > PROPOSALS_MAX:
        raise InvalidRequestError("assignments", f"{count} came; at most {PROPOSALS_MAX} are allowed at once")
    return [Propose(one.task_id, one.worker_id, request.state_version) for one in request.assignments]


def answer(made: Sequence[Propose], outcomes: Sequence[int | MasterError]) -> agent_pb2.AgentAck:
    """What became of each proposal: the attempt that it is, or why it is none."""
    ack = agent_pb2.AgentAck()
    for proposal, outcome in zip(made, outcomes, strict=True):
        told = ack.outcomes.add(task_id=proposal.task_id, worker_id=proposal.worker_id)
        if isinstance(outcome, MasterError):
            told.reason = str(outcome)
        else:
            told.accepted, told.attempt = True, outcome
    accepted = sum(told.accepted for told in ack.outcomes)
    ack.success = accepted == len(made)
    ack.message = f"{accepted} of {len(made)} accepted"
    return ack


def _worker(worker: PlannerWorker) -> agent_pb2.WorkerState:
    status = worker.status
    return agent_pb2.WorkerState(
        worker_id=status.worker_id,
        state=status.state,
        total_cpu=status.cpu,
        total_memory=status.memory,
        total_storage=status.storage,
        total_gpu=status.gpu,
        available_cpu=status.cpu_avail,
        available_memory=status.memory_avail,
        available_storage=status.storage_avail,
        available_gpu=status.gpu_avail,
        load=status.load,
        running_tasks=status.live_attempts,
        executors=worker.executors,
        reserved_for=worker.reserved_for,
    )


def _task(waiting: WaitingTask) -> agent_pb2.Task:
    spec = waiting.task.spec
    given = spec.submission
    return agent_pb2.Task(
        task_id=given.task_id,
        docker_image=given.docker_image,
        req_cpu=given.cpu,
        req_memory=given.memory,
        req_storage=given.storage,
        req_gpu=given.gpu,
        user_id=given.user_id,
        task_type=spec.task_type,
        tau=spec.tau,
        submitted_at=spec.submitted_at,
        deadline=spec.deadline,
        attempts=waiting.task.status.attempt,
        avoid=waiting.avoid,
    )
