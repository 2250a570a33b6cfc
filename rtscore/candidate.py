"""The workers that a task could go to: each with the terms of its risk, and all of them counted."""

from __future__ import annotations

from typing import NamedTuple

import msgspec


class Candidate(msgspec.Struct, frozen=True, gc=False):
    """A feasible worker; ``risk = alpha * lateness_s + ((beta * load - affinity) + penalty)`` is finite."""

    worker_id: str
    runtime_s: float
    lateness_s: float
    load: float
    affinity: float
    penalty: float
    risk: float


class Fit(NamedTuple):
    """On how many of all workers a task fits, how many take no work, and how many of the others lack what."""

    workers: int
    fitting: int
    closed: int
    lacking: tuple[int, int, int, int]
    """Of cpu, memory, gpu and storage; a worker that is short of two is in both."""
