"""Every task in memory by id: the unfinished ones, the last finished ones, and how many are in each state."""

from __future__ import annotations

from collections import deque

from master.events import Effect, TaskChanged, UpdateTask
from master.jobs import Job
from master.records import StoredTask, TaskState, TaskStatus


class Book:
    """The tasks that the master has in memory.

    Parameters
    ----------
    keep_finished : int
        How many finished tasks to remember; older ones are in the store alone.
    """

    def __init__(self, keep_finished: int) -> None:
        self._keep_finished = keep_finished
        self.jobs: dict[str, Job] = {}
        self.counts: dict[TaskState, int] = dict.fromkeys(TaskState, 0)
        # Users with tasks that wait, and how many.
        self.queued_by_user: dict[str, int] = {}
        self._finished: dict[str, StoredTask] = {}
        self._oldest: deque[str] = deque()

    def __contains__(self, task_id: str) -> bool:
        return task_id in self.jobs or task_id in self._finished

    def accept(self, job: Job) -> None:
        """Take in a new task."""
        self.jobs[job.task_id] = job
        self.counts[job.status.state] += 1
        if job.status.state is TaskState.QUEUED:
            self._count_queued(job, 1)

    def adopt(self, job: Job) -> None:
        """Take in a task that finished before this master began, for the sake of its attempt."""
        self.jobs[job.task_id] = job

    def change(self, job: Job, status: TaskStatus, effects: list[Effect]) -> None:
        """Move a task to another state, and say so to the store and to whoever watches."""
        counts = self.counts
        counts[job.status.state] -= 1
        counts[status.state] += 1
        if job.status.state is TaskState.QUEUED:
            self._count_queued(job, -1)
        if status.state is TaskState.QUEUED:
            self._count_queued(job, 1)
        job.status = status
        effects.append(UpdateTask(job.task_id, status))
        effects.append(TaskChanged(job.spec, status))

    def archive(self, job: Job) -> None:
        """Move a finished task, of which no attempt is live, to those that may be forgotten."""
        del self.jobs[job.task_id]
        self._finished[job.task_id] = StoredTask(job.spec, job.status)
        self._oldest.append(job.task_id)
        if len(self._oldest) > self._keep_finished:
            del self._finished[self._oldest.popleft()]

    def _count_queued(self, job: Job, by: int) -> None:
        user_id = job.spec.submission.user_id
        count = self.queued_by_user.get(user_id, 0) + by
        if count:
            self.queued_by_user[user_id] = count
        else:
            del self.queued_by_user[user_id]

    def stored(self, task_id: str) -> StoredTask | None:
        """A task as it is now; None when it is unknown or no longer in memory."""
        job = self.jobs.get(task_id)
        if job is not None:
            return StoredTask(job.spec, job.status)
        return self._finished.get(task_id)
