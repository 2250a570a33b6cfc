"""Workers come, speak, fall silent, return and go; a master restarts among them."""

from __future__ import annotations

import math

import msgspec
import pytest
from core_world import World, kinds, of

from master.errors import InvalidRequestError, NotAllowedError, UnknownWorkerIdError
from master.events import (
    AttemptFinished,
    AttemptId,
    AttemptStarted,
    CancelAttempt,
    EndAttempt,
    Heartbeat,
    PutWorker,
    Recorded,
    RegisterWorker,
    RemoveWorker,
    Restore,
    Tick,
    UpdateTask,
    WorkerSilent,
)
from master.records import AttemptEnd, Snapshot, TaskState, WorkerRecord

# ---- registration ----


def test_a_new_worker_is_recorded_and_gets_what_waits() -> None:
    world = World()
    world.submit("a")
    assert world.placed() == []
    effects = world.worker("w", address="10.0.0.1:7000", executors=("process",))
    (put,) = of(PutWorker, effects)
    assert (put.record.registered_at, put.record.address) == (world.now, "10.0.0.1:7000")
    assert world.placed() == [("a", "w")]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("worker_id", ""),
        ("worker_id", "a/b"),
        ("worker_id", "x" * 201),
        ("cpu", -1.0),
        ("memory", math.nan),
        ("gpu", math.inf),
        ("storage", 2.0**21),
        ("address", "a\n"),
        ("executors", ("\n",)),
    ],
)
def test_a_registration_out_of_bounds_is_refused_by_name(field: str, value: object) -> None:
    world = World()
    record = msgspec.structs.replace(WorkerRecord("w", 4.0, 8.0, 0.0, 1.0), **{field: value})
    with pytest.raises(InvalidRequestError) as caught:
        world.do(RegisterWorker(record, ()))
    assert caught.value.field == field
    assert world.cluster.workers() == []


def test_a_worker_with_nothing_to_give_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="something to give"):
        World().do(RegisterWorker(WorkerRecord("w", 0.0, 0.0, 0.0, 0.0), ()))


def test_a_worker_that_comes_back_as_it_was_is_not_written_again() -> None:
    world = World()
    world.worker("w")
    assert world.worker("w") == []


def test_a_worker_that_comes_back_larger_is_used_whole_and_smaller_keeps_what_runs() -> None:
    world = World()
    world.worker("w", cpu=2.0)
    world.running("a", "w", cpu=2.0)
    world.submit("b", cpu=2.0)
    assert world.placed() == []
    assert kinds(world.worker("w", cpu=4.0, live=(AttemptId("a", 1),))) == ["PutWorker"]
    assert world.placed() == [("b", "w")]
    world.worker("w", cpu=1.0, live=(AttemptId("a", 1), AttemptId("b", 1)))
    world.submit("c", cpu=1.0)
    assert world.placed() == []
    world.finish("a")
    assert world.placed() == []
    world.finish("b")
    assert world.placed() == [("c", "w")]


def test_what_a_returning_worker_does_not_name_is_queued_again() -> None:
    world = World()
    world.worker("w")
    world.running("a", "w")
    world.running("b", "w")
    effects = world.worker("w", live=(AttemptId("b", 1),))
    assert [(e.task_id, e.end) for e in of(EndAttempt, effects)] == [("a", AttemptEnd.LOST)]
    assert world.status("a").reason == "worker w came back without it"
    assert world.state("b") is TaskState.RUNNING
    assert world.placed() == [("a", "w")]
    assert world.status("a").attempt == 2


def test_a_returning_worker_is_told_to_end_what_is_not_its_own() -> None:
    world = World()
    world.worker("w")
    world.running("a", "w")
    stale = (AttemptId("a", 7), AttemptId("x", 1))
    effects = world.worker("w", live=stale)
    assert of(CancelAttempt, effects) == [CancelAttempt("w", s) for s in stale]
    assert world.state("a") is TaskState.QUEUED


def test_a_returning_worker_is_told_again_to_end_a_cancelled_task() -> None:
    world = World()
    world.worker("w")
    world.running("a", "w")
    world.cancel("a")
    named = AttemptId("a", 1)
    assert world.worker("w", live=(named,)) == [CancelAttempt("w", named)]
    assert kinds(world.worker("w", live=())) == ["EndAttempt"]
    assert world.state("a") is TaskState.CANCELLED


def test_an_agent_that_cannot_say_what_it_runs_claims_it_by_heartbeats() -> None:
    world = World(grace_s=10.0)
    world.worker("w", live=None)
    world.running("a", "w")
    world.running("b", "w")
    world.worker("w", live=None)
    world.wait(5.0, "w")
    world.heartbeat("w", ("a", 0))
    world.wait(6.0, "w")
    assert world.state("a") is TaskState.RUNNING
    assert world.state("b") is TaskState.QUEUED
    assert world.status("b").reason == "worker w did not claim it within 10 s"


# ---- heartbeats ----


def test_a_heartbeat_sets_the_load_by_weighted_usage() -> None:
    world = World()
    world.worker("w", cpu=4.0, memory=20.0, gpu=1.0)
    world.do(Heartbeat("w", cpu_usage=0.5, memory_usage=0.25, gpu_usage=1.0))
    # Weights: 4 cores, 20 / 10, 2 * 1.
    assert world.table.view("w").load == (4.0 * 0.5 + 2.0 * 0.25 + 2.0 * 1.0) / 8.0


@pytest.mark.parametrize(
    ("usage", "load"), [(math.nan, 0.5), (math.inf, 10.0), (-math.inf, 0.0), (1e9, 10.0), (-3.0, 0.0)]
)
def test_usages_are_clipped_and_what_is_not_a_number_leaves_the_last_load(usage: float, load: float) -> None:
    world = World()
    world.worker("w")
    world.heartbeat("w", usage=0.5)
    world.heartbeat("w", usage=usage)
    assert world.table.view("w").load == load


def test_a_heartbeat_of_an_unknown_worker_is_refused_so_that_it_registers() -> None:
    with pytest.raises(UnknownWorkerIdError, match="'w'"):
        World().heartbeat("w")


def test_a_heartbeat_denies_nothing_for_it_may_cross_an_assignment() -> None:
    world = World()
    world.worker("w")
    world.running("a", "w")
    world.submit("b")
    world.place()
    world.heartbeat("w", ("a", 1))
    assert world.state("b") is TaskState.ASSIGNED


def test_a_heartbeat_that_names_an_older_attempt_is_told_to_end_it() -> None:
    world = World()
    world.worker("w")
    world.running("a", "w")
    world.worker("w", live=())
    assert world.heartbeat("w", ("a", 1)) == [CancelAttempt("w", AttemptId("a", 1))]
    assert world.heartbeat("w", ("a", 0)) == [CancelAttempt("w", AttemptId("a", 0))]
    assert world.heartbeat("w", ("another master's", 0)) == []
    assert world.placed() == [], "the same task must not meet its older self there"
    world.wait(2.5, "w")
    assert world.placed() == [("a", "w")]


def test_a_heartbeat_that_names_a_cancelled_attempt_is_told_again() -> None:
    world = World()
    world.worker("w")
    world.running("a", "w")
    world.cancel("a")
    assert world.heartbeat("w", ("a", 0)) == [CancelAttempt("w", AttemptId("a", 1))]


# ---- silence ----


def test_three_silent_intervals_make_a_worker_inactive_and_a_word_makes_it_active() -> None:
    world = World()
    world.worker("w")
    world.running("a", "w")
    world.wait(5.0)
    assert world.worker_state("w") == "active"
    world.wait(1.0)
    assert world.worker_state("w") == "inactive"
    world.submit("b")
    assert world.placed() == []
    assert world.why("b") == "no worker that could run it takes tasks now: 1 inactive"
    assert world.state("a") is TaskState.RUNNING
    world.heartbeat("w")
    assert world.placed() == [("b", "w")]


def test_a_worker_that_stays_silent_is_lost_with_what_it_ran() -> None:
    world = World(grace_s=10.0)
    world.worker("w")
    world.running("a", "w")
    world.wait(15.0)
    assert world.state("a") is TaskState.RUNNING
    effects = world.wait(1.0)
    assert of(RemoveWorker, effects) == [RemoveWorker("w")]
    assert world.status("a").reason == "worker w was lost: silent for 16 s"
    assert world.cluster.workers() == []
    world.worker("w")
    assert world.placed() == [("a", "w")]


def test_a_master_that_did_not_listen_does_not_blame_its_workers() -> None:
    world = World(grace_s=10.0)
    world.worker("w")
    world.running("a", "w")
    world.now += 86_400.0
    world.do(Tick())
    assert world.worker_state("w") == "inactive"
    world.now -= 86_400.0
    world.do(Tick())
    assert world.state("a") is TaskState.RUNNING
    world.heartbeat("w")
    assert world.worker_state("w") == "active"


def test_a_broken_connection_stops_placement_until_the_worker_is_heard() -> None:
    world = World(grace_s=10.0)
    world.worker("w")
    world.running("a", "w")
    world.do(WorkerSilent("w"))
    world.submit("b")
    assert world.placed() == []
    world.worker("w", live=(AttemptId("a", 1),))
    assert world.placed() == [("b", "w")]
    assert world.state("a") is TaskState.RUNNING


def test_a_goodbye_gives_up_at_once_what_ran() -> None:
    world = World()
    world.worker("w1")
    world.worker("w2")
    world.running("a", "w1")
    effects = world.leave("w1")
    assert kinds(effects) == ["EndAttempt", "UpdateTask", "TaskChanged", "RemoveWorker"]
    assert world.placed() == [("a", "w2")]
    with pytest.raises(UnknownWorkerIdError):
        world.leave("w1")


# ---- drain ----


def test_a_drained_worker_gets_nothing_new_and_keeps_what_runs() -> None:
    world = World()
    world.worker("w")
    world.running("a", "w")
    assert kinds(world.drain("w")) == ["PutWorker"]
    assert world.drain("w") == []
    world.submit("b")
    assert world.placed() == []
    assert world.why("b") == "no worker that could run it takes tasks now: 1 draining"
    assert world.worker_state("w") == "draining"
    assert world.state("a") is TaskState.RUNNING
    world.drain("w", False)
    assert world.placed() == [("b", "w")]
    with pytest.raises(UnknownWorkerIdError):
        world.drain("x")


def test_draining_survives_registration_and_restart() -> None:
    world = World()
    world.worker("w")
    world.drain("w")
    world.worker("w", cpu=8.0)
    assert world.worker_state("w") == "draining"
    world.boot()
    world.worker("w", cpu=8.0)
    assert world.worker_state("w") == "draining"
    world.submit("a")
    assert world.placed() == []


# ---- restart ----


def test_after_a_restart_queued_tasks_are_queued_in_their_order() -> None:
    world = World()
    world.submit("b", deadline=2000.0)
    world.now += 1.0
    world.submit("a", deadline=2000.0)
    world.submit("late", deadline=1.0)
    world.boot()
    assert world.cluster.counts()[TaskState.QUEUED] == 3
    world.submit("0", deadline=2000.0)
    world.worker("w")
    assert [task for task, _ in world.placed()] == ["b", "a", "0", "late"]


def test_a_restart_does_not_take_the_time_waited_away() -> None:
    world = World()
    world.worker("w", cpu=2.0)
    world.running("busy", "w")
    world.submit("large", cpu=2.0, deadline=world.now + 1e6)
    world.wait(20.0, "w")
    world.boot()
    world.worker("w", cpu=2.0, live=(AttemptId("busy", 1),))
    world.wait(11.0, "w")
    world.place()
    assert world.reserved() == {"large": "w"}


def test_after_a_restart_what_runs_goes_on_when_its_worker_comes_back() -> None:
    world = World()
    world.worker("w")
    world.running("a", "w", cpu=3.0)
    world.submit("b", cpu=1.0)
    world.place()
    world.boot()
    assert world.worker_state("w") == "inactive"
    assert world.room("w") == 0.0
    assert (world.state("a"), world.state("b")) == (TaskState.RUNNING, TaskState.ASSIGNED)
    assert world.worker("w", live=(AttemptId("a", 1), AttemptId("b", 1))) == []
    world.wait(30.0, "w")
    world.finish("a")
    world.finish("b")
    assert world.cluster.counts()[TaskState.COMPLETED] == 2


def test_after_a_restart_a_result_that_waited_is_recorded_and_a_start_is_a_claim() -> None:
    world = World(grace_s=10.0)
    world.worker("w")
    world.running("a", "w")
    world.submit("b")
    world.place()
    world.boot()
    world.worker("w", live=None)
    assert of(Recorded, world.finish("a")) == [Recorded("w", AttemptId("a", 1))]
    world.do(AttemptStarted("w", AttemptId("b", 1), world.now))
    world.wait(30.0, "w")
    assert world.state("b") is TaskState.RUNNING


def test_after_a_restart_nothing_is_placed_on_a_worker_that_did_not_speak() -> None:
    world = World(grace_s=10.0)
    world.worker("w1")
    world.worker("w2")
    world.running("a", "w1")
    world.boot()
    world.submit("b")
    assert world.placed() == []
    world.heartbeat("w2")
    assert world.placed() == [("b", "w2")]
    effects = world.wait(11.0, "w2")
    assert of(RemoveWorker, effects) == [RemoveWorker("w1")]
    assert world.state("a") is TaskState.QUEUED
    assert world.placed() == [("a", "w2")]
    assert world.status("a").attempt == 2


def test_after_a_restart_what_nobody_claims_is_queued_again() -> None:
    world = World(grace_s=10.0)
    world.worker("w", live=None)
    world.running("a", "w")
    world.boot()
    world.heartbeat("w")
    world.wait(9.0, "w")
    assert world.state("a") is TaskState.RUNNING
    world.wait(1.0, "w")
    assert world.state("a") is TaskState.QUEUED


def test_after_a_restart_a_cancelled_task_still_holds_its_worker() -> None:
    world = World()
    world.worker("w")
    world.running("a", "w", cpu=4.0)
    world.cancel("a")
    world.boot()
    assert world.state("a") is TaskState.CANCELLED
    assert world.room("w") == 0.0
    named = AttemptId("a", 1)
    assert world.worker("w", live=(named,)) == [CancelAttempt("w", named)]
    world.do(AttemptFinished("w", named, False))
    assert world.room("w") == 4.0
    assert world.state("a") is TaskState.CANCELLED
    assert world.cluster.counts()[TaskState.CANCELLED] == 0, "it was counted before the restart"


def test_after_a_restart_tau_is_what_was_learned() -> None:
    world = World()
    world.worker("w")
    world.running("a", "w")
    world.now += 25.0
    world.finish("a", runtime_s=25.0)
    world.boot()
    assert world.tau.get_tau("cpu-light") == pytest.approx(9.0)


def test_after_a_restart_attempts_that_outgrow_their_worker_are_kept() -> None:
    world = World()
    world.worker("w", cpu=4.0)
    world.running("a", "w", cpu=3.0)
    world.worker("w", cpu=1.0, live=(AttemptId("a", 1),))
    world.boot()
    worker = world.cluster.worker("w")
    assert worker is not None
    assert (worker.cpu, worker.cpu_avail, worker.live_attempts) == (1.0, 0.0, 1)


def test_a_restored_task_that_runs_nowhere_is_queued() -> None:
    world = World()
    world.worker("w")
    world.running("a", "w")
    (opened,) = world.store.open_attempts()
    world.store.attempts[opened.task_id, 1] = msgspec.structs.replace(opened, end=AttemptEnd.LOST)
    effects = world.boot()
    assert [e.status.state for e in of(UpdateTask, effects)] == [TaskState.QUEUED]
    world.worker("w")
    assert world.placed() == [("a", "w")]
    assert world.status("a").attempt == 2


def test_a_restored_attempt_of_a_worker_that_is_gone_is_lost() -> None:
    world = World()
    world.worker("w")
    world.running("a", "w")
    del world.store.workers["w"]
    effects = world.boot()
    assert [(e.task_id, e.end) for e in of(EndAttempt, effects)] == [("a", AttemptEnd.LOST)]
    assert world.state("a") is TaskState.QUEUED


def test_a_restored_attempt_that_is_not_the_tasks_current_one_is_lost() -> None:
    world = World()
    world.worker("w")
    world.running("a", "w")
    world.worker("w", live=())
    world.place()
    assert world.status("a").attempt == 2
    first = world.store.attempts["a", 1]
    world.store.attempts["a", 1] = msgspec.structs.replace(first, end=None, ended_at=None)
    effects = world.boot()
    assert [(e.task_id, e.attempt, e.end) for e in of(EndAttempt, effects)] == [("a", 1, AttemptEnd.LOST)]
    assert (world.state("a"), world.room("w")) == (TaskState.ASSIGNED, 3.0)


def test_restoring_is_only_allowed_first() -> None:
    world = World()
    with pytest.raises(NotAllowedError, match="first"):
        world.do(Restore(Snapshot()))
