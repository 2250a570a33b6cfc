"""The core's invariants (section 7.1), recomputed from scratch."""

from __future__ import annotations

from collections import Counter

from master.book import Book
from master.jobs import Standing
from master.members import NAMES, Members
from master.queue import TaskQueue
from master.records import TaskState
from master.reservations import Reservations

PLACED = (TaskState.ASSIGNED, TaskState.RUNNING)


def audit(book: Book, members: Members, queue: TaskQueue, reservations: Reservations) -> None:
    """Raise AssertionError, saying which, when an invariant is broken.

    A worker holds exactly what its live attempts ask, and no more than it has (unless it was made smaller
    under them); a task is queued, or has an attempt, or is finished; counts, reservations and the table agree
    with that.
    """
    members.table.check()
    assert sorted(members.table.ids()) == sorted(members.by_id), "the table has other workers"
    columns = members.table.columns()
    attempts = 0
    for member in members.by_id.values():
        slot = members.table.slot(member.id)
        for k, name in enumerate(NAMES):
            asked = sum(getattr(a.job.task, name) for a in member.attempts.values())
            allocated, total = columns[f"{name}_allocated"][slot], columns[f"{name}_total"][slot]
            assert allocated == asked, f"{member}: {name} {allocated} allocated, attempts ask {asked}"
            assert total == member.totals[k], (
                f"{member}: {name} {total} in the table, {member.totals[k]} noted"
            )
            assert allocated <= total or member.shrunk, f"{member}: {name} {allocated} allocated of {total}"
        for task_id, attempt in member.attempts.items():
            assert attempt.member is member, (
                f"attempt of {task_id} is noted on {member}, holds {attempt.member}"
            )
            assert book.jobs.get(task_id) is attempt.job, f"attempt of {task_id} is of a task not in memory"
            assert attempt.job.attempt is attempt, f"{attempt.job} has another attempt than {member} holds"
        wanted = member.takes and member.reserved_for is None
        assert member.schedulable == wanted == members.table.is_schedulable(member.id), (
            f"{member}: schedulable"
        )
        job = member.reserved_for
        assert job is None or reservations.held[job].member is member, f"{member} is reserved for nobody"
        attempts += len(member.attempts)
    assert attempts == members.live, f"{attempts} attempts on workers, {members.live} counted"

    counts = dict.fromkeys(TaskState, 0)
    queued = 0
    for task_id, job in book.jobs.items():
        state = job.status.state
        counts[state] += 1
        assert task_id == job.task_id == job.spec.task_id, f"{job} is filed as {task_id}"
        assert (job.group is not None) == (job.standing is not Standing.OUT), (
            f"{job}: group and standing differ"
        )
        assert (state is TaskState.QUEUED) == (job.group is not None), f"{job}: queue and state differ"
        assert (state in PLACED or state is TaskState.CANCELLED) == (job.attempt is not None), (
            f"{job}: attempt"
        )
        assert job.attempt is None or job.attempt.number == job.status.attempt, f"{job}: attempt number"
        assert (job.attempt is not None and job.attempt.cancel_at is not None) == (
            state is TaskState.CANCELLED
        ), f"{job}: cancelling"
        assert (job.reserved is not None) == (job in reservations.held), f"{job}: reservation"
        queued += job.group is not None
    for state in (TaskState.QUEUED, *PLACED):
        assert counts[state] == book.counts[state], f"{counts[state]} {state}, {book.counts[state]} counted"
    assert queued == len(queue) == sum(g.size for g in queue.groups.values()), (
        f"{queued} queued, not {len(queue)}"
    )
    users = Counter(job.spec.submission.user_id for job in book.jobs.values() if job.group is not None)
    assert users == book.queued_by_user, f"queued {users}, {book.queued_by_user} counted"
    parked = sum(job.standing is Standing.PARKED for job in book.jobs.values())
    assert sum(1 for _ in queue.jobs()) == queued - parked, "a queued task is in no group"
    assert len(queue.parked) == parked, f"{parked} parked, {len(queue.parked)} noted"
    hopeless = sum(job.standing is Standing.HOPELESS for job in queue.jobs())
    assert hopeless == queue.hopeless, f"{hopeless} hopeless, {queue.hopeless} counted"
    places = [place for place, _ in queue.in_order()]
    assert places == sorted(places), "the queue is read out of order"
    assert len(places) == queued, "the queue is not read whole"
    running = {t for t, job in book.jobs.items() if job.attempt is not None}
    assert reservations.favoured <= running, "a favoured task does not run"
