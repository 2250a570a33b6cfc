"""Rebuilds the core from what the store holds, and puts right what does not fit together."""

from __future__ import annotations

from master.book import Book
from master.events import Effect, EndAttempt
from master.jobs import Attempt, Job, task_of
from master.lifecycle import Lifecycle
from master.liveness import Liveness
from master.members import NOTHING, Amounts, Member, Members, amounts_of, most, plus, totals_of
from master.queue import TaskQueue
from master.records import AttemptEnd, AttemptRecord, Snapshot, TaskState
from rtscore import TauStore

OPEN_STATES = (TaskState.ASSIGNED, TaskState.RUNNING)


def restore(
    snapshot: Snapshot,
    now: float,
    effects: list[Effect],
    *,
    book: Book,
    members: Members,
    queue: TaskQueue,
    lifecycle: Lifecycle,
    liveness: Liveness,
    tau: TauStore,
) -> None:
    """Take over a stored cluster.

    Workers are known but get nothing before they speak. Open attempts hold their room until their worker
    claims them or the grace period ends. What does not fit together (a task that runs without an open
    attempt, an open attempt of a finished task or of a worker that is gone) is put right.
    """
    for task_type, seconds in snapshot.tau.items():
        tau.set_tau(task_type, seconds)
    tasks = sorted(snapshot.tasks, key=lambda t: (t.spec.submitted_at, t.spec.task_id))
    jobs = [Job(t.spec, t.status, task_of(t.spec), seq) for seq, t in enumerate(tasks)]
    by_id = {job.task_id: job for job in jobs}
    held, void = _sorted(snapshot, by_id)

    used = _used(held, by_id)
    for record in snapshot.workers:
        member = Member(record, liveness.expected(), active=False, last_heartbeat_at=0.0)
        # What runs there may have been placed when the worker was larger: it is added as large, shrunk at the
        # end.
        member.totals = most(member.totals, used.get(record.worker_id, NOTHING))
        members.add(member)

    for job in jobs:
        attempt = held.get(job.task_id)
        if attempt is not None or not job.status.state.terminal:
            (book.adopt if job.status.state.terminal else book.accept)(job)
        if attempt is not None:
            live = Attempt(job, members.by_id[attempt.worker_id], attempt)
            live.cancel_at = now if job.status.state is TaskState.CANCELLED else None
            lifecycle.open(live)
            liveness.await_claim(live)
    for member in members.by_id.values():
        if member.totals != totals_of(member.record):
            members.change(member, member.record)
    effects.extend(EndAttempt(a.task_id, a.attempt, now, AttemptEnd.LOST) for a in void)
    for job in jobs:
        if job.status.state is TaskState.QUEUED:
            queue.push(job, now, job.submitted_at)
        elif job.status.state in OPEN_STATES and job.attempt is None:
            lifecycle.requeue(job, "the master restarted and nothing was known to run it", now, effects)


def _sorted(snapshot: Snapshot, jobs: dict[str, Job]) -> tuple[dict[str, AttemptRecord], list[AttemptRecord]]:
    """The open attempts that hold a worker, by task, and those that cannot."""
    workers = {w.worker_id for w in snapshot.workers}
    held: dict[str, AttemptRecord] = {}
    void = []
    for attempt in snapshot.attempts:
        job = jobs.get(attempt.task_id)
        if (
            job is not None
            and job.status.state in (*OPEN_STATES, TaskState.CANCELLED)
            and job.status.attempt == attempt.attempt
            and attempt.worker_id in workers
        ):
            held[attempt.task_id] = attempt
        else:
            void.append(attempt)
    return held, void


def _used(held: dict[str, AttemptRecord], jobs: dict[str, Job]) -> dict[str, Amounts]:
    """What the open attempts hold, by worker."""
    used: dict[str, Amounts] = {}
    for attempt in held.values():
        asked = amounts_of(jobs[attempt.task_id].task)
        used[attempt.worker_id] = plus(used.get(attempt.worker_id, NOTHING), asked)
    return used
