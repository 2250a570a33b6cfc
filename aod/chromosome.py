"""The twelve weights that evolve: their names, bounds and order, and the way to and from `GAParams`.

Weights whose size matters by factors (all but θ) live in log space. Zero has no logarithm, so the floor of
such a gene stands for it: a gene at its floor is a weight of exactly 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from aod._njit import F64
from rtscore.params import THETA_MAX, AffinityWeights, GAParams, PenaltyWeights, Risk, Theta


class Gene(NamedTuple):
    """One weight: its bounds, and whether it evolves in log space."""

    name: str
    low: float
    high: float
    log: bool


# The log bounds span six decades around defaults between 0.5 and 10; beyond them one term drowns the others.
GENES: tuple[Gene, ...] = (
    *(Gene(name, 0.0, THETA_MAX, False) for name in Theta.__struct_fields__),
    *(
        Gene(name, 1e-3, 1e3, True)
        for group in (Risk, AffinityWeights, PenaltyWeights)
        for name in group.__struct_fields__
    ),
)
N_GENES = len(GENES)

_IS_LOG = np.array([gene.log for gene in GENES])
_LOW = np.array([np.log(gene.low) if gene.log else gene.low for gene in GENES])
_HIGH = np.array([np.log(gene.high) if gene.log else gene.high for gene in GENES])


def to_unit(weights: F64) -> F64:
    """Weights of shape (…, 12) as points of the unit cube; what lies out of bounds comes to lie on them."""
    floor = np.array([gene.low if gene.log else 1.0 for gene in GENES])
    inner = np.where(_IS_LOG, np.log(np.maximum(weights, floor)), weights)
    points: F64 = np.clip((inner - _LOW) / (_HIGH - _LOW), 0.0, 1.0)
    return points


def from_unit(points: F64) -> F64:
    """Weights, shape (…, 12), of points of the unit cube; a log gene at its floor is a weight of 0.

    A log gene's weight has 12 significant digits: what a file or a person wrote then comes back as it was,
    and weights that no search has changed are not replaced by others in their last bit.
    """
    inner = _LOW + points * (_HIGH - _LOW)
    exact = np.exp(np.where(_IS_LOG, inner, 0.0))
    digits = 10.0 ** (11.0 - np.floor(np.log10(exact)))
    weights = np.where(_IS_LOG, np.round(exact * digits) / digits, inner)
    weights = np.where(_IS_LOG & (weights <= [gene.low for gene in GENES]), 0.0, weights)
    # Rounding must not lift a weight over its bound.
    return np.minimum(weights, [gene.high for gene in GENES])


def from_params(params: GAParams) -> F64:
    """The weights of a parameter set, shape (12,)."""
    groups = (params.theta, params.risk, params.affinity_weights, params.penalty_weights)
    return np.array([getattr(group, name) for group in groups for name in group.__struct_fields__])


def to_params(
    weights: F64,
    affinity: Mapping[str, Mapping[str, float]] | None = None,
    penalty: Mapping[str, float] | None = None,
    meta: Mapping[str, Any] | None = None,
) -> GAParams:
    """The parameter set of 12 weights and what was built with them."""
    values = weights.tolist()
    return GAParams(
        theta=Theta(*values[0:4]),
        risk=Risk(*values[4:6]),
        affinity_weights=AffinityWeights(*values[6:9]),
        penalty_weights=PenaltyWeights(*values[9:12]),
        affinity=affinity or {},
        penalty=penalty or {},
        meta=meta or {},
    )


def initial_weights(in_use: GAParams, theta: Theta) -> F64:
    """The weights that a search starts from, shape (k, 12), no two alike.

    The set in use, the defaults, and each of the two with the regression's θ.
    """
    rows = [from_params(in_use), from_params(GAParams.default())]
    learned = [getattr(theta, name) for name in Theta.__struct_fields__]
    rows += [np.array([*learned, *row[4:]]) for row in rows]
    return np.array(list(dict.fromkeys(tuple(row.tolist()) for row in rows)))
