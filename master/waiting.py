"""What a queued task waits for: what is ahead of it, and what each worker lacks for it."""

from __future__ import annotations

from heapq import nsmallest

import msgspec

from master.jobs import Job, Standing
from master.members import Amounts, Member, Members, amounts_of
from master.queue import TaskQueue, order
from master.reasons import why_waiting

# Beyond that nobody reads on, and the counts say more.
ROWS = 50
IDS = 5


class Lack(msgspec.Struct, frozen=True):
    """What one worker has too little of, and `why` it takes nothing of this kind now, if that is so."""

    worker_id: str
    missing: Amounts
    why: str


class Waiting(msgspec.Struct, frozen=True):
    """What a queued task waits for.

    Attributes
    ----------
    ahead : int
        Queued tasks that go first.
    first : tuple of (str, str)
        The ids and users of the first `IDS` of them.
    hopeless : bool
        Whether its deadline can no longer be met.
    lacks : tuple of Lack
        The `ROWS` workers that are nearest to fitting, nearest first.
    lacking : tuple of int
        How many of all workers have too little cpu, memory, gpu and storage.
    closed : int
        How many take nothing of this kind now.
    """

    why: str
    ahead: int
    first: tuple[tuple[str, str], ...]
    hopeless: bool
    reserved_worker: str
    workers: int
    lacks: tuple[Lack, ...]
    lacking: tuple[int, ...]
    closed: int


def waiting(job: Job, queue: TaskQueue, members: Members, now: float) -> Waiting:
    """What a job that is queued, or would be, waits for; looks at every queued task and every worker."""
    key = order(job)
    ahead = [other for other in queue.jobs() if order(other) < key]
    first = nsmallest(IDS, ahead, key=order)
    lacks = [_lack(member, members.room(member), job) for member in members.by_id.values()]
    asked = amounts_of(job.task)
    return Waiting(
        why_waiting(job, members, now),
        len(ahead),
        tuple((other.task_id, other.spec.submission.user_id) for other in first),
        now > job.latest_start,
        "" if job.reserved is None else job.reserved.id,
        len(lacks),
        tuple(nsmallest(ROWS, lacks, key=lambda lack: _distance(lack, asked))),
        tuple(sum(lack.missing[k] > 0.0 for lack in lacks) for k in range(4)),
        sum(bool(lack.why) for lack in lacks),
    )


def _lack(member: Member, room: Amounts, job: Job) -> Lack:
    cpu, memory, gpu, storage = amounts_of(job.task)
    missing = (
        max(cpu - room[0], 0.0),
        max(memory - room[1], 0.0),
        max(gpu - room[2], 0.0),
        max(storage - room[3], 0.0),
    )
    return Lack(member.id, missing, _closed(member, job))


def _closed(member: Member, job: Job) -> str:
    if not member.active:
        return "silent"
    if member.stopping:
        return "stopping"
    if member.record.draining:
        return "draining"
    if not member.supports(job.executor):
        return f"has no {job.executor} executor"
    if member.reserved_for is not None and member.reserved_for is not job:
        return "kept free for another task"
    if job.standing is Standing.PARKED and member.id in job.avoid:
        return "refused it"
    return ""


def _distance(lack: Lack, asked: Amounts) -> tuple[bool, float, str]:
    share = sum(missing / amount for missing, amount in zip(lack.missing, asked, strict=True) if missing)
    return bool(lack.why), share, lack.worker_id
