"""What a task has printed: from the store once it has finished, from its worker while it runs."""

from __future__ import annotations

from collections.abc import AsyncIterator

from master.agents import Agents
from master.errors import UnsupportedError, WorkerUnreachableError
from master.events import AttemptId
from master.records import StoredTask, TaskState
from master.runner import Master
from master.sessions import Sessions
from rtscore.rpc import cluster_pb2

# Far below a message's limit, and a terminal's worth.
PIECE = 64 * 1024


class TaskLogs:
    """Answers StreamTaskLogs."""

    def __init__(self, master: Master, sessions: Sessions, agents: Agents) -> None:
        self._master = master
        self._sessions = sessions
        self._agents = agents

    async def stream(self, request: cluster_pb2.TaskLogRequest) -> AsyncIterator[cluster_pb2.LogChunk]:
        """The output in chunks; the last one is `is_complete` and has the task's state.

        Raises
        ------
        UnknownTaskError
            When there is no such task.
        UnsupportedError
            When `follow` is asked.
        WorkerUnreachableError
            When the task runs and its worker does not answer.
        """
        if request.follow:
            raise UnsupportedError("follow: true came; only the output so far is served, ask again for more")
        task = await self._master.task(request.task_id)
        pieces = self._live(task, request.user_id) if _runs(task) else self._stored(request.task_id)
        async for piece in pieces:
            for begin in range(0, len(piece), PIECE):
                yield self._chunk(request.task_id, piece[begin : begin + PIECE])
        yield self._chunk(request.task_id, "", task)

    async def _stored(self, task_id: str) -> AsyncIterator[str]:
        if (result := await self._master.store.result(task_id)) is not None:
            yield result.logs

    async def _live(self, task: StoredTask, user_id: str) -> AsyncIterator[str]:
        task_id, status = task.spec.task_id, task.status
        if (relay := self._sessions.relay(status.worker_id)) is not None:
            pieces: AsyncIterator[str] | None = relay.read(AttemptId(task_id, status.attempt))
        else:
            pieces = self._agents.logs(status.worker_id, task_id, user_id)
        if pieces is None:
            raise WorkerUnreachableError(f"worker {status.worker_id}, which runs it, is not connected")
        async for piece in pieces:
            yield piece

    def _chunk(self, task_id: str, content: str, complete: StoredTask | None = None) -> cluster_pb2.LogChunk:
        return cluster_pb2.LogChunk(
            task_id=task_id,
            content=content,
            timestamp=int(self._master.clock()),
            is_complete=complete is not None,
            status="" if complete is None else complete.status.state.value,
        )


def _runs(task: StoredTask) -> bool:
    return task.status.state in (TaskState.ASSIGNED, TaskState.RUNNING)
