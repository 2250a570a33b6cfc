"""A genetic algorithm over the unit cube of weights: seeded, elitist, cancellable; it knows no scheduler.

A generation: parents by tournament, simulated binary crossover with genes swapped with probability ½,
polynomial mutation, and the best of the last generation kept as they are. Only children are evaluated: the
fitness of the kept is known, and must not depend on when it is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

import msgspec
import numpy as np

from aod._njit import F64
from aod.chromosome import N_GENES, from_unit, to_unit
from aod.errors import GAConfigError

Fitness = Callable[[F64], F64]
"""From weights of shape (candidates, 12) to fitness of shape (candidates,); higher is better."""

# Two survivors: one would let a lucky tournament lose the second-best line of a small population.
_ELITES = 2
_TOURNAMENT = 3
# Distribution indices: the larger, the closer children stay to parents, mutants to what they were.
_CROSSOVER_INDEX = 10.0
_MUTATION_INDEX = 15.0
# Spread, in the unit cube, of the variations of the starting weights; a tenth is a factor 4 of a log gene.
_VARIATION = 0.1


class GAConfig(msgspec.Struct, frozen=True):
    """Settings of the search; `from_env` reads them under the environment's names.

    Parameters
    ----------
    population_size : int
        4 to 10,000 (`GA_POPULATION_SIZE`).
    generations : int
        0 to 10,000, after the initial population (`GA_GENERATIONS`).
    mutation_rate, crossover_rate : float
        Probability per gene and per pair, in [0, 1] (`GA_MUTATION_RATE`, `GA_CROSSOVER_RATE`).
    patience : int
        Stop after this many generations without a better best; at least 1.

    Raises
    ------
    GAConfigError
        When one is out of bounds.
    """

    population_size: int = 20
    generations: int = 10
    mutation_rate: float = 0.1
    crossover_rate: float = 0.7
    patience: int = 5

    def __post_init__(self) -> None:
        for name, low, high in (
            ("population_size", 4, 10_000),
            ("generations", 0, 10_000),
            ("mutation_rate", 0, 1),
            ("crossover_rate", 0, 1),
            ("patience", 1, math.inf),
        ):
            value, whole = getattr(self, name), not name.endswith("_rate")
            if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
                raise GAConfigError(
                    f"{name} is {value!r}; {'an integer' if whole else 'a number'} is allowed"
                )
            if not low <= value <= high:
                raise GAConfigError(f"{name} is {value!r}; {low} to {high} is allowed")

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """The settings that an environment holds, the defaults for the others.

        Raises
        ------
        GAConfigError
            When a value is no number or out of bounds; the message names the variable.
        """
        found: dict[str, float] = {}
        for name in ("population_size", "generations", "mutation_rate", "crossover_rate"):
            key = f"GA_{name.upper()}"
            if key not in env:
                continue
            try:
                found[name] = float(env[key]) if name.endswith("_rate") else int(env[key])
                cls(**{name: found[name]})  # type: ignore[arg-type]
            except ValueError as error:
                raise GAConfigError(f"{key}={env[key]!r}: {error}") from None
        return cls(**found)  # type: ignore[arg-type]


class Generation(msgspec.Struct, frozen=True):
    """How far the search is: 0 is the initial population."""

    number: int
    best: float
    mean: float
    evaluations: int


@dataclass(frozen=True, slots=True, eq=False)
class GAResult:
    """The best weights found, shape (12,), and how the search went.

    `stopped` is `"generations"`, `"no improvement"` or `"cancelled"`. Cancelled before the initial population
    was judged, `best` is the first of the starting weights, its fitness -inf and `generations` empty.
    """

    best: F64
    fitness: float
    generations: tuple[Generation, ...]
    stopped: str


def run_ga(
    fitness: Fitness,
    start: F64,
    config: GAConfig | None = None,
    *,
    seed: int = 0,
    cancelled: Callable[[], bool] = lambda: False,
    progress: Callable[[Generation], None] = lambda _: None,
) -> GAResult:
    """Search for the weights of highest fitness.

    Parameters
    ----------
    fitness : callable
        See `Fitness`; a candidate with a fitness of NaN is the worst.
    start : float64, shape (k, 12)
        Weights that the initial population contains, the most trusted first; at least one. The rest are
        variations of them and points spread over the whole cube, half and half.
    seed : int
        The same seed, start, configuration and fitness give the same bytes.
    cancelled : callable
        Asked before each generation, for instance `threading.Event().is_set`.
    progress : callable
        Told after each generation.

    Raises
    ------
    ValueError
        When `start` has another shape, or the fitness returns one.
    """
    config = config or GAConfig()
    start = np.atleast_2d(np.asarray(start, np.float64))
    if start.shape[1] != N_GENES or not len(start):
        raise ValueError(f"start has shape {start.shape}; (k, {N_GENES}) with k ≥ 1 is allowed")
    rng = np.random.default_rng(seed)
    trusted = to_unit(start)
    points = _initial(trusted, config.population_size, rng)
    scores = np.full(len(points), -np.inf)
    todo = slice(0, len(points))
    evaluations = since_better = 0
    done: list[Generation] = []
    stopped = "generations"
    for number in range(config.generations + 1):
        if cancelled():
            stopped = "cancelled"
            break
        if number:
            points, scores = _children(points, scores, config, rng)
            todo = slice(_ELITES, len(points))
        scores[todo] = _judge(fitness, points[todo])
        evaluations += len(scores[todo])
        # Best first; stable, so that of equals the older, and at first the most trusted, leads.
        order = np.argsort(-scores, kind="stable")
        points, scores = points[order], scores[order]
        since_better = 0 if not done or scores[0] > done[-1].best else since_better + 1
        finite = scores[np.isfinite(scores)]
        mean = float(finite.mean()) if len(finite) else -math.inf
        done.append(Generation(number, float(scores[0]), mean, evaluations))
        progress(done[-1])
        if since_better >= config.patience:
            stopped = "no improvement"
            break
    if not done:
        return GAResult(from_unit(trusted[0]), -math.inf, (), stopped)
    return GAResult(from_unit(points[0]), float(scores[0]), tuple(done), stopped)


def _judge(fitness: Fitness, points: F64) -> F64:
    scores = np.asarray(fitness(from_unit(points)), np.float64)
    if scores.shape != (len(points),):
        raise ValueError(f"the fitness has shape {scores.shape}; ({len(points)},) was wanted")
    return np.where(np.isnan(scores), -np.inf, scores)


def _initial(trusted: F64, size: int, rng: np.random.Generator) -> F64:
    kept = trusted[:size]
    missing = size - len(kept)
    near = kept[np.arange(missing // 2) % len(kept)]
    near = np.clip(near + rng.normal(0.0, _VARIATION, near.shape), 0.0, 1.0)
    # A Latin hypercube: each gene's values are spread evenly, in an order of its own.
    n_far = missing - len(near)
    ranks = rng.permuted(np.tile(np.arange(n_far), (N_GENES, 1)), axis=1).T
    far = (ranks + rng.random((n_far, N_GENES))) / max(n_far, 1)
    return np.concatenate([kept, near, far])


def _children(points: F64, scores: F64, config: GAConfig, rng: np.random.Generator) -> tuple[F64, F64]:
    """The next generation: the elites with their scores, then children whose scores are not known yet."""
    n_pairs = (len(points) - _ELITES + 1) // 2
    # The population is sorted: of a tournament the lowest index wins.
    parents = rng.integers(0, len(points), (2, n_pairs, _TOURNAMENT)).min(axis=2)
    first, second = _crossed(points[parents[0]], points[parents[1]], config.crossover_rate, rng)
    children = _mutated(np.concatenate([first, second])[: len(points) - _ELITES], config.mutation_rate, rng)
    next_scores = np.full(len(points), -np.inf)
    next_scores[:_ELITES] = scores[:_ELITES]
    return np.concatenate([points[:_ELITES], children]), next_scores


def _crossed(first: F64, second: F64, rate: float, rng: np.random.Generator) -> tuple[F64, F64]:
    """Simulated binary crossover of each pair with probability `rate`; genes swapped with probability ½."""
    crosses = rng.random((len(first), 1)) < rate
    u = rng.random(first.shape)
    power = 1.0 / (_CROSSOVER_INDEX + 1.0)
    beta = np.where(u <= 0.5, 2.0 * u, 1.0 / (2.0 * (1.0 - u))) ** power
    middle, half = (first + second) / 2.0, (first - second) / 2.0 * beta
    swap = np.where(rng.random(first.shape) < 0.5, -1.0, 1.0)
    return (
        np.where(crosses, np.clip(middle + swap * half, 0.0, 1.0), first),
        np.where(crosses, np.clip(middle - swap * half, 0.0, 1.0), second),
    )


def _mutated(points: F64, rate: float, rng: np.random.Generator) -> F64:
    """Polynomial mutation of each gene with probability `rate`; it reaches the whole cube."""
    u = rng.random(points.shape)
    power = 1.0 / (_MUTATION_INDEX + 1.0)
    down = (2.0 * u + (1.0 - 2.0 * u) * (1.0 - points) ** (_MUTATION_INDEX + 1.0)) ** power - 1.0
    up = 1.0 - (2.0 * (1.0 - u) + (2.0 * u - 1.0) * points ** (_MUTATION_INDEX + 1.0)) ** power
    moved = points + np.where(u < 0.5, down, up)
    return np.clip(np.where(rng.random(points.shape) < rate, moved, points), 0.0, 1.0)
