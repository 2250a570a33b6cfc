"""The registered workers: their standing in the table, their silence, the room they gained."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from master.jobs import Attempt, Job
from master.records import WorkerRecord
from rtscore import Task, WorkerTable

Amounts = tuple[float, float, float, float]

NAMES = ("cpu", "memory", "gpu", "storage")
# A worker may be in several states at once and is told to be in the first: a silent one may be dead, whatever
# was wished of it, and taking back a drain does not open one that stops by itself.
STATES = ("inactive", "stopping", "draining", "active")
NOTHING: Amounts = (0.0, 0.0, 0.0, 0.0)
# Less than any task asks.
NO_ROOM: Amounts = (-1.0, -1.0, -1.0, -1.0)
SILENT_INTERVALS = 3
MAX_USAGE = 10.0


class Uptime:
    """Seconds that the master was awake and watching.

    Silence is counted on this clock, not on the wall: when the machine slept or its clock was set, the
    workers are not to blame. One step counts at most `limit_s`, so ticks must come more often than that.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._last = math.inf
        self.seconds = 0.0

    def advance(self, now: float) -> None:
        """Notice the time, in Unix seconds."""
        step = now - self._last
        self._last = now
        if step > 0.0:
            self.seconds += min(step, self._limit_s)


class Member:
    """A registered worker and what it runs."""

    __slots__ = (
        "active",
        "attempts",
        "heard",
        "last_heartbeat_at",
        "placed",
        "record",
        "reserved_for",
        "schedulable",
        "shrunk",
        "sla_met",
        "stopping",
        "tasks_finished",
        "totals",
    )

    def __init__(self, record: WorkerRecord, heard: float, *, active: bool, last_heartbeat_at: float) -> None:
        self.record = record
        self.totals = totals_of(record)
        self.attempts: dict[str, Attempt] = {}
        # On the clock of `Uptime`.
        self.heard = heard
        self.last_heartbeat_at = last_heartbeat_at
        self.active = active
        # It stops by itself; a drain is somebody else's wish, and stands in the record.
        self.stopping = False
        self.reserved_for: Job | None = None
        self.schedulable = True
        # Made smaller than what it holds.
        self.shrunk = False
        self.placed = 0
        self.tasks_finished = 0
        self.sla_met = 0

    @property
    def id(self) -> str:
        """The worker's id."""
        return self.record.worker_id

    @property
    def state(self) -> str:
        """The first of `STATES` that it is in."""
        if not self.active:
            return "inactive"
        if self.stopping:
            return "stopping"
        return "draining" if self.record.draining else "active"

    @property
    def takes(self) -> bool:
        """Whether it gets tasks, those aside that it may be kept free from."""
        return self.state == "active"

    def supports(self, executor: str) -> bool:
        """Whether it can run tasks of this executor; one that names none is believed to run all."""
        executors = self.record.executors
        return not executors or executor in executors

    def could_run(self, request: Amounts, executor: str) -> bool:
        """Whether it could, if it were empty."""
        return covers(self.totals, request) and self.supports(executor)

    def held(self) -> Amounts:
        """What its attempts hold together."""
        held = NOTHING
        for attempt in self.attempts.values():
            held = plus(held, amounts_of(attempt.job.task))
        return held

    def __repr__(self) -> str:
        return f"<Member {self.id}, {len(self.attempts)} attempts>"


class Members:
    """All registered workers.

    Attributes
    ----------
    version : int
        Changes whenever the answer to "who could run this at all" may have changed.
    grown : dict of Member
        Who gained room, or became schedulable, since placement last asked.
    """

    def __init__(self, table: WorkerTable) -> None:
        self.table = table
        self.by_id: dict[str, Member] = {}
        self.version = 0
        self.grown: dict[Member, None] = {}
        # Attempts that hold a worker.
        self.live = 0

    def __len__(self) -> int:
        return len(self.by_id)

    def add(self, member: Member) -> None:
        """Add a worker, to the table too."""
        cpu, memory, gpu, storage = member.totals
        self.table.add(member.id, cpu=cpu, memory=memory, gpu=gpu, storage=storage)
        self.by_id[member.id] = member
        self.version += 1
        self.grown[member] = None
        self.refresh(member)

    def remove(self, member: Member) -> None:
        """Remove a worker that runs nothing any more."""
        assert not member.attempts
        assert member.reserved_for is None
        self.table.remove(member.id)
        del self.by_id[member.id]
        self.grown.pop(member, None)
        self.version += 1

    def change(self, member: Member, record: WorkerRecord) -> None:
        """Replace what is recorded of a worker: totals, address, executors, drain."""
        member.record = record
        totals = totals_of(record)
        if totals != member.totals:
            member.totals = totals
            cpu, memory, gpu, storage = totals
            self.table.resize(member.id, cpu=cpu, memory=memory, gpu=gpu, storage=storage)
            member.shrunk = not covers(totals, member.held())
        self.version += 1
        self.grown[member] = None
        self.refresh(member)

    def set_active(self, member: Member, active: bool) -> None:
        """Note that a worker speaks again, or that it is silent."""
        if member.active != active:
            member.active = active
            self.version += 1
            self.refresh(member)

    def set_stopping(self, member: Member, stopping: bool) -> None:
        """Note that a worker takes nothing new, or that it is back."""
        if member.stopping != stopping:
            member.stopping = stopping
            self.version += 1
            self.refresh(member)

    def reserve_for(self, member: Member, job: Job | None) -> None:
        """Keep a worker for one job, or (None) let all have it again."""
        member.reserved_for = job
        self.refresh(member)

    def hold(self, attempt: Attempt) -> None:
        """Reserve what an attempt asks, on its worker."""
        job = attempt.job
        self.table.reserve(attempt.member.record.worker_id, job.task)
        attempt.member.attempts[job.task_id] = attempt
        self.live += 1

    def let_go(self, attempt: Attempt) -> None:
        """Give back what an attempt held."""
        member = attempt.member
        self.table.release(member.record.worker_id, attempt.job.task)
        del member.attempts[attempt.job.task_id]
        self.live -= 1
        if member.shrunk:
            member.shrunk = not covers(member.totals, member.held())
        self.grown[member] = None

    def refresh(self, member: Member) -> None:
        """Tell the table whether the worker may be given tasks."""
        wanted = member.takes and member.reserved_for is None
        if wanted != member.schedulable:
            member.schedulable = wanted
            self.table.set_schedulable(member.id, wanted)
            if wanted:
                self.grown[member] = None

    def room(self, member: Member) -> Amounts:
        """What a worker has available."""
        view = self.table.view(member.id)
        return view.cpu_avail, view.memory_avail, view.gpu_avail, view.storage_avail

    def rooms(self) -> NDArray[np.float64]:
        """What each worker has available, in the order of `by_id`, shape (n, 4)."""
        slots = np.fromiter(map(self.table.slot, self.by_id), np.int64, len(self.by_id))
        columns = self.table.columns()
        return np.column_stack([columns[f"{name}_avail"][slots] for name in NAMES])

    def set_usages(self, member: Member, cpu: float, memory: float, gpu: float) -> None:
        """Note reported usages, fractions of the totals; with a NaN among them the last load stays."""
        load = reported_load(member.totals, cpu, memory, gpu)
        if load is not None:
            self.table.set_load(member.id, load)


def reported_load(totals: Amounts, cpu: float, memory: float, gpu: float) -> float | None:
    """The load of section 3.2 from usages, each clipped to [0, 10]; None when one is not a number."""
    if math.isnan(cpu) or math.isnan(memory) or math.isnan(gpu):
        return None
    cpu_weight, memory_weight, gpu_weight = totals[0], totals[1] / 10.0, 2.0 * totals[2]
    weight = cpu_weight + memory_weight + gpu_weight
    if weight <= 0.0:
        return 0.0
    return (
        cpu_weight * min(max(cpu, 0.0), MAX_USAGE)
        + memory_weight * min(max(memory, 0.0), MAX_USAGE)
        + gpu_weight * min(max(gpu, 0.0), MAX_USAGE)
    ) / weight


def covers(amounts: Amounts, request: Amounts) -> bool:
    """Whether every amount is at least what is asked."""
    return (
        amounts[0] >= request[0]
        and amounts[1] >= request[1]
        and amounts[2] >= request[2]
        and amounts[3] >= request[3]
    )


def most(one: Amounts, other: Amounts) -> Amounts:
    """The larger of each amount."""
    return (
        max(one[0], other[0]),
        max(one[1], other[1]),
        max(one[2], other[2]),
        max(one[3], other[3]),
    )


def plus(one: Amounts, other: Amounts) -> Amounts:
    """The sum of each amount."""
    return (
        one[0] + other[0],
        one[1] + other[1],
        one[2] + other[2],
        one[3] + other[3],
    )


def amounts_of(task: Task) -> Amounts:
    """What a task asks."""
    return task.cpu, task.memory, task.gpu, task.storage


def as_amounts(row: NDArray[np.float64]) -> Amounts:
    """The amounts in an array of shape (4,)."""
    cpu, memory, gpu, storage = row.tolist()
    return cpu, memory, gpu, storage


def totals_of(record: WorkerRecord) -> Amounts:
    """A worker's totals as the table keeps them: to the nearest multiple of 2**-20."""
    return (
        _quantised(record.cpu),
        _quantised(record.memory),
        _quantised(record.gpu),
        _quantised(record.storage),
    )


def _quantised(amount: float) -> float:
    return round(amount * 2.0**20) / 2.0**20
