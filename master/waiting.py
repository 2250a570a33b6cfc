"""What a queued task waits for: what is ahead of it, and what each worker lacks for it."""

from __future__ import annotations

from heapq import nsmallest

import msgspec
import numpy as np

from master.jobs import Job, Standing
from master.members import Amounts, Member, Members, amounts_of, as_amounts
from master.queue import TaskQueue
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
    hopeful, hopeless = queue.before(job)
    first = [entry[3] for entry in nsmallest(IDS, hopeful) + nsmallest(IDS, hopeless)]
    asked = np.array(amounts_of(job.task))
    missing = np.maximum(asked - members.rooms(), 0.0)
    # What is not asked is not missing, so what it is divided by does not matter.
    shares = (missing / np.where(asked > 0.0, asked, 1.0)).sum(axis=1).tolist()
    whys = [_closed(member, job) for member in members.by_id.values()]
    near = nsmallest(ROWS, zip(map(bool, whys), shares, members.by_id, range(len(whys)), strict=True))
    return Waiting(
        why_waiting(job, members, now),
        len(hopeful) + len(hopeless),
        tuple((other.task_id, other.spec.submission.user_id) for other in first[:IDS]),
        now > job.latest_start,
        "" if job.reserved is None else job.reserved.id,
        len(whys),
        tuple(Lack(name, as_amounts(missing[row]), whys[row]) for _, _, name, row in near),
        tuple((missing > 0.0).sum(axis=0).tolist()),
        len(whys) - whys.count(""),
    )


def _closed(member: Member, job: Job) -> str:
    if not member.takes:
        return member.state
    if not member.supports(job.executor):
        return f"has no {job.executor} executor"
    if member.reserved_for is not None and member.reserved_for is not job:
        return "kept free for another task"
    if job.standing is Standing.PARKED and member.id in job.avoid:
        return "refused it"
    return ""
