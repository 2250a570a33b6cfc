"""Affinities and penalties: they find what was planted, stay in bounds, and read no meaning into order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wild import attempt, histories, rows

from aod.components import build_affinity_matrix, build_penalty_vector, compute_components
from aod.history import History, TaskHistory
from aod.stats import worker_stats
from aod.theta import train_theta
from benchmarks.planted import planted_history
from rtscore import TASK_TYPES, AffinityWeights, GAParams, PenaltyWeights

weights = st.tuples(*[st.one_of(st.floats(0.0, 1e3), st.sampled_from([0.0, 1e308]))] * 3)


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Rank correlation of two sequences without ties."""
    ranks = [np.argsort(np.argsort(v)) for v in (a, b)]
    return float(np.corrcoef(*ranks)[0, 1])


def test_the_rank_correlation_judges_order_alone() -> None:
    assert spearman(np.array([1.0, 2.0, 9.0]), np.array([0.1, 0.2, 0.3])) == pytest.approx(1.0)
    assert spearman(np.array([1.0, 2.0, 9.0]), np.array([3.0, 2.0, -7.0])) == pytest.approx(-1.0)


@pytest.mark.parametrize("seed", range(3))
def test_affinity_ranks_planted_fast_workers_first_for_every_type(seed: int) -> None:
    planted = planted_history(5_000, 20, seed)
    matrix = build_affinity_matrix(planted.history)
    for t, name in enumerate(TASK_TYPES):
        scores = np.array([matrix[name][worker] for worker in planted.history.worker_ids])
        assert spearman(scores, 1.0 / planted.slowdown_tw[t]) >= 0.9, f"seed {seed}, {name}"


@pytest.mark.parametrize("seed", range(3))
def test_penalty_finds_the_planted_unreliable_worker(seed: int) -> None:
    planted = planted_history(5_000, 20, seed)
    fastest = int(planted.slowdown_tw.mean(axis=0).argmin())
    planted = planted_history(5_000, 20, seed, unreliable=fastest)
    names = planted.history.worker_ids
    penalty = build_penalty_vector(planted.history)
    before = build_penalty_vector(planted_history(5_000, 20, seed).history)
    assert min(before, key=before.__getitem__) == names[fastest]
    rise = {name: penalty[name] - before[name] for name in names}
    assert max(rise, key=rise.__getitem__) == names[fastest]
    assert rise[names[fastest]] > 0.5
    assert sorted(rise.values())[-2] < 0.2


def test_failing_at_once_is_not_being_fast() -> None:
    good = [attempt(worker_id="good", actual_runtime_s=10.0)] * 50
    bad = [attempt(worker_id="bad", actual_runtime_s=0.1, succeeded=False, sla_success=False)] * 50
    row = build_affinity_matrix(History.from_rows([*good, *bad]))["mixed"]
    assert row["bad"] < row["good"]


@settings(deadline=None)
@given(histories)
def test_the_matrix_has_exactly_six_rows_over_the_workers_of_the_history(history: History) -> None:
    matrix = build_affinity_matrix(history)
    assert tuple(matrix) == tuple(map(str, TASK_TYPES))
    assert all(tuple(row) == history.worker_ids for row in matrix.values())


@settings(deadline=None)
@given(histories, weights, weights)
def test_every_score_is_finite_and_in_bounds(
    history: History, a: tuple[float, float, float], g: tuple[float, float, float]
) -> None:
    for components in (compute_components(history), compute_components(history, fit=train_theta(history))):
        affinity, penalty = components.affinity(*a), components.penalty(*g)
        assert affinity.shape == (6, len(history.worker_ids))
        assert penalty.shape == (len(history.worker_ids),)
        assert np.isfinite(penalty).all()
        assert (np.abs(affinity) <= 5.0).all()
        assert (penalty >= 0.0).all()
    # The published file checks the same bounds.
    GAParams(
        affinity=build_affinity_matrix(history, AffinityWeights(*a)),
        penalty=build_penalty_vector(history, PenaltyWeights(*g)),
    )


@settings(deadline=None)
@given(rows, st.randoms(use_true_random=False))
def test_the_order_of_the_records_changes_only_the_rounding(
    records: list[TaskHistory], random: object
) -> None:
    shuffled = list(records)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    first, second = (compute_components(History.from_rows(r)) for r in (records, shuffled))
    assert first.worker_ids == second.worker_ids
    for name in ("speed_tw", "reliable_tw", "overload_tw", "count_tw", "fail_w", "energy_w"):
        np.testing.assert_allclose(getattr(first, name), getattr(second, name), rtol=1e-9, atol=1e-12)


@settings(deadline=None)
@given(histories)
def test_a_pair_without_records_is_average_and_a_worker_without_records_clean(history: History) -> None:
    components = compute_components(history)
    affinity, penalty = components.affinity(1.0, 2.0, 0.5), components.penalty(2.0, 1.0, 0.5)
    assert (affinity[components.count_tw == 0] == 0.0).all()
    assert (penalty[components.count_tw.sum(axis=0) == 0] == 0.0).all()


def test_one_lucky_run_proves_little() -> None:
    usual = [attempt(worker_id=f"w{i % 5}", actual_runtime_s=10.0) for i in range(500)]
    lucky = [attempt(worker_id="new", actual_runtime_s=1.0)]
    proven = [attempt(worker_id="proven", actual_runtime_s=1.0)] * 100
    parts = compute_components(History.from_rows([*usual, *lucky, *proven]))
    speed = dict(zip(parts.worker_ids, parts.speed_tw[5], strict=True))
    assert speed["new"] < 1.25
    assert speed["proven"] > 5.0


def test_the_components_are_those_of_the_definition() -> None:
    """Two workers, shrinkage worked out by hand: 5 runs of 8 s on a, one failed run and 4 of 12 s on b."""
    records = [attempt(worker_id="a", actual_runtime_s=8.0, load_at_start=1.0)] * 5 + [
        attempt(worker_id="b", actual_runtime_s=12.0)
    ] * 4
    failed = attempt(worker_id="b", actual_runtime_s=4.0, succeeded=False, sla_success=False)
    parts = compute_components(History.from_rows([*records, failed]))
    mean = (5 * 8 + 4 * 12) / 9
    a_speed = mean / ((5 * 8 + 5 * mean) / 10)
    b_speed = mean / ((4 * 12 + 5 * mean) / 9)
    np.testing.assert_allclose(parts.speed_tw[5], [a_speed, b_speed])
    np.testing.assert_allclose(parts.reliable_tw[5], [0.1 - 0.05, 0.1 - 0.15])
    share, mean_time = 40 / 92, 9.2
    np.testing.assert_allclose(
        parts.overload_tw[5],
        [
            (40 + 5 * mean_time * share) / (40 + 5 * mean_time) - share,
            (5 * mean_time * share) / (52 + 5 * mean_time) - share,
        ],
    )
    np.testing.assert_allclose(parts.fail_w, [0.05, 0.15])
    extra = 5 * 1.2 * mean
    np.testing.assert_allclose(
        parts.energy_w,
        [
            (1.2 * 40 + extra) / (1.2 * 5 * mean + extra),
            (1.2 * 48 + extra) / (1.2 * 4 * mean + extra),
        ],
    )
    np.testing.assert_allclose(
        parts.affinity(1.0, 2.0, 0.5)[5],
        (parts.speed_tw[5] - 1) + 2 * parts.reliable_tw[5] - 0.5 * parts.overload_tw[5],
    )


@pytest.mark.parametrize("seed", range(3))
def test_with_the_runtime_model_stragglers_do_not_hide_the_fast_workers(seed: int) -> None:
    planted = planted_history(5_000, 20, seed, stragglers=0.05)
    fit = train_theta(planted.history)
    for t in range(6):
        true = 1.0 / planted.slowdown_tw[t]
        assert spearman(compute_components(planted.history, fit=fit).speed_tw[t], true) >= 0.95, (
            f"seed {seed}"
        )


def test_a_type_that_the_runtime_model_does_not_know_keeps_the_ratio_of_means() -> None:
    many = [
        attempt(worker_id=w, actual_runtime_s=s) for w, s in (("a", 10.0), ("b", 20.0)) for _ in range(50)
    ]
    few = [attempt(worker_id="b", type="cpu-light"), attempt(type="cpu-light", actual_runtime_s=90.0)]
    history = History.from_rows([*many, *few])
    with_fit = compute_components(history, fit=train_theta(history))
    without = compute_components(history)
    assert with_fit.speed_tw[0].tolist() == without.speed_tw[0].tolist()
    assert with_fit.speed_tw[5].tolist() != without.speed_tw[5].tolist()


def test_a_runtime_model_of_other_workers_is_refused() -> None:
    other = train_theta(History.from_rows([attempt(worker_id="other")]))
    with pytest.raises(ValueError, match="1 other workers than the history's 1"):
        compute_components(History.from_rows([attempt()]), fit=other)


def test_no_weight_makes_a_penalty_infinite() -> None:
    slow = [attempt(worker_id="slow", actual_runtime_s=90.0)] * 50
    fast = [attempt(worker_id="fast", actual_runtime_s=10.0)] * 50
    penalty = build_penalty_vector(History.from_rows([*slow, *fast]), PenaltyWeights(1e308, 1e308, 1.7e308))
    assert np.isfinite(list(penalty.values())).all()
    assert penalty["slow"] >= penalty["fast"]


def test_overloaded_time_may_come_from_elsewhere() -> None:
    history = History.from_rows([attempt(), attempt(worker_id="w2")])
    samples = {"w2": (np.array([0.0]), np.array([1.0]))}
    stats = worker_stats(history, load_samples=samples)
    penalty = build_penalty_vector(history, PenaltyWeights(0.0, 1.0, 0.0), stats)
    assert penalty == {"w1": 0.0, "w2": 1.0}
