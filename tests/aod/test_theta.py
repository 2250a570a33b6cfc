"""The runtime model: planted truth is recovered, and nothing that a history holds breaks it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wild import attempt, histories, rows

from aod.history import History, TaskHistory
from aod.residuals import PERCENTS
from aod.theta import ThetaFit, train_theta
from benchmarks.planted import planted_history
from rtscore import TASK_TYPES, Theta


def theta_of(fit: ThetaFit) -> np.ndarray:
    return np.array([fit.theta.theta1, fit.theta.theta2, fit.theta.theta3, fit.theta.theta4])


@pytest.mark.parametrize("seed", range(5))
def test_theta_is_recovered_within_a_tenth_whatever_the_speeds_of_the_workers(seed: int) -> None:
    planted = planted_history(5_000, 20, seed, slow_and_busy=True)
    fit = train_theta(planted.history)
    assert fit.converged
    np.testing.assert_allclose(theta_of(fit), planted.theta, rtol=0.1, err_msg=f"seed {seed}")


def test_a_regression_without_pair_speeds_would_be_fooled_by_slow_busy_workers() -> None:
    """Blaming the load is wrong in the scenario above; otherwise the test above would prove nothing."""
    history = planted_history(5_000, 20, 0, slow_and_busy=True).history
    x = np.column_stack(
        [
            history.cpu_used / history.cpu_available,
            history.memory_used / history.memory_available,
            history.gpu_used / history.gpu_available,
            history.load_at_start,
        ]
    )
    plain, *_ = np.linalg.lstsq(x, history.actual_runtime_s / history.tau - 1.0, rcond=None)
    assert plain[3] > 1.0


@pytest.mark.parametrize("seed", range(3))
def test_stragglers_do_not_move_theta(seed: int) -> None:
    planted = planted_history(20_000, 20, seed, stragglers=0.05)
    fit = train_theta(planted.history)
    np.testing.assert_allclose(theta_of(fit), planted.theta, rtol=0.1, err_msg=f"seed {seed}")
    assert fit.sigma_t == pytest.approx(np.full(6, 0.1), rel=0.2)
    # What σ ignores the quantiles show: 5 % of the runs take 5 to 20 times as long.
    assert (fit.residual_tp[:, PERCENTS == 97] > 1.5).all()


def test_slowdowns_are_those_planted_up_to_the_normalisation() -> None:
    planted = planted_history(50_000, 20, 1)
    fit = train_theta(planted.history)
    log = np.log(planted.slowdown_tw)
    mean = (log * fit.count_tw).sum(axis=1, keepdims=True) / fit.count_tw.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(np.log(fit.slowdown_tw), log - mean, atol=0.04)
    np.testing.assert_allclose(np.log(fit.scale_t), mean[:, 0], atol=0.04)


def test_the_slowdowns_of_a_type_have_mean_one_by_records() -> None:
    fit = train_theta(planted_history(2_000, 20, 4, stragglers=0.1).history)
    mean = (np.log(fit.slowdown_tw) * fit.count_tw).sum(axis=1) / fit.count_tw.sum(axis=1)
    np.testing.assert_allclose(mean, 0.0, atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_few_records_per_pair_and_many_stragglers_still_converge(seed: int) -> None:
    """Here steps overshoot: without halving those that do not help the estimate runs away."""
    fit = train_theta(planted_history(300, 100, seed, stragglers=0.2).history)
    assert fit.converged
    assert np.log(fit.slowdown_tw).max() < 5.0


def test_the_spread_is_that_of_the_noise_and_its_quantiles_are_calibrated() -> None:
    fit = train_theta(planted_history(50_000, 20, 2, noise=0.25).history)
    assert fit.sigma_t == pytest.approx(np.full(6, 0.25), rel=0.05)
    ninetieth = fit.residual_tp[:, PERCENTS == 90][:, 0]
    assert ninetieth == pytest.approx(np.full(6, 0.25 * 1.2816), rel=0.06)
    assert 0.8 < fit.r2 < 1.0


@pytest.mark.parametrize("n", [0, 1, 9])
def test_fewer_than_ten_records_keep_the_defaults_and_say_so(n: int) -> None:
    fit = train_theta(History.from_rows([attempt()] * n), defaults=Theta(0.5, 0.6, 0.7, 0.8))
    assert fit.theta == Theta(0.5, 0.6, 0.7, 0.8)
    assert fit.reason == f"{n} records can be used; 10 are needed"
    assert (fit.slowdown_tw == 1.0).all()
    assert (fit.scale_t == 1.0).all()
    assert fit.report()["reason"] == fit.reason


def test_ten_records_are_enough() -> None:
    assert train_theta(History.from_rows([attempt()] * 10)).reason == ""


def test_a_type_with_too_few_records_says_so_and_keeps_its_defaults() -> None:
    many = [
        attempt(worker_id=w, actual_runtime_s=s) for w, s in (("w1", 10.0), ("w2", 20.0)) for _ in range(50)
    ]
    few = [attempt(worker_id="w2", type="cpu-light", actual_runtime_s=99.0)] * 9
    fit = train_theta(History.from_rows([*many, *few]))
    light, mixed = TASK_TYPES.index("cpu-light"), TASK_TYPES.index("mixed")
    assert fit.used_t[light] == 9
    assert not fit.enough_t[light]
    assert (fit.slowdown_tw[light] == 1.0).all()
    assert fit.scale_t[light] == 1.0
    assert fit.enough_t[mixed]
    assert fit.slowdown_tw[mixed][1] / fit.slowdown_tw[mixed][0] == pytest.approx(2.0, rel=0.1)
    assert not fit.report()["types"]["cpu-light"]["enough"]


def test_what_the_records_leave_open_stays_at_the_default() -> None:
    """All runs alike: any θ explains them with another speed, so the prior decides."""
    fit = train_theta(History.from_rows([attempt(load_at_start=0.5)] * 200))
    assert theta_of(fit) == pytest.approx([0.1, 0.1, 0.3, 0.2], abs=1e-6)


@pytest.mark.parametrize(("runtimes", "bound"), [((10.0, 100.0), 2.0), ((100.0, 10.0), 0.0)])
def test_theta_stays_within_its_bounds(runtimes: tuple[float, float], bound: float) -> None:
    idle = [attempt(load_at_start=0.0, actual_runtime_s=runtimes[0])] * 1000
    busy = [attempt(load_at_start=1.0, actual_runtime_s=runtimes[1])] * 1000
    assert train_theta(History.from_rows([*idle, *busy])).theta.theta4 == bound


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"succeeded": False}, "run failed"),
        ({"tau": None}, "no τ"),
        ({"tau": 0.0}, "no τ"),
        ({"cpu_available": None}, "no load or available amounts"),
        ({"load_at_start": -0.5}, "no load or available amounts"),
        ({"cpu_used": 9.0}, "more used than available"),
        ({"actual_finish": 0.0}, "finish before start"),
    ],
)
def test_a_record_that_cannot_be_used_is_counted_under_its_reason(
    changes: dict[str, object], reason: str
) -> None:
    fit = train_theta(History.from_rows([attempt()] * 20 + [attempt(**changes)] * 3))
    assert fit.left_out == {reason: 3}
    assert fit.used == 20


@settings(deadline=None)
@given(histories)
def test_no_history_breaks_the_estimate(history: History) -> None:
    fit = train_theta(history)
    assert ((theta_of(fit) >= 0.0) & (theta_of(fit) <= 2.0)).all()
    shape = (6, len(history.worker_ids))
    assert fit.slowdown_tw.shape == fit.count_tw.shape == shape
    assert fit.residual_tp.shape == (6, len(PERCENTS))
    for values in (fit.slowdown_tw, fit.scale_t, fit.sigma_t, fit.residual_tp, fit.r2):
        assert np.isfinite(values).all()
    assert (fit.slowdown_tw > 0.0).all()
    assert (fit.scale_t > 0.0).all()
    assert (fit.sigma_t >= 0.0).all()
    assert (np.diff(fit.residual_tp, axis=1) >= 0.0).all()
    assert fit.used == fit.count_tw.sum() == fit.used_t.sum()
    assert fit.used + sum(fit.left_out.values()) == len(history)


@settings(deadline=None)
@given(rows, st.randoms(use_true_random=False))
def test_the_order_of_the_records_changes_only_the_rounding(
    records: list[TaskHistory], random: object
) -> None:
    shuffled = list(records)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    first, second = (train_theta(History.from_rows(r)) for r in (records, shuffled))
    assert first.worker_ids == second.worker_ids
    np.testing.assert_array_equal(first.count_tw, second.count_tw)
    np.testing.assert_allclose(theta_of(first), theta_of(second), atol=1e-5)
    np.testing.assert_allclose(np.log(first.slowdown_tw), np.log(second.slowdown_tw), atol=1e-3)


def test_many_records_in_another_order_give_the_same_estimate() -> None:
    """Enough for several chunks in threads."""
    history = planted_history(120_000, 20, 3, stragglers=0.02).history
    order = np.random.default_rng(0).permutation(len(history))
    first, second = train_theta(history), train_theta(history.take(order))
    np.testing.assert_allclose(theta_of(first), theta_of(second), atol=1e-9)
    np.testing.assert_allclose(first.slowdown_tw, second.slowdown_tw, rtol=1e-9)


def test_the_same_history_gives_the_same_bytes() -> None:
    history = planted_history(120_000, 20, 3).history
    first, second = train_theta(history), train_theta(history)
    assert first.slowdown_tw.tobytes() == second.slowdown_tw.tobytes()
    assert theta_of(first).tobytes() == theta_of(second).tobytes()
