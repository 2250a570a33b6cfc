"""select_many: a batch decided in order, as one by one, or not at all."""

from __future__ import annotations

import numpy as np
import pytest
from cluster_makers import random_cluster, random_task, workers

from rtscore import Decision, GAParams, Risk, RTSScheduler, Source, Task


@pytest.mark.parametrize("kind", ["idle", "busy", "tied", "equal", "degenerate"])
def test_a_batch_is_decided_as_one_by_one_with_reservations_between(kind: str) -> None:
    tables = [random_cluster(np.random.default_rng(4), 500, kind) for _ in range(2)]
    (batch_table, params), (single_table, _) = tables
    rng = np.random.default_rng(5)
    tasks = [random_task(rng, f"t{i}", kind) for i in range(400)]
    single = RTSScheduler(single_table, params)
    expected = []
    for task in tasks:
        decision = single.select_worker(task)
        if decision.worker_id is not None:
            single_table.reserve(decision.worker_id, task)
        expected.append(decision)
    assert RTSScheduler(batch_table, params).select_many(tasks) == expected
    batch_table.check()
    for name, column in batch_table.columns().items():
        assert column.tobytes() == single_table.columns()[name].tobytes(), name
    for task, decision in zip(tasks, expected, strict=True):
        if decision.worker_id is not None:
            batch_table.release(decision.worker_id, task)
    batch_table.check()


def test_each_sees_the_reservations_before_it() -> None:
    table = workers([2, 2])
    decisions = RTSScheduler(table).select_many([Task(f"t{i}", cpu=1.5) for i in range(3)])
    assert [d.worker_id for d in decisions] == ["w0", "w1", None]
    assert decisions[2].reason == "none of 2 workers fits: 2 lack cpu 1.5"
    assert table.reserved("w0") == ["t0"]


def test_without_reserve_every_task_sees_the_same_table() -> None:
    table = workers([2, 2])
    tasks = [Task(f"t{i}", cpu=1.5) for i in range(3)]
    assert [d.worker_id for d in RTSScheduler(table).select_many(tasks, reserve=False)] == ["w0"] * 3
    assert table.reserved("w0") == []


def test_one_now_counts_for_all_and_none_is_each_ones_arrival() -> None:
    table = workers([8])
    scheduler = RTSScheduler(table)
    tasks = [Task("a", cpu=1), Task("b", cpu=1, arrival_time=50.0)]
    assert [d.risk for d in scheduler.select_many(tasks, reserve=False)] == [0.0, 0.0]
    at_fifty = scheduler.select_many(tasks, now=50.0, reserve=False)
    assert at_fifty == [scheduler.select_worker(task, 50.0) for task in tasks]
    assert at_fifty[0].risk is not None
    assert at_fifty[0].risk > 0.0


def test_the_fallback_takes_its_turn_inside_a_batch() -> None:
    table = workers([2, 2])
    scheduler = RTSScheduler(table, GAParams(risk=Risk(1e308, 1.0)))
    late = [Task(f"late{i}", cpu=1, deadline=-1e9) for i in range(3)]
    early = Task("early", cpu=1, deadline=1e9)
    decisions = scheduler.select_many([late[0], early, *late[1:], early])
    assert [d.worker_id for d in decisions] == ["w0", "w1", "w1", "w0", None]
    assert [d.source for d in decisions] == [
        Source.ROUND_ROBIN,
        Source.RTS,
        Source.ROUND_ROBIN,
        Source.ROUND_ROBIN,
        Source.NONE,
    ]
    table.check()


def test_when_a_fallback_raises_nothing_stays_reserved() -> None:
    class Broken:
        name = "broken"

        def select_worker(self, task: Task, now: float | None = None) -> Decision:
            raise RuntimeError("broken")

        def reset(self) -> None:
            pass

    table = workers([8])
    scheduler = RTSScheduler(table, GAParams(risk=Risk(1e308, 1.0)), fallback=Broken())
    early, late = Task("early", cpu=1, deadline=1e9), Task("late", cpu=1, deadline=-1e9)
    with pytest.raises(RuntimeError, match="broken"):
        scheduler.select_many([early, early, late])
    assert table.reserved("w0") == []
    assert table.view("w0").cpu_avail == 8.0
    table.check()


def test_a_fallback_that_over_commits_is_refused_and_undone() -> None:
    class Wild:
        name = "wild"

        def select_worker(self, task: Task, now: float | None = None) -> Decision:
            return Decision("w0", 0, source=Source.ROUND_ROBIN)

        def reset(self) -> None:
            pass

    table = workers([1, 8])
    scheduler = RTSScheduler(table, GAParams(risk=Risk(1e308, 1.0)), fallback=Wild())
    with pytest.raises(ValueError, match="asks cpu 4"):
        scheduler.select_many([Task("a", cpu=1, deadline=1e9), Task("b", cpu=4, deadline=-1e9)])
    assert table.reserved("w0") == []
    table.check()


def test_a_batch_with_one_bad_task_decides_nothing() -> None:
    table = workers([8])
    with pytest.raises(TypeError, match="takes Tasks, not str"):
        RTSScheduler(table).select_many([Task("t", cpu=1), "t"])  # type: ignore[list-item]
    assert table.reserved("w0") == []


def test_an_empty_batch_and_a_generator_are_fine() -> None:
    scheduler = RTSScheduler(workers([8]))
    assert scheduler.select_many([]) == []
    assert len(scheduler.select_many(Task(f"t{i}", cpu=1) for i in range(3))) == 3
