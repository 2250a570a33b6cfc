"""What the core tells of itself: workers as they are, where a task is and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from master.records import StoredTask
from master.waiting import Waiting

if TYPE_CHECKING:
    from rtscore import Explanation


class WorkerStatus(msgspec.Struct, frozen=True):
    """A registered worker at one moment; `state` is "active", "draining", "stopping" or "inactive"."""

    worker_id: str
    state: str
    cpu: float
    memory: float
    gpu: float
    storage: float
    cpu_avail: float
    memory_avail: float
    gpu_avail: float
    storage_avail: float
    load: float
    live_attempts: int
    last_heartbeat_at: float
    tasks_finished: int
    sla_met: int
    executors: tuple[str, ...] = ()
    registered_at: float = 0.0


class TaskExplanation(msgspec.Struct, frozen=True):
    """Why a task is where it is.

    Attributes
    ----------
    task : StoredTask
    summary : str
        One sentence.
    ranking : Explanation or None
        How the workers would rank for it now; None when the policy in use does not rank.
    waiting : Waiting or None
        What it waits for; None when it is not queued.
    """

    task: StoredTask
    summary: str
    ranking: Explanation | None
    waiting: Waiting | None
