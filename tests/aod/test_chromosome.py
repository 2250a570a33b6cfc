"""The twelve weights: bounds, order, and a way to parameters and back that loses nothing."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from aod.chromosome import GENES, N_GENES, from_params, from_unit, initial_weights, to_params, to_unit
from rtscore import AffinityWeights, GAParams, PenaltyWeights, Risk, Theta

points = hnp.arrays(np.float64, (3, N_GENES), elements=st.floats(0.0, 1.0))
LOW, HIGH = np.array([g.low for g in GENES]), np.array([g.high for g in GENES])


def test_the_order_of_the_genes_is_theta_risk_affinity_penalty() -> None:
    names = ["theta1", "theta2", "theta3", "theta4", "alpha", "beta", "a1", "a2", "a3", "g1", "g2", "g3"]
    assert [gene.name for gene in GENES] == names
    params = to_params(np.array([0.1, 0.2, 0.3, 0.4, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0]))
    assert params.theta == Theta(0.1, 0.2, 0.3, 0.4)
    assert params.risk == Risk(5.0, 6.0)
    assert params.affinity_weights == AffinityWeights(7.0, 8.0, 9.0)
    assert params.penalty_weights == PenaltyWeights(10.0, 11.0, 12.0)


@settings(deadline=None)
@given(points)
def test_every_point_of_the_cube_is_a_valid_set_within_the_bounds(cube: np.ndarray) -> None:
    weights = from_unit(cube)
    zero = (weights == 0.0) & np.array([gene.log for gene in GENES])
    assert ((weights >= LOW) | zero).all()
    assert (weights <= HIGH).all()
    for row in weights:
        assert from_params(to_params(row)).tolist() == row.tolist()


@settings(deadline=None)
@given(points)
def test_weights_of_the_cube_come_back_bit_for_bit(cube: np.ndarray) -> None:
    weights = from_unit(cube)
    assert from_unit(to_unit(weights)).tobytes() == weights.tobytes()


def test_the_defaults_and_zeros_come_back_bit_for_bit() -> None:
    for params in (
        GAParams.default(),
        GAParams(
            theta=Theta(0.0, 2.0, 0.123456789, 1.0),
            risk=Risk(0.0, 0.0),
            affinity_weights=AffinityWeights(0.0, 1000.0, 0.001234),
            penalty_weights=PenaltyWeights(0.0, 0.0, 0.0),
        ),
    ):
        weights = from_params(params)
        assert from_unit(to_unit(weights)).tobytes() == weights.tobytes()


def test_weights_out_of_bounds_come_to_lie_on_them() -> None:
    wild = from_params(GAParams(risk=Risk(1e9, 1e-9)))
    alpha, beta = from_unit(to_unit(wild))[4:6]
    assert (alpha, beta) == (1000.0, 0.0)


def test_a_doubling_is_the_same_distance_everywhere_in_log_space() -> None:
    weights = np.tile(from_params(GAParams.default()), (4, 1))
    weights[:, 4] = [1.0, 2.0, 200.0, 400.0]
    alpha = to_unit(weights)[:, 4]
    assert np.isclose(alpha[1] - alpha[0], alpha[3] - alpha[2])


def test_a_search_starts_from_the_weights_in_use_then_the_defaults_then_the_regression() -> None:
    in_use, theta = GAParams(risk=Risk(3.0, 4.0)), Theta(0.5, 0.6, 0.7, 0.8)
    start = initial_weights(in_use, theta)
    assert start.shape == (4, N_GENES)
    assert start[0].tolist() == from_params(in_use).tolist()
    assert start[1].tolist() == from_params(GAParams.default()).tolist()
    assert start[2].tolist() == [0.5, 0.6, 0.7, 0.8, *start[0, 4:].tolist()]
    assert start[3].tolist() == [0.5, 0.6, 0.7, 0.8, *start[1, 4:].tolist()]


def test_weights_that_are_alike_start_once() -> None:
    assert initial_weights(GAParams.default(), Theta()).shape == (1, N_GENES)
