"""explain: every term for every worker, of the very decision that the kernel makes."""

from __future__ import annotations

import json

import numpy as np
import pytest
from cluster_makers import random_cluster, random_task, workers

from rtscore import GAParams, Risk, RTSScheduler, Source, Task, Theta


@pytest.mark.parametrize("kind", ["idle", "busy", "tied", "equal", "degenerate"])
def test_it_explains_the_decision_that_is_made(kind: str) -> None:
    rng = np.random.default_rng(6)
    table, params = random_cluster(rng, 300, kind)
    scheduler = RTSScheduler(table, params)
    for i in range(40):
        task = random_task(rng, f"t{i}", kind)
        explanation = scheduler.explain(task)
        decision = scheduler.select_worker(task)
        assert explanation.decision == decision
        assert explanation.decision.reason == decision.reason
        ranking = explanation.ranking()
        if decision.source is Source.RTS:
            assert (ranking[0].worker_id, ranking[0].risk) == (decision.worker_id, decision.risk)
        else:
            assert ranking == []


def test_the_terms_add_up() -> None:
    table = workers([8, 4], memory=[32, 16], gpu=[2, 1], load=[0.25, 0.0])
    params = GAParams(
        theta=Theta(0.5, 0.25, 1.0, 0.5),
        risk=Risk(2.0, 3.0),
        affinity={"mixed": {"w0": 1.5}},
        penalty={"w0": 0.5},
    )
    task = Task("t", cpu=4, memory=8, gpu=1, task_type="mixed", tau=16.0, deadline=20.0)
    row = RTSScheduler(table, params).explain(task).worker("w0")
    assert (row.cpu_share, row.memory_share, row.gpu_share, row.load_share) == (0.25, 0.0625, 0.5, 0.125)
    assert row.runtime_s == 16.0 * 1.9375
    assert row.lateness_s == 31.0 - 20.0
    assert (row.affinity, row.penalty, row.static) == (1.5, 0.5, 3.0 * 0.25 - 1.5 + 0.5)
    assert row.risk == 2.0 * 11.0 + row.static
    assert row.feasible
    assert not row.meets_deadline


def test_a_worker_that_does_not_fit_says_what_it_lacks() -> None:
    table = workers([8, 2, 2], gpu=[0, 1, 0])
    table.set_schedulable("w2", False)
    explanation = RTSScheduler(table).explain(Task("t", cpu=4, gpu=1))
    assert [row.lacks for row in explanation] == [
        ("gpu: asks 1, has 0",),
        ("cpu: asks 4, has 2",),
        ("not schedulable", "cpu: asks 4, has 2", "gpu: asks 1, has 0"),
    ]
    assert not any(row.feasible or row.meets_deadline for row in explanation)
    assert (
        explanation.decision.reason
        == "none of 3 workers fits: 1 lacks cpu 4, 1 lacks gpu 1, 1 not schedulable"
    )


def test_it_is_a_sequence_of_the_workers_in_slot_order() -> None:
    table = workers([1, 2, 3, 4])
    table.remove("w1")
    explanation = RTSScheduler(table).explain(Task("t"))
    assert len(explanation) == 3
    assert [row.slot for row in explanation] == [0, 2, 3]
    assert explanation[-1].worker_id == "w3"
    assert [row.worker_id for row in explanation[1:]] == ["w2", "w3"]
    assert explanation.worker("w2").slot == 2
    with pytest.raises(KeyError, match="w1"):
        explanation.worker("w1")
    assert len(explanation.ranking(2)) == 2


def test_explaining_moves_nothing() -> None:
    table = workers([8, 8])
    scheduler = RTSScheduler(table, GAParams(risk=Risk(1e308, 1.0)))
    late = Task("t", deadline=-1e9)
    assert [scheduler.explain(late).decision.worker_id for _ in range(3)] == ["w0"] * 3
    version = table.version
    assert scheduler.select_worker(late).worker_id == "w0"
    assert scheduler.explain(late).decision.worker_id == "w1"
    assert table.version == version


def test_a_fallback_that_cannot_be_asked_is_named_without_a_worker() -> None:
    class Own:
        name = "own"

        def select_worker(self, task: Task, now: float | None = None) -> object:
            raise AssertionError("explaining must not decide")

        def reset(self) -> None:
            pass

    scheduler = RTSScheduler(workers([8]), GAParams(risk=Risk(1e308, 1.0)), fallback=Own())  # type: ignore[arg-type]
    decision = scheduler.explain(Task("t", deadline=-1e9)).decision
    assert (decision.source, decision.worker_id) == (Source.ROUND_ROBIN, None)


def test_it_keeps_its_instant_while_the_table_moves_on() -> None:
    table = workers([8, 8])
    explanation = RTSScheduler(table).explain(Task("t"))
    table.set_load("w0", 0.9)
    table.remove("w1")
    assert [row.load for row in explanation] == [0.0, 0.0]
    assert len(explanation) == 2


def test_it_becomes_json() -> None:
    table = workers([8, 2])
    document = json.loads(json.dumps(RTSScheduler(table).explain(Task("t", cpu=4), now=3.0).to_dict()))
    assert document["now"] == 3.0
    assert document["task"]["task_type"] == "cpu-light"
    assert document["decision"]["worker_id"] == "w0"
    assert [row["lacks"] for row in document["workers"]] == [[], ["cpu: asks 4, has 2"]]


def test_an_empty_table_is_explained() -> None:
    explanation = RTSScheduler(workers([])).explain(Task("t"))
    assert len(explanation) == 0
    assert explanation.decision.reason == "there are no workers"
