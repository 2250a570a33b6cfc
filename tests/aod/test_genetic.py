"""The genetic search: it never loses its best, repeats itself, beats guessing, and stops when told."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aod.chromosome import N_GENES, from_params, from_unit, to_unit
from aod.errors import GAConfigError
from aod.genetic import Fitness, GAConfig, GAResult, Generation, run_ga
from rtscore import GAParams

START = from_params(GAParams.default())[None, :]


def bowl(seed: int) -> Fitness:
    """A smooth function with one optimum somewhere inside the cube, 0 there and lower elsewhere."""
    optimum = np.random.default_rng(seed).uniform(0.1, 0.9, N_GENES)
    return lambda weights: -((to_unit(weights) - optimum) ** 2).sum(axis=1)


def waves(seed: int) -> Fitness:
    """The bowl with a local optimum every eighth of each axis."""
    optimum = np.random.default_rng(seed).uniform(0.1, 0.9, N_GENES)

    def fitness(weights: np.ndarray) -> np.ndarray:
        d = to_unit(weights) - optimum
        return -(10.0 * d**2 + 0.3 * (1.0 - np.cos(16.0 * np.pi * d))).sum(axis=1)

    return fitness


def plateau(_: np.ndarray) -> np.ndarray:
    return np.zeros(len(_))


def same(first: GAResult, second: GAResult) -> bool:
    return (
        first.best.tobytes() == second.best.tobytes()
        and first.fitness == second.fitness
        and first.generations == second.generations
        and first.stopped == second.stopped
    )


@settings(deadline=None)
@given(st.integers(0, 2**32), st.integers(4, 30), st.integers(0, 12), st.floats(0, 1), st.floats(0, 1))
def test_the_best_fitness_never_falls(
    seed: int, size: int, count: int, mutation: float, cross: float
) -> None:
    fitness = waves(seed)
    config = GAConfig(size, count, mutation, cross, patience=100)
    result = run_ga(fitness, START, config, seed=seed)
    best = [generation.best for generation in result.generations]
    assert best == sorted(best)
    assert len(best) == count + 1
    assert result.fitness == best[-1] == fitness(result.best[None, :])[0]
    assert result.fitness >= fitness(START)[0]
    assert [generation.number for generation in result.generations] == list(range(count + 1))
    assert all(each.mean <= each.best + 1e-12 for each in result.generations)


def test_fitness_rises_over_the_first_generations() -> None:
    gains = []
    for seed in range(10):
        best = [generation.best for generation in run_ga(bowl(seed), START, seed=seed).generations]
        gains.append((best[5] - best[0]) / -best[0])
    assert np.median(gains) > 0.3, gains


@pytest.mark.parametrize("fitness", [bowl(7), waves(7), plateau])
def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(fitness: Fitness) -> None:
    assert same(run_ga(fitness, START, seed=3), run_ga(fitness, START, seed=3))
    if fitness is not plateau:
        assert not same(run_ga(fitness, START, seed=3), run_ga(fitness, START, seed=4))


@pytest.mark.parametrize("function", [bowl, waves])
def test_it_finds_the_region_of_the_optimum(function: type[Fitness]) -> None:
    for seed in range(5):
        fitness = function(seed)  # type: ignore[call-arg]
        result = run_ga(fitness, START, GAConfig(40, 100, patience=100), seed=seed)
        optimum = np.random.default_rng(seed).uniform(0.1, 0.9, N_GENES)
        distance = np.abs(to_unit(result.best) - optimum)
        assert np.median(distance) < 0.05, f"seed {seed}"


@pytest.mark.parametrize("function", [bowl, waves])
def test_with_the_defaults_it_beats_as_many_random_guesses(function: type[Fitness]) -> None:
    won = 0
    for seed in range(30):
        fitness = function(1000 + seed)  # type: ignore[call-arg]
        result = run_ga(fitness, START, seed=seed)
        guesses = from_unit(np.random.default_rng(seed).random((result.generations[-1].evaluations, N_GENES)))
        won += result.fitness > fitness(guesses).max()
    assert won >= 25


def test_a_good_start_is_never_lost() -> None:
    optimum = np.array([[1.5, 0.2, 0.1, 1.9, 300.0, 0.0, 50.0, 0.01, 7.0, 900.0, 0.5, 0.25]])
    target = to_unit(optimum[0])

    def fitness(weights: np.ndarray) -> np.ndarray:
        return -np.abs(to_unit(weights) - target).sum(axis=1)

    result = run_ga(fitness, np.concatenate([START, optimum]))
    assert result.best.tobytes() == optimum[0].tobytes()
    assert result.fitness == 0.0


def test_when_all_are_equal_the_most_trusted_start_is_the_answer() -> None:
    result = run_ga(plateau, START)
    assert result.best.tobytes() == START[0].tobytes()
    assert result.stopped == "no improvement"
    assert run_ga(plateau, START, GAConfig(500, 3)).best.tobytes() == START[0].tobytes()
    assert result.generations[-1].number == GAConfig().patience


def test_a_fitness_of_nan_is_the_worst_and_all_nan_keeps_the_start() -> None:
    def half(weights: np.ndarray) -> np.ndarray:
        return np.where(weights[:, 0] > 1.0, np.nan, -weights[:, 0])

    result = run_ga(half, START, seed=1)
    assert result.best[0] <= 0.1
    assert np.isfinite([result.fitness, result.generations[0].mean]).all()
    hopeless = run_ga(lambda weights: np.full(len(weights), np.nan), START)
    assert hopeless.best.tobytes() == START[0].tobytes()
    assert hopeless.fitness == -np.inf


def test_only_children_are_evaluated_and_the_population_keeps_its_size() -> None:
    sizes: list[int] = []

    def fitness(weights: np.ndarray) -> np.ndarray:
        sizes.append(len(weights))
        return bowl(0)(weights)

    result = run_ga(fitness, START, GAConfig(population_size=21))
    assert sizes == [21] + [19] * 10
    assert result.generations[-1].evaluations == sum(sizes)


def test_crossover_spreads_two_children_evenly_around_the_middle_of_their_parents() -> None:
    judged: list[np.ndarray] = []

    def fitness(weights: np.ndarray) -> np.ndarray:
        judged.append(to_unit(weights))
        return np.zeros(len(weights))

    for seed in range(20):
        judged.clear()
        parents = from_unit(np.random.default_rng(seed).uniform(0.4, 0.6, (4, N_GENES)))
        run_ga(fitness, parents, GAConfig(4, 1, mutation_rate=0.0, crossover_rate=1.0), seed=seed)
        first, second = judged[1]
        pairs = [judged[0][i] + judged[0][j] for i in range(4) for j in range(4)]
        assert any(np.allclose(first + second, pair, atol=1e-9) for pair in pairs), f"seed {seed}"


def test_cancelling_stops_before_the_next_generation_with_the_best_so_far() -> None:
    event = threading.Event()
    seen: list[Generation] = []

    def progress(generation: Generation) -> None:
        seen.append(generation)
        if generation.number == 2:
            event.set()

    result = run_ga(bowl(0), START, cancelled=event.is_set, progress=progress)
    assert result.stopped == "cancelled"
    assert result.generations == tuple(seen)
    assert len(seen) == 3
    assert result.fitness == seen[-1].best


def test_cancelled_before_it_began_it_answers_with_the_start() -> None:
    result = run_ga(bowl(0), START, cancelled=lambda: True)
    assert result.best.tobytes() == START[0].tobytes()
    assert result.generations == ()
    assert result.fitness == -np.inf


def test_more_starts_than_places_keep_the_most_trusted() -> None:
    starts = from_unit(np.random.default_rng(0).random((9, N_GENES)))
    result = run_ga(lambda w: (w == starts[3]).all(axis=1).astype(float), starts, GAConfig(4, 0))
    assert result.fitness == 1.0


@pytest.mark.parametrize("shape", [(1, 11), (0, 12), (13,)])
def test_a_start_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"start has shape .*\(k, 12\)"):
        run_ga(plateau, np.zeros(shape))


def test_a_fitness_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(3,\); \(20,\) was wanted"):
        run_ga(lambda weights: np.zeros(3), START)


def test_settings_are_read_under_the_names_of_the_environment() -> None:
    env = {
        "GA_POPULATION_SIZE": "50",
        "GA_GENERATIONS": "7",
        "GA_MUTATION_RATE": "0.25",
        "GA_CROSSOVER_RATE": "1",
        "GA_EPOCH_INTERVAL": "60s",
    }
    assert GAConfig.from_env(env) == GAConfig(50, 7, 0.25, 1.0)
    assert GAConfig.from_env({}) == GAConfig(20, 10, 0.1, 0.7)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("GA_POPULATION_SIZE", "3"),
        ("GA_POPULATION_SIZE", "2e1"),
        ("GA_GENERATIONS", "-1"),
        ("GA_MUTATION_RATE", "1.5"),
        ("GA_MUTATION_RATE", "nan"),
        ("GA_CROSSOVER_RATE", ""),
    ],
)
def test_a_bad_setting_is_named_with_its_value(key: str, value: str) -> None:
    with pytest.raises(GAConfigError, match=f"{key}='{value}'"):
        GAConfig.from_env({key: value})
