"""Workers come, speak, fall silent, return and go; what they hold is claimed, or lost."""

from __future__ import annotations

import msgspec

from master.book import Book
from master.errors import UnknownWorkerIdError
from master.events import (
    AttemptId,
    AttemptStarted,
    CancelAttempt,
    Drain,
    Effect,
    Heartbeat,
    PutWorker,
    RegisterWorker,
    RemoveWorker,
    Tick,
    WorkerHeard,
    WorkerLeft,
    WorkerSilent,
    WorkerStopping,
)
from master.jobs import Attempt
from master.lifecycle import Lifecycle
from master.members import SILENT_INTERVALS, Member, Members, Uptime
from master.metrics.counters import Tally
from master.records import AttemptEnd, TaskState
from master.reservations import Reservations
from master.validate import check_worker

# Heartbeats in a row without a task that the worker took, until it is taken to have dropped it. One or two
# may cross a report that is under way or repeated.
DROPPED_HEARTBEATS = 3

CAME_BACK = "worker {} came back without it"
DROPPED = "worker {} dropped it: {} heartbeats in a row did not name it"
LEFT = "worker {} left"
LOST = "worker {} was lost: silent for {:.0f} s"
NOT_CLAIMED = "worker {} did not claim it within {:.0f} s"


class Liveness:
    """Which workers belong to the cluster.

    A worker that is silent for three heartbeat intervals is inactive, `grace_s` later it is lost. An attempt
    whose worker has to name it has `grace_s` for that; one that runs, and that three heartbeats in a row do
    not name, was dropped.
    """

    def __init__(
        self,
        members: Members,
        book: Book,
        lifecycle: Lifecycle,
        reservations: Reservations,
        tally: Tally,
        *,
        heartbeat_interval_s: float,
        grace_s: float,
    ) -> None:
        self._members = members
        self._book = book
        self._lifecycle = lifecycle
        self._reservations = reservations
        self._tally = tally
        self._silent_s = SILENT_INTERVALS * heartbeat_interval_s
        # They count only over the time that they take at our interval, less half of one for what delays them:
        # an agent may send more.
        self._dropped_s = (DROPPED_HEARTBEATS - 1.5) * heartbeat_interval_s
        self._grace_s = grace_s
        self.uptime = Uptime(limit_s=self._silent_s)
        # Attempts to be claimed; those that were claimed or ended are dropped at the next tick.
        self._awaited: dict[Attempt, None] = {}

    def register(self, event: RegisterWorker, now: float, effects: list[Effect]) -> None:
        """A worker introduced itself, for the first time or again."""
        check_worker(event.worker)
        member = self._members.by_id.get(event.worker.worker_id)
        if member is None:
            record = msgspec.structs.replace(event.worker, registered_at=now)
            member = Member(record, self.uptime.seconds, active=True, last_heartbeat_at=now)
            self._members.add(member)
            effects.append(PutWorker(record))
        else:
            old = member.record
            record = msgspec.structs.replace(
                event.worker, draining=old.draining, registered_at=old.registered_at
            )
            if record != old:
                self._reservations.vacate(member)
                self._members.change(member, record)
                effects.append(PutWorker(record))
            self._hear(member, now)
        if event.stopping:
            self._reservations.vacate(member)
        self._members.set_stopping(member, event.stopping)
        if event.live is None:
            for attempt in member.attempts.values():
                self.await_claim(attempt)
        else:
            self._reconcile(member, event.live, now, effects)

    def heartbeat(self, event: Heartbeat, now: float, effects: list[Effect]) -> None:
        """A worker says how busy it is and, perhaps, what it runs."""
        member = self._known(event.worker_id)
        if not member.active:
            effects.append(WorkerHeard(member.id, True))
        self._hear(member, now)
        self._members.set_usages(member, event.cpu_usage, event.memory_usage, event.gpu_usage)
        if event.live is None:
            return
        named = set()
        for attempt_id in event.live:
            if self._claim(member, attempt_id):
                named.add(attempt_id.task_id)
                self._repeat_cancel(member, attempt_id.task_id, effects)
                # Who names it runs it, whatever became of the answer to its assignment.
                attempt = member.attempts[attempt_id.task_id]
                if attempt.job.status.state is TaskState.ASSIGNED:
                    self._lifecycle.started(AttemptStarted(member.id, attempt_id, now), now, effects)
            elif attempt_id.attempt or attempt_id.task_id in self._book:
                # Numbers are ours; without one it may be another master's task of the same agent.
                self._reject(member, attempt_id, now, effects)
        for attempt in list(member.attempts.values()):
            # A heartbeat may cross an assignment or a report, so a single one denies nothing; but what was
            # told to end three intervals ago and is not named since has ended, even if the agent never says
            # so.
            if attempt.job.task_id in named:
                continue
            if attempt.cancel_at is None:
                self._miss(attempt, now, effects)
            elif now - attempt.cancel_at >= self._silent_s:
                self._lifecycle.give_up(attempt, AttemptEnd.CANCELLED, "", now, effects)

    def silent(self, event: WorkerSilent, now: float, effects: list[Effect]) -> None:
        """The connection to a worker broke; when it is lost is counted from when it was last heard."""
        member = self._known(event.worker_id)
        self._reservations.vacate(member)
        self._members.set_active(member, False)

    def stopping(self, event: WorkerStopping, now: float, effects: list[Effect]) -> None:
        """A worker ends what it runs and takes nothing new."""
        member = self._known(event.worker_id)
        self._reservations.vacate(member)
        self._members.set_stopping(member, True)

    def left(self, event: WorkerLeft, now: float, effects: list[Effect]) -> None:
        """A worker said goodbye."""
        member = self._known(event.worker_id)
        self._remove(member, LEFT.format(member.id), now, effects)
        self._tally.removed["left"] += 1

    def drain(self, event: Drain, now: float, effects: list[Effect]) -> None:
        """Place nothing new on a worker, or take that back."""
        member = self._known(event.worker_id)
        if member.record.draining == event.drain:
            return
        record = msgspec.structs.replace(member.record, draining=event.drain)
        self._reservations.vacate(member)
        self._members.change(member, record)
        effects.append(PutWorker(record))

    def tick(self, event: Tick, now: float, effects: list[Effect]) -> None:
        """See who has been silent for too long, and which attempts nobody claims."""
        up = self.uptime.seconds
        for member in list(self._members.by_id.values()):
            silent = up - member.heard
            if silent >= self._silent_s + self._grace_s:
                self._remove(member, LOST.format(member.id, silent), now, effects)
                self._tally.removed["lost"] += 1
                continue
            if silent >= self._silent_s and member.active:
                self._reservations.vacate(member)
                self._members.set_active(member, False)
                effects.append(WorkerHeard(member.id, False))
        for attempt in list(self._awaited):
            if attempt.claim_by is None or attempt.job.attempt is not attempt:
                del self._awaited[attempt]
            elif up >= attempt.claim_by:
                del self._awaited[attempt]
                why = NOT_CLAIMED.format(attempt.member.id, self._grace_s)
                self._lifecycle.give_up(attempt, AttemptEnd.LOST, why, now, effects)

    def await_claim(self, attempt: Attempt) -> None:
        """Give a worker the grace period to name an attempt."""
        attempt.claim_by = self.uptime.seconds + self._grace_s
        self._awaited[attempt] = None

    def expected(self) -> float:
        """After a restart: the instant of hearing that gives a worker the grace period to come back."""
        return self.uptime.seconds - self._silent_s

    def _reconcile(
        self, member: Member, live: tuple[AttemptId, ...], now: float, effects: list[Effect]
    ) -> None:
        named = set()
        for attempt_id in live:
            if self._claim(member, attempt_id):
                named.add(attempt_id.task_id)
                self._repeat_cancel(member, attempt_id.task_id, effects)
            else:
                self._reject(member, attempt_id, now, effects)
        for attempt in list(member.attempts.values()):
            if attempt.job.task_id not in named:
                why = CAME_BACK.format(member.id)
                self._lifecycle.give_up(attempt, AttemptEnd.LOST, why, now, effects)

    def _claim(self, member: Member, named: AttemptId) -> bool:
        """Whether the worker rightly has this attempt."""
        attempt = member.attempts.get(named.task_id)
        if attempt is None or named.attempt not in (0, attempt.number):
            return False
        attempt.claim_by = None
        attempt.missed = 0
        return True

    def _miss(self, attempt: Attempt, now: float, effects: list[Effect]) -> None:
        """Note a heartbeat without an attempt; the last that is borne ends it."""
        if attempt.job.status.state is not TaskState.RUNNING or attempt.claim_by is not None:
            # It has not been taken yet, or has the grace period to be claimed.
            return
        up = self.uptime.seconds
        if attempt.missed == 0:
            attempt.missed_since = up
        attempt.missed += 1
        if attempt.missed < DROPPED_HEARTBEATS or up - attempt.missed_since < self._dropped_s:
            return
        job, member = attempt.job, attempt.member
        why = DROPPED.format(member.id, attempt.missed)
        self._lifecycle.give_up(attempt, AttemptEnd.LOST, why, now, effects)
        # It may run all the same, on an agent that names too little.
        self._reject(member, AttemptId(job.task_id, attempt.number), now, effects)

    def _repeat_cancel(self, member: Member, task_id: str, effects: list[Effect]) -> None:
        attempt = member.attempts[task_id]
        if attempt.cancel_at is not None:
            effects.append(CancelAttempt(member.id, AttemptId(task_id, attempt.number)))

    def _reject(self, member: Member, named: AttemptId, now: float, effects: list[Effect]) -> None:
        """Tell a worker to end what it should not run, and let the same task come there only after that."""
        effects.append(CancelAttempt(member.id, named))
        job = self._book.jobs.get(named.task_id)
        if job is not None and job.attempt is None:
            self._lifecycle.avoid(job, member.id, now)

    def _hear(self, member: Member, now: float) -> None:
        member.heard = self.uptime.seconds
        member.last_heartbeat_at = now
        self._members.set_active(member, True)

    def _known(self, worker_id: str) -> Member:
        member = self._members.by_id.get(worker_id)
        if member is None:
            raise UnknownWorkerIdError(f"no worker {worker_id!r} is registered")
        return member

    def _remove(self, member: Member, why: str, now: float, effects: list[Effect]) -> None:
        self._reservations.vacate(member)
        for attempt in list(member.attempts.values()):
            self._lifecycle.give_up(attempt, AttemptEnd.LOST, why, now, effects)
        self._members.remove(member)
        effects.append(RemoveWorker(member.id))
