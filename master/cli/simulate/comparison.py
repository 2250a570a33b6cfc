"""Every policy on every load, queue order and seed, and what the seeds say together."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import NormalDist
from typing import Protocol

import msgspec
import numpy as np

from aod._njit import F64
from aod.epoch import EpochReport, run_ga_epoch
from aod.genetic import GAConfig, Generation
from aod.judged import judged
from aod.policies import Policy
from aod.replay import QueueOrder, Replay, Replayer, Scores, Summary
from master.cli.simulate.sources import Case, Source
from rtscore.params import GAParams

RTS, UNTRAINED, RECORDED = "rts", "rts-untrained", "recorded"
PLAYERS = (RTS, UNTRAINED, *(policy.label for policy in Policy if policy is not Policy.RTS))
"""What can be compared: the policies, and rts with the default parameters."""

MIN_SEEDS = 5
"""Without so many seeds no interval is stated."""


class Advance(Protocol):
    """Told how many steps were done, and of what."""

    def __call__(self, steps: int, what: str) -> None: ...


FIGURES = (
    "sla",
    "misses",
    "wait_mean_s",
    "wait_p95_s",
    "slowdown_p95",
    "utilisation",
    "overload",
    "unplaced",
    "decisions_per_s",
)
"""Those of `Summary` that are reported with an interval; all are in the runs."""


class Figure(msgspec.Struct, frozen=True):
    """A mean over the seeds, and half the width of its 95 % confidence interval; None of too few seeds."""

    mean: float
    half_width: float | None


class Run(msgspec.Struct, frozen=True):
    """One replay: its seed, and what came of it."""

    seed: int
    summary: Summary


class Row(msgspec.Struct, frozen=True):
    """One policy under one load (None: as recorded) and queue order."""

    load: float | None
    queue: str
    policy: str
    figures: dict[str, Figure]
    runs: tuple[Run, ...]


class Learned(msgspec.Struct, frozen=True):
    """What the epoch before the replays of a load and seed came to."""

    load: float | None
    seed: int
    verdict: str
    reason: str
    records: int
    generations: tuple[Generation, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Map:
    """A learned affinity, shape (6, workers), and the planted speed; None when nobody knows it."""

    worker_ids: tuple[str, ...]
    affinity_tw: F64
    speed_tw: F64 | None


@dataclass(slots=True)
class Comparison:
    """All that was found; `waits` has the pooled waits in seconds, infinite of tasks that never ran."""

    seeds: tuple[int, ...]
    tasks: int = 0
    workers: int = 0
    rows: list[Row] = field(default_factory=list)
    learned: list[Learned] = field(default_factory=list)
    waits: dict[tuple[float | None, str, str], F64] = field(default_factory=dict)
    affinity: Map | None = None


def compare(
    source: Source,
    loads: Sequence[float | None],
    orders: Sequence[QueueOrder],
    players: Sequence[str],
    seeds: int,
    params: GAParams | None = None,
    config: GAConfig | None = None,
    advance: Advance = lambda steps, what: None,
) -> Comparison:
    """Replay them all.

    Parameters
    ----------
    players : sequence of str
        Of `PLAYERS`.
    params : GAParams, optional
        Those of `rts`; when None an epoch learns them from the case's past.
    config : GAConfig, optional
        Of the search in such an epoch; the default when None.
    advance : callable
        Told how many of `count_steps` steps were done, and of what.

    Raises
    ------
    ValueError
        When the source has no case of a load.
    """
    found = Comparison(seeds=tuple(range(1, seeds + 1)))
    for load in loads:
        runs: dict[tuple[str, str], list[Run]] = {}
        waits: dict[tuple[str, str], list[F64]] = {}
        for seed in found.seeds:
            where = f"{at_load(load)}, seed {seed}"
            case = source.case(load, seed)
            found.tasks, found.workers = len(case.tasks) - case.since, len(case.machines)
            of_rts = params
            if params is None and RTS in players:
                report = _learn(case, seed, config or GAConfig(), partial(advance, what=f"{where}: learning"))
                of_rts = report.params
                found.learned.append(_learned(load, seed, report))
            if of_rts is not None and (of_rts.affinity or of_rts.penalty) and found.affinity is None:
                found.affinity = _map(case, of_rts)
            if case.recorded is not None:
                key = (RECORDED, RECORDED)
                recorded = judged(case.recorded, case.since)
                runs[key] = [Run(seed, _with_failures(recorded.summary(), case))]
                waits[key] = [_waits(recorded)]
            for order in orders:
                replayer = Replayer(case.machines, case.tasks, order)
                for player in players:
                    replay = judged(play(replayer, player, seed, of_rts), case.since)
                    runs.setdefault((str(order), player), []).append(Run(seed, replay.summary()))
                    waits.setdefault((str(order), player), []).append(_waits(replay))
                    advance(1, f"{where}: {player}")
        for (queue, player), of in runs.items():
            figures = {name: interval([getattr(run.summary, name) for run in of]) for name in FIGURES}
            found.rows.append(Row(load, queue, player, figures, tuple(of)))
            found.waits[load, queue, player] = np.concatenate(waits[queue, player])
    return found


def count_steps(
    loads: Sequence[float | None],
    orders: Sequence[QueueOrder],
    players: Sequence[str],
    seeds: int,
    learns: GAConfig | None,
) -> int:
    """How many steps `compare` takes; `learns` is the configuration of its epochs, None without any."""
    each = len(orders) * len(players) + (_epoch_steps(learns) if learns else 0)
    return len(loads) * seeds * each


def play(replayer: Replayer, player: str, seed: int, params: GAParams | None) -> Replay:
    """One replay of one of `PLAYERS`; `params` are those of rts."""
    if player == UNTRAINED:
        return replayer.run(Policy.RTS, seed=seed)
    policy = Policy.of(player)
    return replayer.run(policy, params if policy is Policy.RTS else None, seed=seed)


def interval(values: Sequence[float]) -> Figure:
    """The mean and the half width of its 95 % confidence interval, by Student's t."""
    n = len(values)
    mean = float(np.mean(values))
    if n < MIN_SEEDS:
        return Figure(mean, None)
    return Figure(mean, t_quantile(n - 1) * float(np.std(values, ddof=1)) / math.sqrt(n))


def t_quantile(freedom: int) -> float:
    """Student's t at 97.5 %, by its expansion in 1/freedom: within 0.001 from 4 degrees of freedom on."""
    z, v = NormalDist().inv_cdf(0.975), float(freedom)
    return (
        z
        + (z**3 + z) / (4 * v)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3)
        + (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / (92160 * v**4)
    )


def at_load(load: float | None) -> str:
    """How tables, plots and the bar name a load."""
    return "as recorded" if load is None else f"load {percent(load)}"


def percent(share: float) -> str:
    """0.7 as 70 %, 0.725 as 72.5 %."""
    return f"{100 * share:.4g} %"


def _learn(case: Case, seed: int, config: GAConfig, advance: Callable[[int], None]) -> EpochReport:
    done = 0

    def progress(_: Generation) -> None:
        nonlocal done
        done += 1
        advance(1)

    machines = case.machines
    totals: Mapping[str, tuple[float, float, float, float]] = {
        name: tuple(row) for name, row in zip(machines.worker_ids, machines.totals.tolist(), strict=True)
    }
    report = run_ga_epoch(case.past(), totals, config=config, seed=seed, progress=progress)
    # A search that stops early has fewer generations than were counted on.
    advance(_epoch_steps(config) - done)
    return report


def _epoch_steps(config: GAConfig) -> int:
    return config.generations + 1


def _learned(load: float | None, seed: int, report: EpochReport) -> Learned:
    return Learned(load, seed, report.verdict, report.reason, report.usable, report.generations)


def _map(case: Case, params: GAParams) -> Map:
    machines = case.machines
    scores = Scores.of(params, machines.worker_ids)
    return Map(machines.worker_ids, scores.affinity_tw, 1.0 / machines.slowdown_tw if case.truth else None)


def _waits(replay: Replay) -> F64:
    return np.where(replay.ran, replay.start - replay.workload.arrival, np.inf)


def _with_failures(recorded: Summary, case: Case) -> Summary:
    """A run that failed in time has missed its deadline too, which only the history knows."""
    assert case.recorded_met is not None
    met, n = int(case.recorded_met.sum()), len(case.recorded_met)
    return msgspec.structs.replace(recorded, sla=met / n, misses=n - met)
