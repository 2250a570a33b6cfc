"""The contract between the master and its store; every backend passes the same tests."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Protocol

import msgspec

from master.events import Write
from master.records import AttemptRecord, ParamsVersion, ResultRecord, Snapshot, StoredTask, TaskState
from master.timeline import Timeline

KEPT_VERSIONS = 50
"""Parameter versions that a store keeps, the newest."""

HISTORY_FIELDS = (
    "task_id",
    "worker_id",
    "type",
    "arrival",
    "deadline",
    "actual_start",
    "actual_finish",
    "actual_runtime_s",
    "sla_success",
    "cpu_used",
    "memory_used",
    "gpu_used",
    "storage_used",
    "load_at_start",
    "tau",
    "sla_multiplier",
    "cpu_available",
    "memory_available",
    "gpu_available",
    "succeeded",
)
"""The columns of a history, under the names that learning has for them; used is what was requested."""


Position = tuple[float, str]
"""Of a task in a listing: when it was submitted, and its id."""


class TaskQuery(msgspec.Struct, frozen=True):
    """Which tasks, newest submission first.

    Attributes
    ----------
    states : frozenset of TaskState
        Empty: every state.
    user_id, worker_id, task_type : str
        Exactly; empty: every one.
    after : Position, optional
        The last of the page before.
    text : str
        A part of the id, the user or the command; ASCII letters of either case are the same. Without NUL.
    sla_success : bool, optional
        Whether the deadline was met.
    until : Position, optional
        The last task that is looked at.
    """

    states: frozenset[TaskState] = frozenset()
    user_id: str = ""
    limit: int = 100
    after: Position | None = None
    worker_id: str = ""
    task_type: str = ""
    text: str = ""
    sla_success: bool | None = None
    until: Position | None = None

    @property
    def searches(self) -> bool:
        """Whether it asks for what no index knows, so that every task in between has to be looked at."""
        return bool(self.worker_id or self.task_type or self.text or self.sla_success is not None)

    def matches(self, task: StoredTask) -> bool:
        """Whether a task is one of these, its place in the listing aside."""
        spec, status = task.spec, task.status
        given = spec.submission
        if self.states and status.state not in self.states:
            return False
        if self.user_id and given.user_id != self.user_id:
            return False
        if self.worker_id and status.worker_id != self.worker_id:
            return False
        if self.task_type and spec.task_type != self.task_type:
            return False
        if self.sla_success is not None and status.sla_success is not self.sla_success:
            return False
        if not self.text:
            return True
        part = self.text.encode().lower()
        searched = (given.task_id, given.user_id, given.command)
        return any(part in text.encode("utf-8", "replace").lower() for text in searched)


class Store(Protocol):
    """Durable state of one master.

    Ordering: commits take effect in the order in which they were called, and the writes of one commit in
    their order. Durability: when `commit` returns, its writes survive a crash of the process and of the
    machine. A read sees every commit that returned before it was called, and of any other commit all or
    nothing. Cancelling a call only stops the waiting: the writes of a cancelled commit are made or not made,
    never in part. A call before `open` or after `close` raises StoreUnavailableError.
    """

    async def open(self) -> None:
        """Create or migrate what is needed, and keep every other master out until `close`.

        Raises
        ------
        StoreOpenError
            When the store was written by a newer version, is in use by another master, is not a store, or
            cannot be reached; the sentence says which.
        """
        ...

    async def close(self) -> None:
        """Finish what is under way and let go; calling it again does nothing."""
        ...

    def serves_at(self, address: str) -> None:
        """Let other masters, who find the store in use, know where this one serves."""
        ...

    async def lost(self) -> None:
        """Return only by raising, when another master has taken the store over.

        Raises
        ------
        StoreSupersededError
            From then on every commit raises it too.
        """
        ...

    async def commit(self, writes: Sequence[Write]) -> None:
        """Make all of the writes durable, or none.

        Inserting a task, an attempt, a result or a parameter version that exists, or updating a task or
        ending an attempt that does not, fails the commit: nobody asks for it, so it would be a bug or a
        second master. Of the parameter versions the `KEPT_VERSIONS` of highest number stay.
        Ending an attempt again replaces its end. Putting replaces, and removing what is not there is nothing.
        Numbers and text come back equal; numpy's scalars are numbers.

        Raises
        ------
        StoreConflictError
            When the writes do not fit what is stored; nothing was written.
        StoreUnavailableError
            When the backend cannot be written now; nothing was written.
        ValueError, TypeError
            When a value cannot be stored (NaN where a number is needed, an integer beyond 64 bits, text that
            is not Unicode); nothing was written.
        """
        ...

    async def load(self) -> Snapshot:
        """Everything that a master needs to go on after a restart, as of one instant.

        Tasks by submission, oldest first, ties by id; attempts by task id and number; workers by id.

        Raises
        ------
        StoreOpenError
            When a task or a worker has no id.
        """
        ...

    async def find_tasks(self, task_ids: Collection[str]) -> dict[str, StoredTask]:
        """The tasks of these ids; an id that is not stored is not in the answer."""
        ...

    async def list_tasks(self, query: TaskQuery) -> list[StoredTask]:
        """One page of tasks, newest submission first, ties by descending task id.

        A limit below 1 gives an empty page. Of commits under way a query that `searches` may see a part.
        """
        ...

    async def list_position(self, query: TaskQuery, count: int) -> Position | None:
        """Where a listing is after `count` tasks of these states and this user; None when there are fewer.

        What else the query asks for, its limit too, plays no part.
        """
        ...

    async def timeline(self, since: float, until: float, buckets: int, most: int) -> Timeline:
        """What was submitted and what ended in each of `buckets` equal spans of [since, until), by type.

        At most the `most` newest submissions and as many ends count. Of commits under way it may see a part.
        """
        ...

    async def attempts(self, task_id: str) -> list[AttemptRecord]:
        """The task's attempts in order; empty for an unknown task."""
        ...

    async def result(self, task_id: str) -> ResultRecord | None:
        """The task's recorded outcome; None when it has none."""
        ...

    async def count_tasks(self) -> dict[TaskState, int]:
        """How many tasks are in each state; a state without tasks is not in the answer."""
        ...

    async def history(self, since: float, until: float) -> dict[str, list[Any]]:
        """Recorded outcomes with since <= finish < until, as columns of equal length named `HISTORY_FIELDS`.

        Each joins a result with its task and with the attempt that it is of. Oldest finish first, ties by
        task id.
        """
        ...

    async def params_versions(self, limit: int) -> list[ParamsVersion]:
        """The newest parameter versions, highest number first; a limit below 1 gives none."""
        ...

    async def params_version(self, version: int) -> ParamsVersion | None:
        """One parameter version; None when it is not kept, or never was."""
        ...


class StoreConflictError(Exception):
    """The writes do not fit what is stored."""


class StoreSupersededError(StoreConflictError):
    """Another master has taken the store over; this one can no longer write."""


class StoreOpenError(Exception):
    """The store cannot be used by this master; the sentence says why."""


class StoreUnreachableError(StoreOpenError):
    """The store does not answer; it may later."""


class StoreInUseError(StoreOpenError):
    """Another master that is alive has the store open.

    Parameters
    ----------
    message : str
        The sentence.
    address : str
        Where that master serves; empty when that is not known.
    """

    def __init__(self, message: str, address: str = "") -> None:
        super().__init__(message)
        self.address = address
