"""What the master asks the trainer, and what it is told: one line of JSON each way."""

from __future__ import annotations

from typing import Any

import msgspec

Totals = tuple[float, float, float, float]


class EpochRequest(msgspec.Struct, frozen=True, kw_only=True, tag="epoch"):
    """Learn from what finished in [since, until).

    Attributes
    ----------
    store : str
        The SQLite file; the trainer only reads it.
    workers : mapping of worker id to (cores, GiB, devices, GiB of storage)
        The cluster as it is now.
    params : object
        Those in use, in the layout of the parameter file.
    """

    store: str
    since: float
    until: float
    workers: dict[str, Totals]
    params: dict[str, Any]
    seed: int
    population_size: int
    generations: int
    mutation_rate: float
    crossover_rate: float


class EpochProgress(msgspec.Struct, frozen=True, kw_only=True, tag="progress"):
    """A generation of the search that an epoch has judged; 0 is the initial population.

    `best` and `mean` are None where no candidate could be judged.
    """

    generation: int
    best: float | None
    mean: float | None


class EpochReply(msgspec.Struct, frozen=True, kw_only=True):
    """What an epoch found.

    Attributes
    ----------
    verdict : str
        "accepted", "kept", "not enough data", "cancelled" or "failed".
    reason : str
        A sentence.
    params : object or None
        The new set in the layout of the parameter file, if accepted.
    model : object or None
        The runtime model of the window (`RuntimeModel.to_document`), if there is enough to learn it from.
    evidence : object
        Counts, regression, course of the search, and the judgement of both sets.
    """

    verdict: str
    reason: str
    params: dict[str, Any] | None = None
    model: dict[str, Any] | None = None
    evidence: dict[str, Any] = {}


class ComparisonRequest(msgspec.Struct, frozen=True, kw_only=True, tag="comparison"):
    """Replay the tasks that were submitted and finished in [since, until) under several parameter sets.

    Attributes
    ----------
    store, workers : as of an `EpochRequest`
    sets : list of object
        In the layout of the parameter file.
    """

    store: str
    since: float
    until: float
    workers: dict[str, Totals]
    sets: list[dict[str, Any]]


class ComparisonReply(msgspec.Struct, frozen=True, kw_only=True):
    """The share of deadlines met under each set, in the order of the request; why not, when it failed."""

    sla: list[float]
    failed: str = ""
