"""An epoch: it learns planted truth, goes live only when better, and survives any history."""

from __future__ import annotations

import itertools
import threading
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from wild import attempt, histories

from aod.epoch import MIN_TASKS, run_ga_epoch
from aod.genetic import GAConfig
from aod.history import History
from aod.policies import Policy
from aod.replay import Machines, Replayer
from aod.workloads import make_machines, make_workload
from rtscore import TASK_TYPES, GAParams
from rtscore.params import params_from_dict, params_to_dict

QUICK = GAConfig(population_size=8, generations=3)
AT = make_machines(20, 1)


def totals(at: Machines) -> dict[str, tuple[float, float, float, float]]:
    return dict(zip(at.worker_ids, map(tuple, at.totals.tolist()), strict=True))  # type: ignore[arg-type]


def recorded(at: Machines = AT, *, seed: int = 1, n: int = 3000, params: GAParams | None = None) -> History:
    return Replayer(at, make_workload(n, at, 0.8, seed)).run(params=params).history()


def misses(at: Machines, params: GAParams, seed: int = 99) -> int:
    return Replayer(at, make_workload(3000, at, 0.8, seed)).run(Policy.RTS, params).summary().misses


def test_what_is_learned_from_one_workload_halves_the_misses_of_another() -> None:
    report = run_ga_epoch(recorded(), totals(AT), seed=1)
    assert report.accepted, report.reason
    assert misses(AT, report.params) < 0.5 * misses(AT, GAParams.default())


def test_the_best_never_falls_and_the_first_generations_rise_by_a_hundredth() -> None:
    history = recorded()
    bests = []
    for seed in range(3):
        config = GAConfig(population_size=12, generations=5)
        report = run_ga_epoch(history, totals(AT), config=config, seed=seed)
        best = [generation.best for generation in report.generations]
        assert all(a <= b for a, b in itertools.pairwise(best))
        assert report.current is not None
        bests.append((best[-1], report.current.fitness))
    # The defaults are in the first population: what was found is better than they are by far more.
    assert all(best > current + 0.05 for best, current in bests), bests


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    history = recorded()

    def learned(seed: int) -> str:
        return str(params_to_dict(run_ga_epoch(history, totals(AT), config=QUICK, seed=seed).params))

    assert learned(1) == learned(1) != learned(2)


def test_the_published_matrix_has_six_rows_and_every_worker_that_ran_something() -> None:
    report = run_ga_epoch(recorded(), totals(AT), config=QUICK)
    assert report.accepted, report.reason
    params = report.params
    assert list(params.affinity) == list(map(str, TASK_TYPES))
    assert all(set(row) == set(AT.worker_ids) for row in params.affinity.values())
    assert params_from_dict(params_to_dict(params)) == params


def test_what_is_not_better_by_the_margin_is_kept() -> None:
    in_use = run_ga_epoch(recorded(), totals(AT), seed=1).params
    report = run_ga_epoch(recorded(params=in_use, seed=2), totals(AT), in_use, QUICK, seed=2, margin=0.5)
    assert report.verdict == "kept"
    assert report.params is in_use
    assert "is needed" in report.reason


def test_learning_again_from_its_own_placements_does_not_get_worse() -> None:
    params = GAParams.default()
    counts = [misses(AT, params)]
    for seed in range(3):
        params = run_ga_epoch(
            recorded(params=params, seed=seed + 10), totals(AT), params, QUICK, seed=seed
        ).params
        counts.append(misses(AT, params))
    assert max(counts[1:]) < 0.7 * counts[0], counts


def test_a_newcomer_gets_work() -> None:
    params = run_ga_epoch(recorded(), totals(AT), seed=1).params
    joined = replace(
        AT,
        worker_ids=(*AT.worker_ids, "newcomer"),
        totals=np.vstack([AT.totals, AT.totals[:1]]),
        slowdown_tw=np.hstack([AT.slowdown_tw, np.ones((6, 1))]),
    )
    replay = Replayer(joined, make_workload(3000, joined, 0.8, 5)).run(Policy.RTS, params)
    shares = np.bincount(replay.worker, minlength=len(joined)) / len(replay.worker)
    # It is average: it gets its share, neither nothing nor everything.
    assert 0.2 / len(joined) < shares[-1] < 5.0 / len(joined), shares


def test_a_slow_worker_that_is_repaired_gets_work_again_within_the_window() -> None:
    sick = AT.slowdown_tw.copy()
    sick[:, 3] = 6.0
    before, after = replace(AT, slowdown_tw=sick), replace(AT, slowdown_tw=AT.slowdown_tw.copy())
    after.slowdown_tw[:, 3] = 0.5
    params = GAParams.default()
    parts: list[History] = []
    work = []
    # The window holds three epochs; the worker is repaired after the second.
    for epoch in range(7):
        at = before if epoch < 2 else after
        load = make_workload(2000, at, 0.8, 50 + epoch, start=1000.0 * epoch)
        replay = Replayer(at, load).run(Policy.RTS, params)
        work.append(int((replay.worker == 3).sum()))
        parts = [*parts, replay.history()][-3:]
        params = run_ga_epoch(History.concat(parts), totals(AT), params, QUICK, seed=epoch).params
    fair = 2000 / len(AT)
    assert work[1] < 0.3 * fair, work
    assert max(work[3:]) > fair, work


def test_luck_on_identical_workers_is_not_taken_for_speed() -> None:
    at = make_machines(20, 1, identical=True)
    reports = [
        run_ga_epoch(recorded(at, seed=seed), totals(at), config=QUICK, seed=seed) for seed in range(5)
    ]
    assert sum(report.accepted for report in reports) <= 1, [report.reason for report in reports]


def test_a_cancelled_epoch_keeps_the_parameters() -> None:
    cancel = threading.Event()
    seen = []

    def progress(generation: object) -> None:
        seen.append(generation)
        cancel.set()

    report = run_ga_epoch(recorded(n=500), totals(AT), cancelled=cancel.is_set, progress=progress)
    assert (report.verdict, len(seen)) == ("cancelled", 1)
    assert report.params == GAParams.default()


def test_too_few_records_say_so_and_keep_the_parameters() -> None:
    in_use = GAParams(penalty={"w1": 1.0})
    for n in (0, 1, MIN_TASKS - 1):
        report = run_ga_epoch(History.from_rows([attempt()] * n), params=in_use)
        assert report.verdict == "not enough data"
        assert report.reason.startswith(f"{n} records")
        assert report.params is in_use


def test_an_epoch_without_workers_says_so() -> None:
    report = run_ga_epoch(recorded(n=300), {}, config=QUICK)
    assert (report.verdict, report.reason) == ("not enough data", "no workers are registered")


def test_workers_that_left_are_learned_from_and_not_placed_on() -> None:
    at = totals(AT)
    gone = AT.worker_ids[2]
    del at[gone]
    report = run_ga_epoch(recorded(), at, config=QUICK)
    assert report.workers == len(AT) - 1
    assert report.accepted, report.reason
    assert gone in report.params.penalty


def degenerate(kind: str) -> History:
    rows = list(recorded(n=400).rows())
    if kind == "all failed":
        return History.from_columns(columns(rows, succeeded=False, sla_success=False))
    if kind == "single type":
        return History.from_columns(columns(rows, type="mixed"))
    if kind == "single worker":
        return History.from_columns(columns(rows, worker_id="w00000"))
    if kind == "one instant":
        return History.from_columns(columns(rows, arrival=5.0, actual_start=5.0))
    if kind == "clock skewed":
        # Workers that live in 1970, in 2100, and at the limit of what is believed.
        skew = [0.0, 4e9, 9e11]
        return History.from_columns(
            columns(
                rows,
                actual_start=[r.actual_start + skew[i % 3] for i, r in enumerate(rows)],
                actual_finish=[r.actual_finish + skew[i % 3] for i, r in enumerate(rows)],
                arrival=[r.arrival - skew[i % 2] for i, r in enumerate(rows)],
            )
        )
    if kind == "huge requests":
        return History.from_columns(columns(rows, cpu_used=1e12, cpu_available=1e12))
    if kind == "no placement":
        return History.from_columns(
            columns(
                rows,
                cpu_available=None,
                memory_available=None,
                gpu_available=None,
                load_at_start=None,
                tau=None,
            )
        )
    assert kind == "NaN-ridden"
    rng = np.random.default_rng(1)
    found = columns(rows)
    for name in (
        "arrival",
        "deadline",
        "actual_runtime_s",
        "cpu_used",
        "load_at_start",
        "tau",
        "cpu_available",
    ):
        found[name] = [None if rng.random() < 0.1 else value for value in found[name]]  # type: ignore[attr-defined]
    return History.from_columns(found)  # type: ignore[arg-type]


def columns(rows: list[object], **changes: object) -> dict[str, list[object]]:
    names = History.from_rows([attempt()]) and attempt().__struct_fields__
    found = {name: [getattr(row, name) for row in rows] for name in names}
    for name, value in changes.items():
        found[name] = value if isinstance(value, list) else [value] * len(rows)
    return found


@pytest.mark.parametrize(
    "kind",
    [
        "all failed",
        "single type",
        "single worker",
        "one instant",
        "clock skewed",
        "huge requests",
        "no placement",
        "NaN-ridden",
    ],
)
def test_a_degenerate_history_gives_a_report_and_valid_parameters(kind: str) -> None:
    history = degenerate(kind)
    for workers in (None, totals(AT)):
        report = run_ga_epoch(history, workers, config=QUICK)
        assert report.verdict in ("accepted", "kept", "not enough data")
        assert report.reason
        assert params_from_dict(params_to_dict(report.params)) == report.params


@settings(max_examples=25, deadline=None)
@given(histories)
def test_any_history_gives_a_report_and_valid_parameters(history: History) -> None:
    # Long enough to be learned from, whatever is in it.
    whole = History.concat([history] * (1 + 2 * MIN_TASKS // max(len(history), 1)))
    report = run_ga_epoch(whole, config=GAConfig(population_size=4, generations=1))
    assert params_from_dict(params_to_dict(report.params)) == report.params
