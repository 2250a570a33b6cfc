"""The regression's figure: a million records, first checked against a plain NumPy estimate and the truth."""

from __future__ import annotations

import time
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aod.history import History
from aod.theta import train_theta
from benchmarks.bars import Verdict
from benchmarks.planted import planted_history

MOST_S = 0.5
RECORDS, WORKERS, STRAGGLERS = 1_000_000, 100, 0.02
# Estimates of one optimum by two methods, and of the truth from a million records.
_REFERENCE_TOLERANCE, _TRUTH_TOLERANCE = 2e-3, 2e-2


def reference_theta(history: History, iterations: int = 12) -> NDArray[np.float64]:
    """The same robust model in whole-array NumPy: pair means taken out of every column, then least squares.

    Knows neither priors nor bounds, and reads a history in which every record is good.
    """
    x = np.column_stack(
        [
            history.cpu_used / history.cpu_available,
            history.memory_used / history.memory_available,
            history.gpu_used / history.gpu_available,
            history.load_at_start,
        ]
    )
    z = np.log(history.actual_runtime_s / history.tau)
    _, pair = np.unique(
        history.type.astype(np.int64) * len(history.worker_ids) + history.worker, return_inverse=True
    )
    theta, weight = np.full(4, 0.2), np.ones(len(z))

    def without_pair_means(column: NDArray[np.float64]) -> NDArray[np.float64]:
        return column - (np.bincount(pair, weight * column) / np.bincount(pair, weight))[pair]

    for _ in range(iterations):
        stretch = 1.0 + x @ theta
        residual = without_pair_means(z - np.log(stretch))
        clip = 1.345 * 1.4826 * np.median(np.abs(residual - np.median(residual)))
        weight = np.minimum(1.0, clip / np.maximum(np.abs(residual), 1e-300))
        root = np.sqrt(weight)
        gradient = np.column_stack([without_pair_means(column) for column in (x / stretch[:, None]).T])
        residual = without_pair_means(z - np.log(stretch))
        theta = theta + np.linalg.lstsq(gradient * root[:, None], residual * root, rcond=None)[0]
    return theta


def measure(records: int = RECORDS, rounds: int = 7) -> dict[str, Any]:
    """Seconds of `train_theta` and of the NumPy estimate, and what is wrong with the answer, if anything."""
    planted = planted_history(records, WORKERS, seed=1, stragglers=STRAGGLERS)
    fit = train_theta(planted.history)
    theta = np.array([fit.theta.theta1, fit.theta.theta2, fit.theta.theta3, fit.theta.theta4])
    before = time.perf_counter()
    wanted = reference_theta(planted.history)
    reference_s = time.perf_counter() - before
    wrong = []
    if not (fit.converged and fit.used == records):
        wrong.append(f"{fit.used} of {records} records used, converged: {fit.converged}")
    if np.abs(theta - wanted).max() > _REFERENCE_TOLERANCE:
        wrong.append(f"θ is {theta.tolist()}, by NumPy {wanted.tolist()}")
    # The tolerance is for a million records; the error grows as their number's root falls.
    if np.abs(theta / planted.theta - 1.0).max() > _TRUTH_TOLERANCE * np.sqrt(RECORDS / records):
        wrong.append(f"θ is {theta.tolist()}, planted was {planted.theta.tolist()}")
    seconds = []
    for _ in range(rounds):
        before = time.perf_counter()
        train_theta(planted.history)
        seconds.append(time.perf_counter() - before)
    return {
        "records": records,
        "workers": WORKERS,
        "passes": fit.passes,
        "theta": theta.tolist(),
        "r2": fit.r2,
        "sigma": fit.sigma_t.tolist(),
        "median_s": median(seconds),
        "best_s": min(seconds),
        "numpy_s": reference_s,
        "times_faster_than_numpy": reference_s / median(seconds),
        "wrong": wrong,
    }


def judge(found: dict[str, Any]) -> list[Verdict]:
    """The figure of the design, for the size that it names."""
    if found["records"] != RECORDS:
        return []
    return [Verdict("regression of 1,000,000 records, s", "", found["median_s"], "most", MOST_S)]
