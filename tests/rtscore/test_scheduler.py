"""RTSScheduler and RoundRobinScheduler: whom they choose and why nobody."""

from __future__ import annotations

import math
import pickle

import pytest
from cluster_makers import assert_as_reference, workers

from rtscore import (
    Decision,
    GAParams,
    Risk,
    RoundRobinScheduler,
    RTSScheduler,
    Scheduler,
    Source,
    Task,
    Theta,
    WorkerTable,
)
from rtscore.errors import InvalidTaskError


def test_equal_risks_choose_the_lowest_slot() -> None:
    table = workers([8, 8, 8])
    decision = RTSScheduler(table).select_worker(Task("t", cpu=1))
    assert decision == Decision("w0", 0, 0.0, Source.RTS)


def test_the_less_loaded_worker_is_chosen() -> None:
    table = workers([8, 8, 8], load=[0.5, 0.2, 0.3])
    decision = RTSScheduler(table).select_worker(Task("t", cpu=1))
    assert (decision.worker_id, decision.risk) == ("w1", 0.2)


def test_affinity_and_penalty_outweigh_load() -> None:
    table = workers([8, 8, 8], load=[0.0, 0.5, 0.5])
    params = GAParams(affinity={"cpu-light": {"w1": 2.0}}, penalty={"w0": 0.4, "w1": 3.0})
    scheduler = RTSScheduler(table, params)
    assert scheduler.select_worker(Task("t", cpu=1)).worker_id == "w0"
    scheduler.params = GAParams(affinity={"cpu-light": {"w1": 4.0}}, penalty={"w0": 0.4, "w1": 3.0})
    assert scheduler.select_worker(Task("t", cpu=1)).worker_id == "w1"
    assert scheduler.select_worker(Task("t", cpu=1, task_type="mixed")).worker_id == "w0"


def test_a_late_task_goes_where_it_is_least_late_even_to_a_loaded_worker() -> None:
    table = workers([2, 64], load=[0.0, 0.4])
    task = Task("t", cpu=2, arrival_time=1000.0, deadline=1000.0)
    scheduler = RTSScheduler(table, GAParams(theta=Theta(2.0, 0.0, 0.0, 0.0)))
    assert scheduler.select_worker(task).worker_id == "w1"
    assert scheduler.select_worker(Task("t", cpu=2, deadline=1e6)).worker_id == "w0"


def test_now_moves_the_slack_but_not_the_deadline() -> None:
    table = workers([8])
    scheduler = RTSScheduler(table)
    task = Task("t", cpu=1, tau=10.0, arrival_time=100.0)
    assert scheduler.select_worker(task, now=100.0).risk == 0.0
    assert scheduler.select_worker(task, now=115.0).risk == pytest.approx(
        10.0 * (10.0 * (1 + 0.1 / 8) - 5.0), rel=1e-3
    )
    assert_as_reference(scheduler, task, 115.0)
    assert task.deadline == 120.0


def test_unix_times_keep_the_precision_of_the_slack() -> None:
    table = workers([8, 8], load=[0.30001, 0.3])
    task = Task("t", cpu=1, arrival_time=1.7e9, deadline=1.7e9 + 0.25)
    assert RTSScheduler(table).select_worker(task).worker_id == "w1"


def test_what_does_not_fit_is_never_chosen() -> None:
    table = workers([4, 8, 8], memory=[64, 2, 64], gpu=[1, 1, 1], storage=[100, 100, 5])
    scheduler = RTSScheduler(table)
    for task in (Task("t", cpu=8, memory=4, storage=50), Task("t", gpu=1.001)):
        for chooser in (scheduler, scheduler.fallback):
            decision = chooser.select_worker(task)
            assert decision.worker_id is None
            assert decision.slot is None
            assert decision.risk is None
            assert decision.source is Source.NONE
    assert scheduler.select_worker(Task("t", cpu=4, memory=64, gpu=1, storage=100)).worker_id == "w0"


def test_nothing_fits_says_how_many_lack_what() -> None:
    table = workers([4, 8, 8], gpu=[0, 0, 2])
    table.set_schedulable("w2", False)
    decision = RTSScheduler(table).select_worker(Task("t", cpu=6, gpu=1))
    assert decision.reason == "none of 3 workers fits: 1 lacks cpu 6, 2 lack gpu 1, 1 not schedulable"
    assert RTSScheduler(WorkerTable()).select_worker(Task("t")).reason == "there are no workers"


def test_a_reason_that_is_read_late_says_so() -> None:
    table = workers([4])
    decision = RTSScheduler(table).select_worker(Task("t", cpu=6))
    table.resize("w0", cpu=8)
    assert (
        decision.reason
        == "the only worker does not fit: by now it would (counted 1 changes of the table later)"
    )
    table.resize("w0", cpu=1)
    assert "by now" in decision.reason


def test_a_drained_worker_gets_nothing_and_comes_back_with_its_scores() -> None:
    table = workers([8, 8])
    scheduler = RTSScheduler(table, GAParams(affinity={"cpu-light": {"w1": 3.0}}))
    task = Task("t", cpu=1)
    assert scheduler.select_worker(task).worker_id == "w1"
    table.set_schedulable("w1", False)
    assert not table.is_schedulable("w1")
    assert scheduler.select_worker(task).worker_id == "w0"
    assert scheduler.fallback.select_worker(task).worker_id == "w0"
    assert scheduler.fallback.select_worker(task).worker_id == "w0"
    table.set_schedulable("w1", True)
    assert scheduler.select_worker(task).risk == -3.0


def test_no_available_memory_counts_as_one_in_its_ratio() -> None:
    table = workers([8], memory=[0], gpu=[0])
    decision = RTSScheduler(table).select_worker(Task("t", cpu=1, deadline=0.0, tau=1.0))
    assert decision.risk == 10.0 * (1.0 + 0.1 * 1.0 / 8.0)


def overflowing() -> GAParams:
    return GAParams(risk=Risk(alpha=1e308, beta=1.0))


def test_a_worker_whose_risk_is_not_finite_is_no_candidate() -> None:
    table = workers([8, 8], load=[0.0, 0.5])
    params = GAParams(risk=Risk(10.0, 1e308), penalty={"w0": 1.7e308, "w1": 1.7e308})
    assert RTSScheduler(table, params).select_worker(Task("t")).worker_id == "w0"
    table.set_load("w0", 0.9)
    table.set_load("w1", 0.01)
    assert RTSScheduler(table, params).select_worker(Task("t")).worker_id == "w1"


def test_a_term_that_is_nan_makes_no_candidate() -> None:
    # An infinite runtime less an infinite slack.
    table = workers([8, 8], load=[0.0, 2.0])
    scheduler = RTSScheduler(table, GAParams(theta=Theta(0.0, 0.0, 0.0, 2.0)))
    task = Task("t", tau=1.7e308, deadline=1.7e308)
    table.set_schedulable("w0", False)
    assert scheduler.select_worker(task, now=-1.7e308).source is Source.ROUND_ROBIN
    assert_as_reference(scheduler, task, now=-1.7e308)
    table.set_schedulable("w0", True)
    assert scheduler.select_worker(task, now=-1.7e308).worker_id == "w0"
    assert_as_reference(scheduler, task, now=-1.7e308)


def test_without_a_finite_risk_round_robin_decides_among_those_that_fit() -> None:
    table = workers([8, 1, 8])
    scheduler = RTSScheduler(table, overflowing())
    late = Task("t", cpu=2, deadline=-1e9)
    chosen = [scheduler.select_worker(late) for _ in range(4)]
    assert [d.worker_id for d in chosen] == ["w0", "w2", "w0", "w2"]
    assert {d.source for d in chosen} == {Source.ROUND_ROBIN}
    assert {d.risk for d in chosen} == {None}
    scheduler.reset()
    assert scheduler.select_worker(late).worker_id == "w0"


def test_a_fallback_of_the_users_own_is_asked() -> None:
    class Last:
        name = "last"

        def __init__(self) -> None:
            self.resets = 0

        def select_worker(self, task: Task, now: float | None = None) -> Decision:
            return Decision("w1", 1, source=Source.ROUND_ROBIN)

        def reset(self) -> None:
            self.resets += 1

    last = Last()
    assert isinstance(last, Scheduler)
    scheduler = RTSScheduler(workers([8, 8]), overflowing(), fallback=last)
    assert scheduler.select_worker(Task("t", deadline=-1e9)).worker_id == "w1"
    scheduler.reset()
    assert last.resets == 1


def test_round_robin_takes_the_next_slot_that_fits_and_wraps() -> None:
    table = workers([8, 2, 8, 8])
    rotation = RoundRobinScheduler(table)
    task = Task("t", cpu=4)
    assert [rotation.select_worker(task).worker_id for _ in range(5)] == ["w0", "w2", "w3", "w0", "w2"]
    assert rotation.peek(task).worker_id == "w3"
    assert rotation.select_worker(Task("t", cpu=1)).worker_id == "w3"
    table.remove("w3")
    assert rotation.select_worker(task).worker_id == "w0"
    rotation.reset()
    assert rotation.select_worker(task).worker_id == "w0"


def test_scores_of_unknown_workers_wait_for_their_join() -> None:
    table = workers([8])
    scheduler = RTSScheduler(table, GAParams(affinity={"cpu-light": {"later": 2.0}}, penalty={"later": 0.5}))
    task = Task("t", cpu=1)
    assert scheduler.select_worker(task).worker_id == "w0"
    table.add("later", cpu=8, memory=8)
    assert scheduler.select_worker(task) == Decision("later", 1, -1.5, Source.RTS)
    table.check()


def test_a_reused_slot_has_the_scores_of_its_new_worker() -> None:
    table = workers([8, 8])
    params = GAParams(affinity={"cpu-light": {"w0": 3.0, "new": 1.0}}, penalty={"w0": 1.0})
    scheduler = RTSScheduler(table, params)
    task = Task("t", cpu=1)
    assert scheduler.select_worker(task).risk == -2.0
    table.remove("w0")
    assert scheduler.select_worker(task) == Decision("w1", 1, 0.0, Source.RTS)
    assert table.add("new", cpu=8, memory=8) == 0
    assert scheduler.select_worker(task) == Decision("new", 0, -1.0, Source.RTS)
    table.remove("new")
    table.add("stranger", cpu=8, memory=8)
    table.set_load("w1", 0.5)
    assert scheduler.select_worker(task) == Decision("stranger", 0, 0.0, Source.RTS)


def test_one_worker_with_a_history_does_not_hide_the_others_without() -> None:
    table = workers([8] * 1000, load=[0.5] * 1000)
    table.set_load("w0", 0.0)
    scheduler = RTSScheduler(table, GAParams(affinity={"mixed": {"w999": -3.0}}))
    assert scheduler.select_worker(Task("t")) == Decision("w0", 0, 0.0, Source.RTS)
    table.check()


def test_more_joins_than_the_log_remembers_still_get_their_scores() -> None:
    table = workers([8])
    names = [f"n{i}" for i in range(3000)]
    scheduler = RTSScheduler(table, GAParams(affinity={"mixed": {names[1500]: 1.0}}))
    for name in names:
        table.add(name, cpu=8, memory=8)
    assert scheduler.select_worker(Task("t")).worker_id == names[1500]


def test_two_schedulers_share_a_table_with_different_parameters() -> None:
    table = workers([8, 8], load=[0.0, 0.1])
    ours = RTSScheduler(table)
    theirs = RTSScheduler(table, GAParams(penalty={"w0": 1.0}))
    assert ours.select_worker(Task("t")).worker_id == "w0"
    assert theirs.select_worker(Task("t")).worker_id == "w1"
    table.check()


def test_parameters_are_swapped_and_read_back() -> None:
    scheduler = RTSScheduler(workers([8]))
    assert scheduler.params == GAParams.default()
    new = GAParams(risk=Risk(1.0, 2.0))
    scheduler.params = new
    assert scheduler.params is new
    with pytest.raises(TypeError, match="params takes GAParams, not dict"):
        scheduler.params = {}  # type: ignore[assignment]
    assert scheduler.params is new


@pytest.mark.parametrize("now", [math.nan, math.inf, -math.inf, "soon"])
def test_a_now_that_is_no_instant_is_refused(now: object) -> None:
    scheduler = RTSScheduler(workers([8]))
    for ask in (scheduler.select_worker, scheduler.fallback.select_worker, scheduler.explain):
        with pytest.raises(InvalidTaskError, match="now is"):
            ask(Task("t"), now)  # type: ignore[arg-type]
    with pytest.raises(InvalidTaskError, match="now is"):
        scheduler.select_many([Task("t")], now)  # type: ignore[arg-type]


@pytest.mark.parametrize("task", [None, "t", 3, object()])
def test_what_is_no_task_is_refused(task: object) -> None:
    scheduler = RTSScheduler(workers([8]))
    for ask in (scheduler.select_worker, scheduler.fallback.select_worker, scheduler.explain):
        with pytest.raises(TypeError, match="takes a Task, not"):
            ask(task)  # type: ignore[arg-type]


@pytest.mark.parametrize("table", [None, {}, "table"])
def test_a_scheduler_needs_a_table(table: object) -> None:
    for kind in (RTSScheduler, RoundRobinScheduler):
        with pytest.raises(TypeError):
            kind(table)  # type: ignore[arg-type]


def test_both_are_schedulers_with_names() -> None:
    table = workers([8])
    assert [s.name for s in (RTSScheduler(table), RoundRobinScheduler(table))] == ["rts", "round-robin"]
    assert isinstance(RTSScheduler(table), Scheduler)
    assert isinstance(RoundRobinScheduler(table), Scheduler)
    assert not isinstance(object(), Scheduler)


def test_a_subclass_that_forgot_init_is_told() -> None:
    class Forgetful(RTSScheduler):
        def __init__(self, table: WorkerTable) -> None:
            pass

    with pytest.raises(RuntimeError, match="__init__ was not called"):
        Forgetful(workers([8])).select_worker(Task("t"))


def test_decisions_compare_hash_pickle_and_print() -> None:
    decision = RTSScheduler(workers([8])).select_worker(Task("t"))
    assert decision == Decision("w0", 0, 0.0, "rts")
    assert hash(decision) == hash(Decision("w0", 0, 0.0, Source.RTS))
    assert decision != Decision("w0", 0, 1.0, Source.RTS)
    assert decision != "w0"
    assert pickle.loads(pickle.dumps(decision)) == decision
    assert repr(decision) == "Decision(worker_id='w0', slot=0, risk=0.0, source='rts', reason='')"
    with pytest.raises(AttributeError):
        decision.worker_id = "x"  # type: ignore[misc]
