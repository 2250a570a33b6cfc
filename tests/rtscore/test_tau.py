"""τ per type: the moving average, what it refuses to learn from, and threads."""

from __future__ import annotations

import math
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtscore import DEFAULT_TAU, TASK_TYPES, InMemoryTauStore, TauStore


def test_every_type_begins_with_its_default() -> None:
    store = InMemoryTauStore()
    assert [store.get_tau(t) for t in TASK_TYPES] == [5.0, 15.0, 20.0, 10.0, 60.0, 10.0]
    assert isinstance(store, TauStore)


def test_a_run_moves_tau_by_a_fifth_of_the_difference() -> None:
    store = InMemoryTauStore()
    store.update_tau("cpu-light", 10.0)
    assert store.get_tau("cpu-light") == 0.2 * 10.0 + 0.8 * 5.0
    assert store.get_tau("cpu-heavy") == DEFAULT_TAU["cpu-heavy"]


@pytest.mark.parametrize("runtime", [0.0, -1.0, math.nan, math.inf, -math.inf])
def test_a_runtime_that_cannot_be_teaches_nothing(runtime: float) -> None:
    store = InMemoryTauStore()
    store.update_tau("mixed", runtime)
    assert store.get_tau("mixed") == 10.0


def test_a_type_outside_the_six_teaches_nothing() -> None:
    store = InMemoryTauStore()
    store.update_tau("cpu", 1.0)
    assert [store.get_tau(t) for t in TASK_TYPES] == [DEFAULT_TAU[t] for t in TASK_TYPES]


def test_asking_for_or_setting_a_type_outside_the_six_is_an_error() -> None:
    store = InMemoryTauStore()
    with pytest.raises(ValueError, match=r"'gpu'.*gpu-inference"):
        store.get_tau("gpu")
    with pytest.raises(ValueError, match="'gpu'"):
        store.set_tau("gpu", 1.0)


@pytest.mark.parametrize("tau", [0.0, -1.0, math.nan, math.inf])
def test_tau_is_set_to_positive_seconds_only(tau: float) -> None:
    store = InMemoryTauStore()
    with pytest.raises(ValueError, match="tau of mixed"):
        store.set_tau("mixed", tau)
    assert store.get_tau("mixed") == 10.0


@pytest.mark.parametrize("lam", [0.0, -0.1, 1.1, math.nan])
def test_lambda_is_in_zero_one(lam: float) -> None:
    with pytest.raises(ValueError, match="lam"):
        InMemoryTauStore(lam=lam)


@given(st.lists(st.floats(min_value=1e-6, max_value=1e9), min_size=1, max_size=50))
def test_tau_stays_between_the_extremes_of_what_it_saw(runtimes: list[float]) -> None:
    store = InMemoryTauStore(initial={"mixed": runtimes[0]})
    for runtime in runtimes:
        store.update_tau("mixed", runtime)
    low, high = min(runtimes), max(runtimes)
    assert low * (1 - 1e-12) <= store.get_tau("mixed") <= high * (1 + 1e-12)


def test_updates_from_many_threads_are_not_lost() -> None:
    store = InMemoryTauStore(lam=0.001, initial={"mixed": 1.0})

    def learn() -> None:
        for _ in range(2_000):
            store.update_tau("mixed", 2.0)

    threads = [threading.Thread(target=learn) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.get_tau("mixed") == pytest.approx(2.0 - 0.999 ** (8 * 2_000), rel=1e-9)
