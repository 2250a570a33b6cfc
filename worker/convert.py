"""The one module of the agent that turns messages into its own types and back."""

from __future__ import annotations

from rtscore.rpc import cluster_pb2, scheduler_pb2
from worker.executors.base import Assignment, AttemptKey, Outcome


def to_key(ref: scheduler_pb2.AttemptRef) -> AttemptKey:
    """Return the attempt that a message names."""
    return AttemptKey(ref.task_id, ref.attempt)


def from_key(key: AttemptKey) -> scheduler_pb2.AttemptRef:
    """Return the message that names an attempt."""
    return scheduler_pb2.AttemptRef(task_id=key.task_id, attempt=key.attempt)


def result_key(result: cluster_pb2.TaskResult) -> AttemptKey:
    """Return the attempt that a result belongs to."""
    return AttemptKey(result.task_id, result.attempt)


def to_assignment(task: cluster_pb2.Task) -> Assignment:
    """Return what the master wants run."""
    return Assignment(
        key=AttemptKey(task.task_id, task.attempt),
        command=task.command,
        docker_image=task.docker_image,
        cpu=task.req_cpu,
        memory=task.req_memory,
        gpu=task.req_gpu,
        storage=task.req_storage,
        time_limit_s=task.time_limit_s,
    )


def from_outcome(worker_id: str, key: AttemptKey, outcome: Outcome) -> cluster_pb2.TaskResult:
    """Return the result to report; output that is not UTF-8 is shown with replacement characters."""
    return cluster_pb2.TaskResult(
        task_id=key.task_id,
        attempt=key.attempt,
        worker_id=worker_id,
        status="success" if outcome.success else "failed",
        logs=outcome.output.decode("utf-8", errors="replace"),
        exit_code=outcome.exit_code,
        started_at=outcome.started_at,
        finished_at=outcome.finished_at,
        runtime_s=outcome.runtime_s,
        reason=outcome.reason,
        logs_offset=outcome.output_offset,
    )


def from_running(assignment: Assignment) -> cluster_pb2.RunningTask:
    """Return a running attempt as a heartbeat lists it."""
    return cluster_pb2.RunningTask(
        task_id=assignment.key.task_id,
        attempt=assignment.key.attempt,
        cpu_allocated=assignment.cpu,
        memory_allocated=assignment.memory,
        gpu_allocated=assignment.gpu,
        status="running",
    )
