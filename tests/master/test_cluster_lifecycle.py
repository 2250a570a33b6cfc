"""What becomes of a placed task, and who may still report it."""

from __future__ import annotations

import math

import pytest
from core_world import World, kinds, of

from master.errors import NotAllowedError, UnknownTaskError
from master.events import (
    Assign,
    AttemptFinished,
    AttemptId,
    AttemptRefused,
    AttemptStarted,
    CancelAttempt,
    EndAttempt,
    InsertAttempt,
    InsertResult,
    PutTau,
    Recorded,
)
from master.records import AttemptEnd, TaskState


def two_workers(**options: float) -> World:
    world = World(**options)
    world.worker("w1")
    world.worker("w2")
    return world


# ---- placement ----


def test_a_placement_is_recorded_before_it_is_sent() -> None:
    world = two_workers()
    world.submit("a")
    assert kinds(world.place()) == ["InsertAttempt", "UpdateTask", "TaskChanged", "Assign"]


def test_a_placement_records_load_and_room_just_before_the_reservation() -> None:
    world = World()
    world.worker("w", cpu=8.0, memory=16.0, gpu=2.0)
    world.heartbeat("w", usage=0.5)
    world.submit("a", cpu=2.0, memory=4.0, gpu=1.0)
    world.submit("b", cpu=1.0)
    first, second = of(InsertAttempt, world.place())
    first, second = first.record, second.record
    if first.task_id == "b":
        first, second = second, first
    assert (first.cpu_avail, first.memory_avail, first.gpu_avail) in ((8.0, 16.0, 2.0), (7.0, 16.0, 2.0))
    assert {first.cpu_avail, second.cpu_avail} in ({8.0, 6.0}, {8.0, 7.0})
    assert first.load_at_start == 0.5
    assert (first.source, first.attempt, first.assigned_at) == ("rts", 1, world.now)
    assert first.risk is not None
    assert math.isfinite(first.risk)


def test_started_is_noted_once_and_its_repetition_is_nothing() -> None:
    world = two_workers()
    world.submit("a")
    world.place()
    world.now += 1.0
    assert kinds(world.start("a", world.now - 0.5)) == ["UpdateTask", "TaskChanged"]
    assert world.status("a").started_at == world.now - 0.5
    assert world.start("a") == []
    assert world.state("a") is TaskState.RUNNING


# ---- outcomes ----


def test_an_outcome_is_recorded_whole_and_the_worker_may_forget_it() -> None:
    world = World()
    world.worker("w")
    world.running("a", "w")
    world.now += 3.0
    effects = world.finish("a", runtime_s=2.5, logs="hello", finished_at=world.now - 0.25, exit_code=0)
    assert kinds(effects) == ["InsertResult", "EndAttempt", "UpdateTask", "TaskChanged", "PutTau", "Recorded"]
    result = world.store.results["a"]
    assert (result.runtime_s, result.finished_at, result.logs) == (2.5, world.now - 0.25, "hello")
    assert world.status("a").state is TaskState.COMPLETED
    assert world.room("w") == 4.0
    worker = world.cluster.worker("w")
    assert worker is not None
    assert (worker.tasks_finished, worker.sla_met, worker.live_attempts) == (1, 1, 0)


def test_a_command_that_fails_is_a_failed_task_and_is_not_tried_again() -> None:
    world = World()
    world.worker("w")
    world.running("a", "w")
    world.finish("a", success=False, exit_code=3)
    status = world.status("a")
    assert (status.state, status.exit_code, status.reason) == (TaskState.FAILED, 3, "exit code 3")
    assert world.placed() == []


def test_a_failure_without_an_exit_code_says_so() -> None:
    world = World()
    world.worker("w")
    world.running("a", "w")
    world.finish("a", success=False)
    assert world.status("a").reason == "the worker reported a failure"
    world.running("b", "w")
    world.finish("b", success=False, exit_code=-9, reason="killed by signal 9")
    assert world.status("b").reason == "killed by signal 9"


def test_a_clock_that_was_set_back_puts_no_finish_before_its_start() -> None:
    world = World()
    world.worker("w")
    world.submit("a")
    world.place()
    assigned = world.now
    world.now -= 100.0
    world.start("a")
    world.finish("a", runtime_s=3.0)
    result = world.store.results["a"]
    assert (result.started_at, result.finished_at, result.runtime_s) == (assigned, assigned, 3.0)
    assert world.store.attempts["a", 1].ended_at == assigned


def test_tau_learns_from_successful_runs_only() -> None:
    world = World()
    world.worker("w")
    world.running("a", "w")
    world.now += 1.0
    assert of(PutTau, world.finish("a", success=False, runtime_s=1.0)) == []
    world.running("b", "w")
    world.now += 1.0
    (put,) = of(PutTau, world.finish("b", runtime_s=1.0))
    assert put == PutTau("cpu-light", pytest.approx(0.2 * 1.0 + 0.8 * 5.0))
    assert world.tau.get_tau("cpu-light") == put.tau


def test_sla_is_met_up_to_the_deadline_itself() -> None:
    for late, met in ((0.0, True), (0.001, False)):
        world = World()
        world.worker("w")
        world.running("a", "w", deadline=world.now + 10.0)
        world.now += 20.0
        world.finish("a", finished_at=world.now - 10.0 + late)
        assert world.status("a").sla_success is met
        assert world.store.results["a"].sla_success is met


def test_a_task_that_failed_before_its_deadline_has_not_met_it() -> None:
    world = World()
    world.worker("w")
    world.running("a", "w", deadline=world.now + 10.0)
    world.now += 1.0
    world.finish("a", success=False)
    assert world.status("a").sla_success is False
    assert world.store.results["a"].sla_success is False
    assert world.cluster.workers()[0].sla_met == 0


@pytest.mark.parametrize("skew", [-86_400.0, -10.0, 10.0, 86_400.0])
def test_a_workers_wrong_clock_cannot_invent_a_met_deadline(skew: float) -> None:
    world = World(now=1e6)
    world.worker("w")
    world.submit("a", deadline=world.now + 5.0)
    world.place()
    assigned = world.now
    world.now += 20.0
    world.finish("a", started_at=assigned + skew, finished_at=assigned + skew + 19.0, runtime_s=19.0)
    result = world.store.results["a"]
    assert assigned <= result.started_at <= result.finished_at <= world.now
    assert result.finished_at - result.started_at >= 19.0
    assert result.sla_success is False


def test_instants_that_are_not_numbers_are_those_of_the_master() -> None:
    world = World()
    world.worker("w")
    world.submit("a")
    world.place()
    world.now += 1.0
    world.start("a", started_at=math.inf)
    assert world.status("a").started_at == world.now
    world.now += 4.0
    world.finish("a", started_at=math.nan, finished_at=-math.inf)
    result = world.store.results["a"]
    assert (result.started_at, result.finished_at, result.runtime_s) == (world.now - 4.0, world.now, 4.0)


def test_a_runtime_is_the_workers_own_unless_it_cannot_be() -> None:
    world = World()
    world.worker("w")
    for told, recorded in ((7.0, 7.0), (0.0, 4.0), (math.nan, 4.0), (-1.0, 4.0), (1e9, 4.0)):
        task_id = f"t{told}"
        world.running(task_id, "w")
        world.now += 4.0
        world.finish(task_id, runtime_s=told)
        assert world.store.results[task_id].runtime_s == recorded


def test_an_outcome_without_a_start_before_it_counts_from_assignment() -> None:
    world = World()
    world.worker("w")
    world.submit("a")
    world.place()
    world.now += 2.0
    world.finish("a")
    assert world.store.results["a"].runtime_s == 2.0


# ---- fencing ----


def test_a_repeated_result_is_recorded_again_and_changes_nothing() -> None:
    world = World()
    world.worker("w")
    world.running("a", "w")
    world.finish("a")
    before = world.cluster.counts()
    effects = world.finish("a", success=False)
    assert effects == [Recorded("w", AttemptId("a", 1))]
    assert world.cluster.counts() == before
    assert world.store.results["a"].success


def test_a_result_of_an_unknown_task_may_be_forgotten() -> None:
    world = World()
    world.worker("w")
    stranger = AttemptId("x", 1)
    assert world.do(AttemptFinished("w", stranger, True)) == [Recorded("w", stranger)]


def test_a_result_of_an_older_attempt_is_refused() -> None:
    world = two_workers()
    world.running("a", "w1")
    world.leave("w1")
    assert world.placed() == [("a", "w2")]
    assert world.status("a").attempt == 2
    assert world.finish("a", attempt=1, worker_id="w1") == [Recorded("w1", AttemptId("a", 1))]
    assert world.finish("a", attempt=1, worker_id="w2") == [Recorded("w2", AttemptId("a", 1))]
    assert world.finish("a", attempt=2, worker_id="w1") == [Recorded("w1", AttemptId("a", 2))]
    assert world.state("a") is TaskState.ASSIGNED
    world.finish("a")
    assert world.state("a") is TaskState.COMPLETED


def test_a_result_of_a_lost_attempt_is_refused_while_the_task_waits() -> None:
    world = World()
    world.worker("w1")
    world.running("a", "w1")
    world.leave("w1")
    assert world.finish("a", attempt=1, worker_id="w1") == [Recorded("w1", AttemptId("a", 1))]
    assert world.state("a") is TaskState.QUEUED


def test_an_agent_that_knows_no_attempts_means_the_current_one_of_its_own() -> None:
    world = two_workers()
    world.running("a", "w1")
    assert world.finish("a", attempt=0, worker_id="w2") == [Recorded("w2", AttemptId("a", 0))]
    assert world.state("a") is TaskState.RUNNING
    world.finish("a", attempt=0)
    assert world.state("a") is TaskState.COMPLETED


def test_a_worker_that_starts_what_is_no_longer_its_own_is_told_to_end_it() -> None:
    world = two_workers()
    world.running("a", "w1")
    world.leave("w1")
    world.place()
    old = AttemptId("a", 1)
    assert world.do(AttemptStarted("w1", old, world.now)) == [CancelAttempt("w1", old)]
    assert world.state("a") is TaskState.ASSIGNED


# ---- refusals ----


def test_a_refused_task_goes_to_another_worker_at_once() -> None:
    world = two_workers()
    world.submit("a")
    ((_, first),) = world.placed()
    effects = world.refuse("a", "disk full")
    assert [e.end for e in of(EndAttempt, effects)] == [AttemptEnd.REFUSED]
    assert world.status("a").reason == f"worker {first} refused it: disk full"
    ((_, second),) = world.placed()
    assert second != first
    assert world.status("a").attempt == 2


def test_the_only_worker_is_asked_again_after_a_pause() -> None:
    world = World()
    world.worker("w")
    world.submit("a")
    world.place()
    world.refuse("a")
    assert world.placed() == []
    assert "refused it" in world.why("a")
    world.submit("b")
    assert world.placed() == [("b", "w")]
    world.wait(1.0, "w")
    assert world.placed() == []
    world.wait(1.5, "w")
    assert world.placed() == [("a", "w")]


def test_a_clock_that_is_set_back_does_not_prolong_the_pause() -> None:
    world = World()
    world.worker("w")
    world.submit("a")
    world.place()
    world.refuse("a")
    assert world.placed() == []
    world.now -= 3600.0
    world.wait(0.0, "w")
    assert world.placed() == []
    world.wait(2.5, "w")
    assert world.placed() == [("a", "w")]


def test_after_the_pause_room_on_the_worker_that_refused_is_taken_at_once() -> None:
    world = World()
    world.worker("w", cpu=1.0)
    world.submit("a")
    world.place()
    world.refuse("a")
    world.submit("b", deadline=world.now + 6.0)
    assert world.placed() == [("b", "w")]
    world.wait(5.0, "w")
    world.finish("b")
    assert world.placed() == [("a", "w")]


def test_a_task_is_not_bounced_between_two_workers_that_refuse_it() -> None:
    world = two_workers()
    world.submit("a")
    world.place()
    world.refuse("a")
    world.place()
    world.refuse("a")
    assert world.placed() == []


def test_a_refusal_of_what_is_known_to_run_is_ignored() -> None:
    world = World()
    world.worker("w")
    world.running("a", "w")
    assert world.refuse("a") == []
    assert world.do(AttemptRefused("w", AttemptId("a", 7), "no")) == []
    assert world.state("a") is TaskState.RUNNING


def test_a_task_that_was_placed_too_often_fails_with_the_reason() -> None:
    world = World(max_attempts=2)
    for number in (1, 2):
        world.worker(f"w{number}")
        world.running("a", f"w{number}") if number == 1 else world.place()
        world.leave(f"w{number}")
    status = world.status("a")
    assert (status.state, status.attempt) == (TaskState.FAILED, 2)
    assert status.reason == "attempt 2 of 2: worker w2 left"
    assert status.sla_success is False
    assert world.store.results == {}


def test_a_queued_again_task_keeps_its_deadline_and_its_place_among_equals() -> None:
    world = World()
    world.worker("w", cpu=1.0)
    deadline = world.now + 100.0
    world.running("a", "w", deadline=deadline)
    world.submit("b", deadline=deadline)
    world.do(AttemptRefused("w", AttemptId("a", 1), "too late"))
    world.leave("w")
    assert world.state("a") is TaskState.QUEUED
    world.worker("v", cpu=1.0)
    assert world.placed() == [("a", "v")]
    assert of(Assign, world.place()) == []


# ---- cancel ----


def test_a_queued_task_is_cancelled_at_once() -> None:
    world = World()
    world.submit("a")
    assert kinds(world.cancel("a")) == ["UpdateTask", "TaskChanged"]
    assert world.state("a") is TaskState.CANCELLED
    world.worker("w")
    assert world.placed() == []


def test_a_running_task_is_cancelled_durably_and_holds_its_worker_until_that_let_go() -> None:
    world = World()
    world.worker("w", cpu=1.0)
    world.running("a", "w")
    assert kinds(world.cancel("a")) == ["UpdateTask", "TaskChanged", "CancelAttempt"]
    assert world.state("a") is TaskState.CANCELLED
    assert world.room("w") == 0.0
    world.submit("b")
    assert world.placed() == []
    effects = world.finish("a", success=False, reason="cancelled")
    assert kinds(effects) == ["EndAttempt", "Recorded"]
    assert [e.end for e in of(EndAttempt, effects)] == [AttemptEnd.CANCELLED]
    assert world.placed() == [("b", "w")]


def test_a_result_of_a_cancelled_task_is_not_an_outcome() -> None:
    world = World()
    world.worker("w")
    world.running("a", "w")
    world.cancel("a")
    assert of(InsertResult, world.finish("a", success=True)) == []
    assert world.state("a") is TaskState.CANCELLED
    assert world.store.results == {}


def test_a_cancelled_task_is_not_queued_again_when_its_worker_is_lost_or_refuses_it() -> None:
    for end in ("lost", "refused"):
        world = World()
        world.worker("w")
        world.submit("a")
        world.place()
        world.cancel("a")
        world.leave("w") if end == "lost" else world.refuse("a")
        assert world.state("a") is TaskState.CANCELLED
        assert world.store.open_attempts() == []
        assert world.cluster.queue_depth == 0


def test_a_worker_that_starts_a_cancelled_task_is_told_again() -> None:
    world = World()
    world.worker("w")
    world.submit("a")
    world.place()
    world.cancel("a")
    assert world.do(AttemptStarted("w", AttemptId("a", 1), world.now)) == [
        CancelAttempt("w", AttemptId("a", 1))
    ]
    assert world.state("a") is TaskState.CANCELLED


def test_cancelling_again_is_a_success_and_cancelling_what_is_finished_is_not_allowed() -> None:
    world = World()
    world.worker("w")
    world.submit("a")
    world.cancel("a")
    assert world.cancel("a") == []
    world.running("b", "w")
    world.cancel("b")
    assert world.cancel("b") == []
    world.running("c", "w")
    world.finish("c")
    with pytest.raises(NotAllowedError, match="c is completed"):
        world.cancel("c")
    with pytest.raises(UnknownTaskError, match="'x'"):
        world.cancel("x")


def test_an_agent_that_ends_a_cancelled_task_without_saying_so_is_believed_after_three_intervals() -> None:
    world = World()
    world.worker("w", live=None)
    world.running("a", "w")
    world.running("b", "w")
    world.cancel("a")
    world.now += 5.0
    assert of(EndAttempt, world.heartbeat("w", ("b", 0))) == []
    world.now += 1.0
    assert [e.end for e in of(EndAttempt, world.heartbeat("w", ("b", 0)))] == [AttemptEnd.CANCELLED]
    assert world.state("b") is TaskState.RUNNING
    assert world.room("w") == 3.0
