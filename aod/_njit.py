"""The compiled loops of aod: arrays and scalars in, results through `out_` arrays.

All of them release the GIL, so that callers can run chunks in plain threads: numba's own thread pool must
not be entered from two Python threads and does not survive a fork.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from numba import njit
from numpy.typing import NDArray

F64 = NDArray[np.float64]
I8 = NDArray[np.int8]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]

_Function = TypeVar("_Function", bound=Callable[..., Any])


def compiled(function: _Function) -> _Function:
    """The function compiled on first use, cached on disk; numba's decorator itself is not typed."""
    return cast(_Function, njit(cache=True, nogil=True)(function))


# What `classify` and `features` find in a row. The names are in history.REASONS and theta.REASONS.
USABLE = 0
UNKNOWN_TYPE = 1
MISSING_NUMBER = 2
FINISH_BEFORE_START = 3
RUNTIME_NOT_POSITIVE = 4
RUN_FAILED = 5
NO_TAU = 6
NO_PLACEMENT = 7
MORE_THAN_AVAILABLE = 8

# A number beyond these is broken telemetry: 1e12 s is the year 33,000, 1e9 s are 30 years.
LARGEST = 1e12
LONGEST_S = 1e9
SHORTEST_S = 1e-9

# Log residuals are counted in bins of 0.005, from -10 to +10; what lies beyond goes to the end bins.
BIN_WIDTH = 0.005
BIN_LIMIT = 10.0
BINS = 4001


@compiled
def _number(value: float) -> bool:
    # False for NaN too.
    return -LARGEST <= value <= LARGEST


@compiled
def _amount(value: float) -> bool:
    return 0.0 <= value <= LARGEST


@compiled
def classify(
    type_: I8,
    arrival: F64,
    deadline: F64,
    start: F64,
    finish: F64,
    runtime_s: F64,
    cpu: F64,
    memory: F64,
    gpu: F64,
    storage: F64,
    out_reason: I8,
) -> None:
    """Per row, the first reason why nothing can be learned from it."""
    for i in range(type_.shape[0]):
        if type_[i] < 0:
            out_reason[i] = UNKNOWN_TYPE
        elif not (
            _number(arrival[i])
            and _number(deadline[i])
            and _number(start[i])
            and _number(finish[i])
            and -LONGEST_S <= runtime_s[i] <= LONGEST_S
            and _amount(cpu[i])
            and _amount(memory[i])
            and _amount(gpu[i])
            and _amount(storage[i])
        ):
            out_reason[i] = MISSING_NUMBER
        elif finish[i] < start[i]:
            out_reason[i] = FINISH_BEFORE_START
        elif runtime_s[i] < SHORTEST_S:
            out_reason[i] = RUNTIME_NOT_POSITIVE
        else:
            out_reason[i] = USABLE


@compiled
def features(
    low: int,
    high: int,
    n_workers: int,
    type_: I8,
    worker: I32,
    succeeded: NDArray[np.bool_],
    runtime_s: F64,
    tau: F64,
    cpu: F64,
    memory: F64,
    gpu: F64,
    cpu_available: F64,
    memory_available: F64,
    gpu_available: F64,
    load: F64,
    out_reason: I8,
    out_group: I32,
    out_z: F64,
    out_x: F64,
) -> None:
    """Rows low..high as the regression wants them.

    `out_reason` comes in as `classify` left it. z = log(runtime/τ); x = the three ratios and the load, shape
    (n, 4); group = type · n_workers + worker, or -1 for a row that cannot be used.
    """
    for i in range(low, high):
        out_group[i] = -1
        if out_reason[i] != USABLE:
            continue
        if not succeeded[i]:
            out_reason[i] = RUN_FAILED
        elif not SHORTEST_S <= tau[i] <= LONGEST_S:
            out_reason[i] = NO_TAU
        elif not (
            _amount(cpu_available[i])
            and _amount(memory_available[i])
            and _amount(gpu_available[i])
            and _amount(load[i])
        ):
            out_reason[i] = NO_PLACEMENT
        elif cpu[i] > cpu_available[i] or memory[i] > memory_available[i] or gpu[i] > gpu_available[i]:
            out_reason[i] = MORE_THAN_AVAILABLE
        else:
            # An available amount of 0 counts as 1 in its ratio, as in the risk model.
            out_x[i, 0] = cpu[i] / (cpu_available[i] if cpu_available[i] > 0.0 else 1.0)
            out_x[i, 1] = memory[i] / (memory_available[i] if memory_available[i] > 0.0 else 1.0)
            out_x[i, 2] = gpu[i] / (gpu_available[i] if gpu_available[i] > 0.0 else 1.0)
            out_x[i, 3] = load[i]
            out_z[i] = math.log(runtime_s[i] / tau[i])
            out_group[i] = type_[i] * n_workers + worker[i]


@compiled
def group_means(low: int, high: int, group: I32, z: F64, out_g: F64, out_total: F64) -> None:
    """Per group the number of rows and the sum of z, columns of `out_g`; n, Σz, Σz² in `out_total`."""
    for i in range(low, high):
        g = group[i]
        if g >= 0:
            out_g[g, 0] += 1.0
            out_g[g, 1] += z[i]
            out_total[0] += 1.0
            out_total[1] += z[i]
            out_total[2] += z[i] * z[i]


@compiled
def accumulate(
    low: int,
    high: int,
    n_workers: int,
    group: I32,
    z: F64,
    x: F64,
    theta: F64,
    u_g: F64,
    clip: float,
    beyond: float,
    out_g: F64,
    out_a: F64,
    out_b: F64,
    out_hist: I64,
    out_total: F64,
) -> None:
    """The normal equations of one Gauss-Newton step over rows low..high, and the residuals' histogram.

    Residual r = z - u_g - log(1 + θ·x), gradient J = x / (1 + θ·x), Huber's ψ(r) = r clipped to ±clip, and
    curvature h: ψ' = 1 within the clip, the part `beyond` of the secant ψ/r beyond it, where ψ' is 0.
    `out_g` (groups, 6): Σh, Σψ, ΣhJ. `out_a` (4, 4): ΣhJJᵀ, upper triangle. `out_b` (4): ΣJψ.
    `out_hist` (types, BINS). `out_total`: Huber objective, Σr².
    """
    t0, t1, t2, t3 = theta[0], theta[1], theta[2], theta[3]
    a00 = a01 = a02 = a03 = a11 = a12 = a13 = a22 = a23 = a33 = 0.0
    b0 = b1 = b2 = b3 = 0.0
    objective = squares = 0.0
    for i in range(low, high):
        g = group[i]
        if g < 0:
            continue
        stretch = 1.0 + t0 * x[i, 0] + t1 * x[i, 1] + t2 * x[i, 2] + t3 * x[i, 3]
        r = z[i] - u_g[g] - math.log(stretch)
        inverse = 1.0 / stretch
        j0, j1, j2, j3 = x[i, 0] * inverse, x[i, 1] * inverse, x[i, 2] * inverse, x[i, 3] * inverse
        size = abs(r)
        h, psi = 1.0, r
        if size <= clip:
            objective += 0.5 * r * r
        else:
            secant = clip / size
            h, psi = beyond * secant, secant * r
            objective += clip * (size - 0.5 * clip)
        squares += r * r
        h0, h1, h2, h3 = h * j0, h * j1, h * j2, h * j3
        out_g[g, 0] += h
        out_g[g, 1] += psi
        out_g[g, 2] += h0
        out_g[g, 3] += h1
        out_g[g, 4] += h2
        out_g[g, 5] += h3
        a00 += h0 * j0
        a01 += h0 * j1
        a02 += h0 * j2
        a03 += h0 * j3
        a11 += h1 * j1
        a12 += h1 * j2
        a13 += h1 * j3
        a22 += h2 * j2
        a23 += h2 * j3
        a33 += h3 * j3
        b0 += j0 * psi
        b1 += j1 * psi
        b2 += j2 * psi
        b3 += j3 * psi
        at = min(max(r, -BIN_LIMIT), BIN_LIMIT)
        out_hist[g // n_workers, int((at + BIN_LIMIT) / BIN_WIDTH + 0.5)] += 1
    out_a[0, 0] += a00
    out_a[0, 1] += a01
    out_a[0, 2] += a02
    out_a[0, 3] += a03
    out_a[1, 1] += a11
    out_a[1, 2] += a12
    out_a[1, 3] += a13
    out_a[2, 2] += a22
    out_a[2, 3] += a23
    out_a[3, 3] += a33
    out_b[0] += b0
    out_b[1] += b1
    out_b[2] += b2
    out_b[3] += b3
    out_total[0] += objective
    out_total[1] += squares


@compiled
def solve_in_box(a: F64, b: F64, low: F64, high: F64, out: F64) -> None:
    """Minimise ½·dᵀAd - b·d for low ≤ d ≤ high by cyclic coordinate descent; A positive definite."""
    n = b.shape[0]
    for k in range(n):
        out[k] = min(max(0.0, low[k]), high[k])
    for _ in range(10_000):
        change = 0.0
        for k in range(n):
            gradient = b[k]
            for m in range(n):
                gradient -= a[k, m] * out[m]
            value = min(max(out[k] + gradient / a[k, k], low[k]), high[k])
            change = max(change, abs(value - out[k]))
            out[k] = value
        if change < 1e-12:
            break
