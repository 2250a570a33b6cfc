"""The placement policies that are compared: ours by the kernel, eight others, and one that knows the truth.

All are compiled functions of one signature: a worker that fits, as a slot, or `NOTHING_FITS`. A policy
decides only where a task goes; queue, order and reservations are the replay's and the same for all.

===================  ======================================================================================
rts                  least risk, by the production kernel; round-robin when no risk is finite
round-robin          the next that fits after the last chosen
random               any that fits, equally likely
least-loaded         the least load
least-allocated      the largest mean share of cpu and memory left after the task
best-fit             the smallest sum of shares left after the task
first-fit            the lowest slot
tetris               the largest dot product of what is asked and what is available, as shares
power-of-two         the less loaded of two random ones that fit
oracle               the least true runtime, from planted speeds and sensitivities that no one knows
===================  ======================================================================================

Of equals the lowest slot is chosen. numba's cache of the replay does not notice a change in this file: touch
`_replay_njit.py` after one.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aod._njit import F64, I64, compiled
from rtscore import numba_api
from rtscore.numba_api import NO_FINITE_RISK, NOTHING_FITS

_select, _next_feasible = numba_api.select, numba_api.next_feasible

CURSOR, FALLBACKS = 0, 1


class Policy(IntEnum):
    """The policies, in the order of the table above."""

    RTS = 0
    ROUND_ROBIN = 1
    RANDOM = 2
    LEAST_LOADED = 3
    LEAST_ALLOCATED = 4
    BEST_FIT = 5
    FIRST_FIT = 6
    TETRIS = 7
    POWER_OF_TWO = 8
    ORACLE = 9

    @property
    def label(self) -> str:
        """The name in tables and on the command line."""
        return "tetris" if self is Policy.TETRIS else self.name.lower().replace("_", "-")

    @classmethod
    def of(cls, label: str) -> Policy:
        """The policy of a name.

        Raises
        ------
        ValueError
            When there is none; the message names those that there are.
        """
        for policy in cls:
            if policy.label == label:
                return policy
        raise ValueError(f"policy {label!r} came; allowed are {', '.join(p.label for p in cls)}")


WORKER = np.dtype(
    [
        *((name, np.float64) for name in ("total_cpu", "total_gib", "total_gpu", "total_storage")),
        # Since when it is overloaded, or infinity; and for how many seconds it was.
        *((name, np.float64) for name in ("over_since", "overload_s")),
        *((name, np.int64) for name in ("open", "is_grown")),
        # The ends of the list of its running tasks.
        *((name, np.int64) for name in ("first_run", "last_run")),
        # Storage of two lists of workers: those that gained room, and those that a pass looks at.
        *((name, np.int64) for name in ("grown", "taken")),
    ]
)
"""A worker of a replay. One record array, not an array per field: numba compiles it three times as fast."""


class World(NamedTuple):
    """What a policy may look at.

    `cpu` to `load` are views of the table's own columns (available amounts, load), `workers` has the dtype
    `WORKER`. `memory` holds the round-robin cursor and the count of fallbacks, `rng` the random state.
    """

    table: int
    policy: int
    cpu: F64
    gib: F64
    gpu: F64
    storage: F64
    load: F64
    workers: NDArray[np.void]
    slowdown_tw: F64
    theta: F64
    memory: I64
    rng: NDArray[np.uint64]


@compiled
def fits(w: World, j: int, cpu: float, gib: float, gpu: float, storage: float) -> bool:
    """Whether worker j is open and has room."""
    return bool(
        w.workers[j].open
        and cpu <= w.cpu[j]
        and gib <= w.gib[j]
        and gpu <= w.gpu[j]
        and storage <= w.storage[j]
    )


@compiled
def stretch(w: World, j: int, cpu: float, gib: float, gpu: float) -> float:
    """1 + θ·x of a request on worker j as it is now, by the true θ."""
    a = cpu / (w.cpu[j] if w.cpu[j] > 0.0 else 1.0)
    b = gib / (w.gib[j] if w.gib[j] > 0.0 else 1.0)
    c = gpu / (w.gpu[j] if w.gpu[j] > 0.0 else 1.0)
    return float(1.0 + w.theta[0] * a + w.theta[1] * b + w.theta[2] * c + w.theta[3] * w.load[j])


@compiled
def uniform(w: World) -> float:
    """The next random number in [0, 1): xorshift64*."""
    x = w.rng[0]
    x ^= x >> np.uint64(12)
    x ^= x << np.uint64(25)
    x ^= x >> np.uint64(27)
    w.rng[0] = x
    return float((x * np.uint64(2685821657736338717)) >> np.uint64(11)) / 9007199254740992.0


@compiled
def share(amount: float, total: float) -> float:
    """Amount/total; 0 of a resource that the worker does not have."""
    return amount / total if total > 0.0 else 0.0


@compiled
def rts(
    w: World, cpu: float, gib: float, gpu: float, storage: float, type_: int, tau: float, slack: float
) -> int:
    """See the module."""
    slot = _select(w.policy, cpu, gib, gpu, storage, type_, tau, slack)
    if slot == NO_FINITE_RISK:
        w.memory[FALLBACKS] += 1
        return round_robin(w, cpu, gib, gpu, storage, type_, tau, slack)
    return int(slot) if slot >= 0 else NOTHING_FITS


@compiled
def round_robin(
    w: World, cpu: float, gib: float, gpu: float, storage: float, type_: int, tau: float, slack: float
) -> int:
    """See the module."""
    slot = _next_feasible(w.table, w.memory[CURSOR], cpu, gib, gpu, storage)
    if slot >= 0:
        w.memory[CURSOR] = slot + 1
        return int(slot)
    return NOTHING_FITS


@compiled
def random(
    w: World, cpu: float, gib: float, gpu: float, storage: float, type_: int, tau: float, slack: float
) -> int:
    """See the module."""
    chosen, seen = NOTHING_FITS, 0
    for j in range(w.load.shape[0]):
        if fits(w, j, cpu, gib, gpu, storage):
            seen += 1
            if uniform(w) * seen < 1.0:
                chosen = j
    return chosen


@compiled
def least_loaded(
    w: World, cpu: float, gib: float, gpu: float, storage: float, type_: int, tau: float, slack: float
) -> int:
    """See the module."""
    chosen, best = NOTHING_FITS, np.inf
    for j in range(w.load.shape[0]):
        if w.load[j] < best and fits(w, j, cpu, gib, gpu, storage):
            chosen, best = j, w.load[j]
    return chosen


@compiled
def least_allocated(
    w: World, cpu: float, gib: float, gpu: float, storage: float, type_: int, tau: float, slack: float
) -> int:
    """See the module."""
    chosen, best = NOTHING_FITS, -np.inf
    for j in range(w.load.shape[0]):
        if fits(w, j, cpu, gib, gpu, storage):
            left = share(w.cpu[j] - cpu, w.workers[j].total_cpu) + share(
                w.gib[j] - gib, w.workers[j].total_gib
            )
            if left > best:
                chosen, best = j, left
    return chosen


@compiled
def best_fit(
    w: World, cpu: float, gib: float, gpu: float, storage: float, type_: int, tau: float, slack: float
) -> int:
    """See the module."""
    chosen, best = NOTHING_FITS, np.inf
    for j in range(w.load.shape[0]):
        if fits(w, j, cpu, gib, gpu, storage):
            left = share(w.cpu[j] - cpu, w.workers[j].total_cpu) + share(
                w.gib[j] - gib, w.workers[j].total_gib
            )
            left += share(w.gpu[j] - gpu, w.workers[j].total_gpu)
            if left < best:
                chosen, best = j, left
    return chosen


@compiled
def first_fit(
    w: World, cpu: float, gib: float, gpu: float, storage: float, type_: int, tau: float, slack: float
) -> int:
    """See the module."""
    for j in range(w.load.shape[0]):
        if fits(w, j, cpu, gib, gpu, storage):
            return j
    return NOTHING_FITS


@compiled
def tetris(
    w: World, cpu: float, gib: float, gpu: float, storage: float, type_: int, tau: float, slack: float
) -> int:
    """See the module."""
    chosen, best = NOTHING_FITS, -np.inf
    for j in range(w.load.shape[0]):
        if fits(w, j, cpu, gib, gpu, storage):
            dot = share(cpu, w.workers[j].total_cpu) * share(w.cpu[j], w.workers[j].total_cpu)
            dot += share(gib, w.workers[j].total_gib) * share(w.gib[j], w.workers[j].total_gib)
            dot += share(gpu, w.workers[j].total_gpu) * share(w.gpu[j], w.workers[j].total_gpu)
            if dot > best:
                chosen, best = j, dot
    return chosen


@compiled
def power_of_two(
    w: World, cpu: float, gib: float, gpu: float, storage: float, type_: int, tau: float, slack: float
) -> int:
    """See the module."""
    first, second, seen = NOTHING_FITS, NOTHING_FITS, 0
    for j in range(w.load.shape[0]):
        if fits(w, j, cpu, gib, gpu, storage):
            seen += 1
            if seen == 1:
                first = j
            elif seen == 2:
                second = j
            else:
                # A reservoir of two: the new one replaces either with probability 1/seen.
                at = int(uniform(w) * seen)
                if at == 0:
                    first = j
                elif at == 1:
                    second = j
    if second == NOTHING_FITS:
        return first
    low, high = min(first, second), max(first, second)
    return high if w.load[high] < w.load[low] else low


@compiled
def oracle(
    w: World, cpu: float, gib: float, gpu: float, storage: float, type_: int, tau: float, slack: float
) -> int:
    """See the module."""
    chosen, best = NOTHING_FITS, np.inf
    for j in range(w.load.shape[0]):
        # The stretch is at least 1: most workers are out without their divisions.
        if w.slowdown_tw[type_, j] < best and fits(w, j, cpu, gib, gpu, storage):
            time = w.slowdown_tw[type_, j] * stretch(w, j, cpu, gib, gpu)
            if time < best:
                chosen, best = j, time
    return chosen


@compiled
def choose(
    which: int,
    w: World,
    cpu: float,
    gib: float,
    gpu: float,
    storage: float,
    type_: int,
    tau: float,
    slack: float,
) -> int:
    """The worker that policy number `which` chooses."""
    if which == 0:
        return rts(w, cpu, gib, gpu, storage, type_, tau, slack)
    if which == 1:
        return round_robin(w, cpu, gib, gpu, storage, type_, tau, slack)
    if which == 2:
        return random(w, cpu, gib, gpu, storage, type_, tau, slack)
    if which == 3:
        return least_loaded(w, cpu, gib, gpu, storage, type_, tau, slack)
    if which == 4:
        return least_allocated(w, cpu, gib, gpu, storage, type_, tau, slack)
    if which == 5:
        return best_fit(w, cpu, gib, gpu, storage, type_, tau, slack)
    if which == 6:
        return first_fit(w, cpu, gib, gpu, storage, type_, tau, slack)
    if which == 7:
        return tetris(w, cpu, gib, gpu, storage, type_, tau, slack)
    if which == 8:
        return power_of_two(w, cpu, gib, gpu, storage, type_, tau, slack)
    return oracle(w, cpu, gib, gpu, storage, type_, tau, slack)
