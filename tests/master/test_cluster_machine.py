"""Thousands of random histories: whatever happens in whatever order, the invariants of section 7.1 hold.

`World` checks after every event that the core's own invariants hold, that store and core agree, that no write
breaks the store's contract (so a task has at most one outcome) and that no deadline moved.
"""

from __future__ import annotations

import os
from collections import Counter

from core_world import World, of
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from master.errors import MasterError
from master.events import (
    Assign,
    AttemptFinished,
    AttemptId,
    AttemptRefused,
    AttemptStarted,
    Cancel,
    Drain,
    Effect,
    Event,
    Heartbeat,
    Propose,
    Recorded,
    RegisterWorker,
    Submit,
    Tick,
    WorkerLeft,
    WorkerSilent,
    WorkerStopping,
)
from master.members import NAMES
from master.records import AttemptEnd, StoredTask, Submission, TaskState, WorkerRecord
from master.waiting import Waiting
from rtscore import TASK_TYPES

WORKERS = ("w1", "w2", "w3", "w4")
TASKS = tuple(f"t{k}" for k in range(12))

workers = st.sampled_from(WORKERS)
tasks = st.sampled_from(TASKS)
# Few values, so that requests meet: equal, nested, and of sizes that no worker has.
cores = st.sampled_from((0.0, 0.5, 1.0, 2.0, 4.0, 7.0))
gpus = st.sampled_from((0.0, 0.0, 0.0, 1.0))
skews = st.sampled_from((0.0, -1e4, 1e4, float("nan")))


def reason(why: str) -> str:
    """Under which reason a task is counted that is told this."""
    if why.startswith("worker "):
        return "reserved"
    if why.startswith("only workers that refused it"):
        return "refused"
    # Whether one worker has all of it is not counted.
    nobody = why.startswith(("needs ", "no worker is registered")) and "no worker has all of it" not in why
    return "impossible" if nobody else "room"


class Machine(RuleBasedStateMachine):
    """A cluster, its store, and what the workers believe."""

    @initialize(max_attempts=st.integers(1, 3), workers=st.sets(workers, min_size=1))
    def begin(self, max_attempts: int, workers: set[str]) -> None:
        self.world = World(max_attempts=max_attempts, grace_s=5.0, keep_finished=4)
        # What each worker was ever assigned and has not been told to forget, oldest first.
        self.known: dict[str, list[AttemptId]] = {w: [] for w in WORKERS}
        self.submitted: set[str] = set()
        for worker_id in sorted(workers):
            self.register(worker_id, 4.0, 0.0, "all", (), False)

    def do(self, event: Event) -> None:
        """An event may be refused, and then nothing has changed; what the workers are told, they hear."""
        before = self.world.cluster.counts(), self.world.cluster.workers()
        try:
            effects = self.world.do(event)
        except MasterError:
            assert (self.world.cluster.counts(), self.world.cluster.workers()) == before
            self.world.check()
            return
        self.hear(effects)

    def hear(self, effects: list[Effect]) -> None:
        for assign in of(Assign, effects):
            self.known[assign.worker_id].append(AttemptId(assign.spec.task_id, assign.attempt))
        for told in of(Recorded, effects):
            if told.attempt in self.known[told.worker_id]:
                self.known[told.worker_id].remove(told.attempt)

    def attempt_of(self, worker_id: str, pick: int, number: int | None) -> AttemptId:
        """Something that the worker knows of, or else anything; with its number, or another."""
        known = self.known[worker_id]
        attempt = known[pick % len(known)] if known else AttemptId(TASKS[pick % len(TASKS)], 1)
        return attempt if number is None else AttemptId(attempt.task_id, number)

    # ---- clients ----

    @rule(
        task_id=tasks,
        cpu=cores,
        gpu=gpus,
        task_type=st.sampled_from(("", "", *TASK_TYPES)),
        due=st.sampled_from((0.0, 0.0, -50.0, 5.0, 20.0, 1e4)),
        image=st.booleans(),
        user=st.sampled_from(("", "ann")),
    )
    def submit(
        self, task_id: str, cpu: float, gpu: float, task_type: str, due: float, image: bool, user: str
    ) -> None:
        deadline = self.world.now + due if due else 0.0
        submission = Submission(
            task_id,
            command="true",
            user_id=user,
            docker_image="image" if image else "",
            cpu=cpu,
            gpu=gpu,
            task_type=task_type,
            deadline=deadline,
        )
        known = self.world.store.specs.get(task_id)
        stored = None if known is None else self.stored(task_id)
        self.do(Submit(submission, stored))
        self.submitted.add(task_id)
        assert task_id in self.world.store.specs

    @rule(task_id=tasks)
    def cancel(self, task_id: str) -> None:
        self.do(Cancel(task_id))

    @rule(task_id=tasks, worker_id=workers, behind=st.sampled_from((0, 0, 0, 1, 20, -1)))
    def propose(self, task_id: str, worker_id: str, behind: int) -> None:
        version = self.world.cluster.planner_state(0, self.world.now).version - behind
        self.do(Propose(task_id, worker_id, version))

    # ---- workers ----

    @rule(
        worker_id=workers,
        cpu=st.sampled_from((2.0, 4.0, 6.0)),
        gpu=gpus,
        live=st.sampled_from(("all", "all", "some", "none", "silent")),
        executors=st.sampled_from(((), ("process",), ("process", "container"))),
        stale=st.booleans(),
    )
    def register(
        self, worker_id: str, cpu: float, gpu: float, live: str, executors: tuple[str, ...], stale: bool
    ) -> None:
        known = self.known[worker_id]
        named = {"all": known, "some": known[::2], "none": []}.get(live)
        if named is not None and stale:
            named = [*named, AttemptId("never submitted", 1)]
        record = WorkerRecord(worker_id, cpu, 64.0, gpu, 100.0, executors=executors)
        self.do(RegisterWorker(record, None if named is None else tuple(named)))
        if live in ("none", "some"):
            self.known[worker_id] = [a for a in named or () if a.task_id != "never submitted"]

    @rule(worker_id=workers, usage=st.floats(), live=st.sampled_from(("none", "numbers", "any")))
    def heartbeat(self, worker_id: str, usage: float, live: str) -> None:
        known = self.known[worker_id]
        named = {
            "numbers": tuple(known),
            "any": tuple(AttemptId(a.task_id, 0) for a in known),
        }.get(live)
        self.do(Heartbeat(worker_id, usage, 0.5, usage, named))

    @rule(worker_id=workers, pick=st.integers(0, 11), skew=skews)
    def started(self, worker_id: str, pick: int, skew: float) -> None:
        attempt = self.attempt_of(worker_id, pick, None)
        self.do(AttemptStarted(worker_id, attempt, self.world.now + skew))

    @rule(
        worker_id=workers,
        pick=st.integers(0, 11),
        number=st.sampled_from((None, None, None, 0, 1, 2)),
        success=st.booleans(),
        runtime_s=st.sampled_from((0.0, 0.5, 3.0, -1.0, 1e12, float("nan"))),
        skew=skews,
        twice=st.booleans(),
    )
    def finished(
        self,
        worker_id: str,
        pick: int,
        number: int | None,
        success: bool,
        runtime_s: float,
        skew: float,
        twice: bool,
    ) -> None:
        attempt = self.attempt_of(worker_id, pick, number)
        now = self.world.now
        event = AttemptFinished(
            worker_id,
            attempt,
            success,
            started_at=now + skew - 1.0,
            finished_at=now + skew,
            runtime_s=runtime_s,
        )
        for _ in range(2 if twice else 1):
            effects = self.world.do(event)
            self.hear(effects)
            assert Recorded(worker_id, attempt) in effects, "a worker must never keep a result for ever"

    @rule(worker_id=workers, pick=st.integers(0, 11))
    def refused(self, worker_id: str, pick: int) -> None:
        self.do(AttemptRefused(worker_id, self.attempt_of(worker_id, pick, None), "no room"))

    @rule(worker_id=workers)
    def left(self, worker_id: str) -> None:
        self.do(WorkerLeft(worker_id))

    @rule(worker_id=workers)
    def disconnected(self, worker_id: str) -> None:
        self.do(WorkerSilent(worker_id))

    @rule(worker_id=workers)
    def stopping(self, worker_id: str) -> None:
        self.do(WorkerStopping(worker_id))

    @rule(worker_id=workers, drain=st.booleans())
    def drain(self, worker_id: str, drain: bool) -> None:
        self.do(Drain(worker_id, drain))

    # ---- the master ----

    @rule()
    def place(self) -> None:
        self.hear(self.world.place())
        waits = [self.explained(task_id) for task_id in self.queued()]
        assert self.world.cluster.overview(self.world.now).hopeless == sum(w.hopeless for w in waits)

    @rule(seconds=st.sampled_from((0.01, 1.0, 3.0)), times=st.integers(1, 12))
    def wait(self, seconds: float, times: int) -> None:
        for _ in range(times):
            self.world.now += seconds
            self.hear(self.world.do(Tick()))

    @rule(jump=st.sampled_from((-100.0, 100.0, 1e5)))
    def set_clock(self, jump: float) -> None:
        self.world.now = max(1.0, self.world.now + jump)
        self.hear(self.world.do(Tick()))

    @rule()
    def restart(self) -> None:
        before = dict(self.world.store.statuses)
        self.hear(self.world.boot())
        # A restart loses nothing and moves nothing that fits together.
        assert self.world.store.statuses == before

    @precondition(lambda self: any(s.state is TaskState.QUEUED for s in self.world.store.statuses.values()))
    @rule()
    def a_large_enough_idle_worker_ends_every_wait(self) -> None:
        """Liveness: with room for everything and no pause left, one pass empties the queue."""
        record = WorkerRecord("giant", 1e4, 1e4, 1e3, 1e4)
        self.known.setdefault("giant", [])
        self.do(RegisterWorker(record, ()))
        self.world.now += 10.0
        self.world.do(Heartbeat("giant", 0.0, 0.0, 0.0))
        self.hear(self.world.place())
        assert self.queued() == [], [self.world.why(t) for t in self.queued()]
        self.do(WorkerLeft("giant"))
        self.known["giant"].clear()

    # ---- what always holds ----

    @invariant()
    def every_submitted_task_is_stored_and_in_one_state(self) -> None:
        store = self.world.store
        assert set(store.specs) == set(store.statuses) == self.submitted
        counts = self.world.cluster.counts()
        for state in (TaskState.QUEUED, TaskState.ASSIGNED, TaskState.RUNNING):
            assert counts[state] == sum(s.state is state for s in store.statuses.values())
        assert self.world.cluster.queue_depth == counts[TaskState.QUEUED]

    @invariant()
    def an_outcome_belongs_to_the_attempt_that_ended_with_it(self) -> None:
        store = self.world.store
        for task_id, result in store.results.items():
            attempt = store.attempts[task_id, result.attempt]
            assert attempt.worker_id == result.worker_id
            assert attempt.end in (AttemptEnd.COMPLETED, AttemptEnd.FAILED)
            assert attempt.assigned_at <= result.started_at <= result.finished_at
            in_time = result.finished_at <= store.specs[task_id].deadline
            assert result.sla_success == (result.success and in_time)
            assert store.statuses[task_id].state in (TaskState.COMPLETED, TaskState.FAILED)

    @invariant()
    def a_task_is_placed_at_most_as_often_as_allowed_and_numbered_without_gaps(self) -> None:
        numbers: dict[str, list[int]] = {}
        for task_id, number in self.world.store.attempts:
            numbers.setdefault(task_id, []).append(number)
        for task_id, seen in numbers.items():
            assert seen == list(range(1, len(seen) + 1)), task_id
            assert len(seen) <= self.world.options["max_attempts"], task_id

    @invariant()
    def the_clusters_numbers_are_the_sums_of_what_is_told_of_each_worker_and_task(self) -> None:
        found, everyone = self.world.cluster.overview(self.world.now), self.world.cluster.workers()
        assert found.workers == Counter(worker.state for worker in everyone)
        heard = [worker for worker in everyone if worker.state != "inactive"]
        assert found.total == tuple(sum(getattr(w, name) for w in heard) for name in NAMES)
        assert found.free == tuple(sum(getattr(w, f"{name}_avail") for w in heard) for name in NAMES)
        assert Counter(found.waiting) == Counter(reason(self.world.why(t)) for t in self.queued())

    def queued(self) -> list[str]:
        return [t for t, s in self.world.store.statuses.items() if s.state is TaskState.QUEUED]

    def explained(self, task_id: str) -> Waiting:
        waits = self.world.cluster.explain(self.stored(task_id), self.world.now).waiting
        assert waits is not None
        return waits

    def stored(self, task_id: str) -> StoredTask:
        return StoredTask(self.world.store.specs[task_id], self.world.store.statuses[task_id])


TestMachine = Machine.TestCase
TestMachine.settings = settings(
    max_examples=int(os.environ.get("RTS_MACHINE_EXAMPLES", "60")),
    stateful_step_count=60,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
