"""Single calls timed in interleaved rounds, so that a drifting machine slows all peers alike."""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from itertools import cycle
from statistics import median

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers import Peer

LEAST_CALLS = 3  # of a peer in a round, however slow it is


def time_calls(peers: Sequence[Peer], rounds: int, seconds: float) -> dict[str, NDArray[np.int64]]:
    """Nanoseconds of single calls, per peer.

    Every call decides another task, so that no branch predictor or cache knows the answer; the clock is read
    around each, and its own cost (`clock_ns`) is in every figure.

    Parameters
    ----------
    rounds : int
        Each peer gets one turn in each, and another peer begins.
    seconds : float
        Length of a turn.
    """
    clock = time.perf_counter_ns
    turn_ns = int(seconds * 1e9)
    arguments = [cycle(peer.args) for peer in peers]
    samples: list[list[int]] = [[] for _ in peers]
    for peer, supply in zip(peers, arguments, strict=True):
        for _ in range(LEAST_CALLS):
            peer.call(*next(supply))
    collecting = gc.isenabled()
    gc.disable()
    try:
        for turn in range(rounds):
            for offset in range(len(peers)):
                index = (turn + offset) % len(peers)
                call, supply, kept = peers[index].call, arguments[index], samples[index]
                end = clock() + turn_ns
                least = len(kept) + LEAST_CALLS
                after = 0
                while after < end or len(kept) < least:
                    args = next(supply)
                    before = clock()
                    call(*args)
                    after = clock()
                    kept.append(after - before)
    finally:
        if collecting:
            gc.enable()
    return {peer.name: np.array(kept) for peer, kept in zip(peers, samples, strict=True)}


def clock_ns() -> float:
    """What reading the clock twice costs: the part of each figure that is not the call."""
    clock = time.perf_counter_ns
    return median(-(clock() - clock()) for _ in range(10_000))
