"""One epoch of learning: a history in, parameters out, and the evidence for them.

The genetic algorithm is judged by replaying the older 70 % of the tasks, and its winner once more on the
newer 30 %, against the parameters in use. Only a winner that is better there by the margin goes live; its
affinities and penalties are then made anew, with the same weights, from the whole window.

The two are compared from an empty cluster. What is promised of the winner is of a cluster that the older
tasks have filled, as the live one is; there the parameters in use would repeat the recorded course to the
second, and against that a set that only moves tasks looks better: on identical workers 4 of 5 were accepted.

What a candidate believes of the workers and how long tasks run there in its replay never come from the same
records: in the search, beliefs are made of one half of the older tasks and the runtime model of the other; in
the judgement, of the older and of the newer. From the same records luck looks like speed twice over, and on
identical workers sets that chase it were accepted (13.8 % of deadlines missed against 11.7 %); on workers of
planted speeds the misses fell from 1.5 times the oracle's to the oracle's.

No store, no files, no clock but for the duration.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Literal

import msgspec
import numpy as np

from aod.chromosome import initial_weights, to_params
from aod.components import Components, affinity_mapping, compute_components
from aod.fitness import FitnessWeights, Judge, Terms
from aod.genetic import GAConfig, Generation, run_ga
from aod.history import History
from aod.theta import ThetaFit, train_theta
from aod.transport import Totals, totals_seen
from rtscore.params import GAParams

MIN_TASKS = 100
"""Usable records without which an epoch learns nothing; a guess: 30 remain to judge on."""

OLDER = 0.7
MARGIN = 0.01

Verdict = Literal["accepted", "kept", "not enough data", "cancelled"]


class EpochReport(msgspec.Struct, frozen=True):
    """What an epoch found.

    Parameters
    ----------
    verdict, reason : str
        What became of the parameters, and why, in a sentence.
    params : GAParams
        Those to use from now on: new if accepted, else the ones that were in use.
    records, usable, left_out
        Of the history; left_out maps a reason to its count.
    regression : mapping
        `ThetaFit.report()` of the whole window: θ, R², and per type records, spread and scale.
    generations : tuple of Generation
        Fitness on the older tasks.
    stopped : str
        Why the search ended, as in `GAResult`.
    candidate, current : Terms, optional
        The winner and the parameters in use on the newer tasks, from an empty cluster.
    promised : Terms, optional
        What an accepted set makes of the newer tasks in a cluster that the older ones have filled.
    """

    verdict: Verdict
    reason: str
    params: GAParams
    seed: int
    records: int
    usable: int
    left_out: dict[str, int]
    workers: int
    regression: dict[str, Any] = {}
    generations: tuple[Generation, ...] = ()
    stopped: str = ""
    candidate: Terms | None = None
    current: Terms | None = None
    promised: Terms | None = None
    duration_s: float = 0.0

    @property
    def accepted(self) -> bool:
        """Whether the parameters are new."""
        return self.verdict == "accepted"


def run_ga_epoch(
    history: History,
    workers: Totals | None = None,
    params: GAParams | None = None,
    config: GAConfig | None = None,
    *,
    seed: int = 0,
    weights: FitnessWeights | None = None,
    margin: float = MARGIN,
    cancelled: Callable[[], bool] = lambda: False,
    progress: Callable[[Generation], None] = lambda _: None,
) -> EpochReport:
    """Learn from a history.

    The same history, workers, parameters, configuration and seed give the same parameters, byte for byte.

    Parameters
    ----------
    history : History
        The window to learn from; records that cannot be used are left out and counted.
    workers : mapping of worker id to (cpu, memory, gpu, storage), optional
        The cluster as it is now, in cores, GiB, devices and GiB; when None, what the history shows of it.
    params : GAParams, optional
        Those in use; the defaults when None.
    margin : float
        A winner must be better by this part of the fitness of those in use.
    cancelled : callable
        Asked before each generation; the parameters in use stay.
    progress : callable
        Told after each generation.
    """
    began = time.perf_counter()
    in_use = params or GAParams.default()
    found = history.usable()
    part = history.take(found.mask)
    part = part.take(np.argsort(part.arrival, kind="stable"))
    totals = totals_seen(part) if workers is None else workers

    def report(verdict: Verdict, reason: str, **more: Any) -> EpochReport:
        return EpochReport(
            verdict=verdict,
            reason=reason,
            params=more.pop("params", in_use),
            seed=seed,
            records=len(history),
            usable=len(part),
            left_out=dict(found.left_out),
            workers=len(totals),
            duration_s=time.perf_counter() - began,
            **more,
        )

    if len(part) < MIN_TASKS:
        return report("not enough data", f"{len(part)} records can be used; {MIN_TASKS} are needed")
    if not totals:
        return report("not enough data", "no workers are registered")
    cut = int(len(part) * OLDER)
    older, newer = part.take(slice(0, cut)), part.take(slice(cut, None))
    fit = train_theta(part, defaults=in_use.theta)
    believed, true = older.take(slice(0, None, 2)), older.take(slice(1, None, 2))
    search = run_ga(
        Judge(older, train_theta(true, defaults=in_use.theta), totals, weights).fitness(
            compute_components(believed)
        ),
        initial_weights(in_use, train_theta(older, defaults=in_use.theta).theta),
        config,
        seed=seed,
        cancelled=cancelled,
        progress=progress,
    )
    course: dict[str, Any] = {
        "regression": fit.report(),
        "generations": search.generations,
        "stopped": search.stopped,
    }
    if search.stopped == "cancelled":
        return report("cancelled", f"cancelled after {len(search.generations)} generations", **course)
    newer_fit = train_theta(newer, defaults=in_use.theta)
    judge = Judge(newer, newer_fit, totals, weights)
    winner = judge.scores(search.best, compute_components(older))
    candidate, current = judge.judge_all([winner, in_use])
    course |= {"candidate": candidate, "current": current}
    gain, wanted = candidate.fitness - current.fitness, margin * abs(current.fitness)
    compared = (
        f"fitness {candidate.fitness:.4f} against {current.fitness:.4f} in use, on {len(newer)} newer tasks"
    )
    if not gain > wanted:
        return report("kept", f"{compared}; better by {wanted:.4f} is needed", **course)
    new = _published(search.best, compute_components(part), fit, seed, candidate, current)
    promised = Judge(part, newer_fit, totals, weights, since=cut).judge(winner)
    return report("accepted", compared, params=new, promised=promised, **course)


def _published(
    weights: np.ndarray[Any, np.dtype[np.float64]],
    components: Components,
    fit: ThetaFit,
    seed: int,
    candidate: Terms,
    current: Terms,
) -> GAParams:
    """The new set, with its evidence; nothing in it depends on when it was made."""
    return to_params(
        weights,
        affinity_mapping(components.worker_ids, components.affinity(*weights[6:9].tolist())),
        dict(zip(components.worker_ids, components.penalty(*weights[9:12].tolist()).tolist(), strict=True)),
        {
            "seed": seed,
            "records": fit.used,
            "candidate": msgspec.to_builtins(candidate),
            "replaced": msgspec.to_builtins(current),
        },
    )
