"""The fitness: it depends on the weights, each term on what it is named after, and on no order of records."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from wild import attempt, histories

from aod.chromosome import GENES
from aod.components import compute_components
from aod.fitness import FitnessWeights, Judge, compute_fitness
from aod.history import History
from aod.replay import Replayer
from aod.theta import train_theta
from aod.transport import failure_w, totals_seen, workload_of
from aod.workloads import make_machines, make_workload
from rtscore import GAParams, Risk


def recorded(load: float = 0.7, n: int = 1500, workers: int = 20, seed: int = 1) -> History:
    at = make_machines(workers, seed)
    return Replayer(at, make_workload(n, at, load, seed)).run().history()


def test_a_set_that_sends_everything_to_the_slowest_is_less_fit_than_the_defaults() -> None:
    history = recorded()
    fit = train_theta(history)
    slow = {
        str(name): dict(zip(fit.worker_ids, np.clip(fit.slowdown_tw[c] * 3 - 3, -5, 5).tolist(), strict=True))
        for c, name in enumerate(
            ("cpu-light", "cpu-heavy", "memory-heavy", "gpu-inference", "gpu-training", "mixed")
        )
    }
    default = compute_fitness(history, GAParams.default())
    bad = compute_fitness(history, GAParams(risk=Risk(alpha=0.0, beta=0.0), affinity=slow))
    assert bad.sla < default.sla - 0.1
    assert bad.energy > default.energy + 0.1
    assert bad.fitness < default.fitness - 0.3


def test_each_weight_weighs_its_term() -> None:
    history = recorded()
    terms = compute_fitness(history, GAParams.default(), weights=FitnessWeights(3.0, 1.0, 0.5, 0.25))
    expected = 3.0 * terms.sla + terms.utilisation - 0.5 * terms.energy - 0.25 * terms.overload
    assert terms.fitness == pytest.approx(expected)


@pytest.mark.parametrize("load", [0.7, 2.0])
def test_the_newer_tasks_are_judged_in_the_cluster_that_the_older_ones_filled(load: float) -> None:
    history = recorded(load)
    history = history.take(np.argsort(history.arrival, kind="stable"))
    newer = history.take(slice(1000, None))
    fit, workers = train_theta(newer), totals_seen(history)
    from_empty = Judge(newer, fit, workers).judge(GAParams.default())
    terms = Judge(history, fit, workers, since=1000).judge(GAParams.default())
    # The same parameters place them as they were placed, so each runs as long and ends as it did.
    assert terms.sla == pytest.approx(newer.sla_success.mean(), abs=0.005)
    assert terms.tasks == from_empty.tasks == len(newer)
    assert from_empty.sla > terms.sla


def test_a_task_on_a_worker_that_fails_half_the_time_counts_half() -> None:
    rows = [
        attempt(task_id=f"t{i}", arrival=100.0 * i, deadline=100.0 * i + 20, succeeded=i % 2 == 0)
        for i in range(200)
    ]
    terms = compute_fitness(History.from_rows(rows), GAParams.default())
    assert terms.sla == pytest.approx(0.5, abs=0.01)


def test_slow_placement_does_not_count_as_utilisation() -> None:
    history = recorded(load=0.5)
    fit = train_theta(history)
    penalty = dict(zip(fit.worker_ids, (1.0 / fit.slowdown_tw.mean(axis=0)).tolist(), strict=True))
    prefers_slow = GAParams(risk=Risk(alpha=0.0, beta=0.0), penalty=penalty)
    default = compute_fitness(history, GAParams.default())
    assert compute_fitness(history, prefers_slow).utilisation <= default.utilisation + 0.01


def test_the_base_of_a_task_is_its_runtime_without_its_worker() -> None:
    at = make_machines(20, 1)
    load = make_workload(8000, at, 0.7, 1)
    history = Replayer(at, load).run().history()
    fit = train_theta(history)
    transported = workload_of(history, fit)
    # The regression knows neither the noise nor the constant between τ and the average worker.
    error = np.log(transported.base_s / load.base_s)
    assert np.abs(error - np.median(error)).mean() < 0.12
    observed = np.log(Replayer(at, load).run().finish - Replayer(at, load).run().start) - np.log(load.base_s)
    assert np.abs(observed - np.median(observed)).mean() > 0.3


def test_a_failed_run_is_transported_as_a_whole_one() -> None:
    rows = [attempt(task_id=f"t{i}", arrival=100.0 * i) for i in range(50)]
    rows.append(
        attempt(task_id="crash", arrival=1e4, actual_runtime_s=0.01, succeeded=False, sla_success=False)
    )
    history = History.from_rows(rows)
    base = workload_of(history, train_theta(history)).base_s
    assert base[-1] == pytest.approx(base[0], rel=0.1)


def test_a_worker_without_a_name_is_none() -> None:
    history = History.from_rows([attempt(worker_id=""), attempt(worker_id="a")])
    assert list(totals_seen(history)) == ["a"]


def test_failures_are_shrunk_toward_all_and_a_newcomer_has_those_of_all() -> None:
    rows = [attempt(task_id=f"a{i}", worker_id="a", succeeded=False) for i in range(95)]
    rows += [attempt(task_id=f"b{i}", worker_id="b") for i in range(95)]
    assert failure_w(History.from_rows(rows), ("a", "b", "new")) == pytest.approx([0.975, 0.025, 0.5])


@settings(max_examples=25, deadline=None)
@given(histories)
def test_any_history_has_a_finite_fitness_under_any_weights(history: History) -> None:
    part = history.take(history.usable().mask)
    judge = Judge(part, train_theta(part), totals_seen(part))
    components = compute_components(part)
    rows = np.array([[gene.low if not gene.log else 0.0 for gene in GENES], [gene.high for gene in GENES]])
    assert np.isfinite(judge.fitness(components)(rows)).all()


def test_the_order_of_the_records_does_not_matter() -> None:
    history = recorded()
    shuffled = history.take(np.random.default_rng(1).permutation(len(history)))
    one, other = (compute_fitness(h, GAParams.default()) for h in (history, shuffled))
    assert one.fitness == pytest.approx(other.fitness, abs=0.01)
