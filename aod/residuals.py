"""How far runtimes lie from the model: σ and quantiles per type, from histograms of log residuals."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aod import _njit
from aod._njit import F64, I64

DEFAULT_SIGMA = 0.3
"""Residual spread where nothing is known; a guess."""

PERCENTS = np.arange(1, 100)
"""The percentages at which `spread` has the residual's quantiles."""

# Residuals after one effect per pair: fewer spare ones than this say nothing of the spread.
_MIN_SPARE = 10
_EDGES = (np.arange(_njit.BINS + 1) - 0.5) * _njit.BIN_WIDTH - _njit.BIN_LIMIT
_DISTANCES = np.arange(2 * _njit.BINS) * _njit.BIN_WIDTH


def _cumulative(hist: I64) -> F64:
    share: F64 = np.concatenate([[0.0], np.cumsum(hist)]) / hist.sum()
    return share


def mad_sigma(hist: I64) -> float:
    """The standard deviation of normal numbers with this histogram's median absolute deviation."""
    share = _cumulative(hist)
    median = np.interp(0.5, share, _EDGES)
    within = np.interp(median + _DISTANCES, _EDGES, share) - np.interp(median - _DISTANCES, _EDGES, share)
    return 1.4826 * float(np.interp(0.5, within, _DISTANCES))


def freedom(count_g: NDArray[Any]) -> float:
    """How much larger the spread is than it looks after one effect per pair was fitted to it."""
    n, pairs = float(count_g.sum()), float((count_g > 0).sum())
    return float(np.sqrt(n / max(n - pairs, n / 10.0)))


def spread(hist: I64, count_tw: I64, enough_t: NDArray[np.bool_]) -> tuple[F64, F64]:
    """σ and the quantiles per type; of all types together where a type has too few repeated pairs."""
    spare_t = count_tw.sum(axis=1) - (count_tw > 0).sum(axis=1)
    sigma_t, residual_tp = np.full(len(hist), DEFAULT_SIGMA), np.empty((len(hist), len(PERCENTS)))
    residual_tp[:] = DEFAULT_SIGMA * _NORMAL_QUANTILES
    whole = hist.sum(axis=0)
    for t in range(len(hist)):
        if enough_t[t] and spare_t[t] >= _MIN_SPARE:
            row, counts = hist[t], count_tw[t]
        elif spare_t.sum() >= _MIN_SPARE:
            row, counts = whole, count_tw
        else:
            continue
        widen = freedom(counts)
        sigma_t[t] = mad_sigma(row) * widen
        residual_tp[t] = np.interp(PERCENTS / 100.0, _cumulative(row), _EDGES) * widen
    return sigma_t, residual_tp


_NORMAL_QUANTILES = np.array([NormalDist().inv_cdf(p / 100.0) for p in PERCENTS.tolist()])
