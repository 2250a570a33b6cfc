"""Says in a sentence why a queued task waits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from master.jobs import Job, Standing
from master.members import NAMES, STATES, Member, Members
from master.queue import Group


def why_waiting(job: Job, members: Members, now: float) -> str:
    """Why a queued job is not placed; what is true of its request is kept until the workers change."""
    if job.reserved is not None:
        return f"worker {job.reserved.id} is kept free for it until it has room"
    if job.standing is Standing.PARKED:
        pause = max(0.0, job.retry_at - now)
        return (
            f"only workers that refused it, or still end an older attempt of it, have room "
            f"({', '.join(job.avoid)}); tried again in {pause:.1f} s"
        )
    assert job.group is not None
    return group_reason(job.group, members)


def group_reason(group: Group, members: Members) -> str:
    """Why the tasks of a group are not placed, those aside that a worker is kept for or that pause."""
    if group.diagnosis[0] != members.version:
        group.diagnosis = members.version, _diagnosis(group, members.by_id.values())
    return group.diagnosis[1]


def _diagnosis(group: Group, members: Iterable[Member]) -> str:
    members = list(members)
    if not members:
        return "no worker is registered"
    able = [m for m in members if m.could_run(group.request, group.executor)]
    if not able:
        return _impossible(group, members)
    takers = [m for m in able if m.takes]
    if not takers:
        states = Counter(m.state for m in able)
        parts = [f"{states[state]} {state}" for state in STATES if state in states]
        return f"no worker that could run it takes tasks now: {' and '.join(parts)}"
    when = "it has room" if len(takers) == 1 else "one of them has room"
    return f"waits for room: {_count(len(takers))} could run it when {when}"


def _impossible(group: Group, members: list[Member]) -> str:
    supporting = [m for m in members if m.supports(group.executor)]
    if not supporting:
        return f"needs the {group.executor} executor; none of {_count(len(members))} has it"
    wants = [
        f"needs {name} {asked:g}; the largest worker has {most:g}"
        for k, (name, asked) in enumerate(zip(NAMES, group.request, strict=True))
        if asked > (most := max(m.totals[k] for m in supporting))
    ]
    if wants:
        return "; ".join(wants)
    asked = " and ".join(
        f"{name} {amount:g}" for name, amount in zip(NAMES, group.request, strict=True) if amount
    )
    return f"needs {asked} on one worker; no worker has all of it"


def _count(workers: int) -> str:
    return "1 worker" if workers == 1 else f"{workers} workers"
