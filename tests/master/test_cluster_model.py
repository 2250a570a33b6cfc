"""The runtime model in the core: what τ learns of a run on a slow or busy worker."""

from __future__ import annotations

import random

import pytest
from core_world import World

from rtscore.runtime_model import RuntimeModel, TypeRuntime

# `slow` takes twice as long; a task that takes all of a worker's cores is stretched by 1.5.
MODEL = RuntimeModel(
    (0.5, 0.0, 0.0, 0.4), {"cpu-light": TypeRuntime(4.0, 1.0, (0.0,) * 99, (0.0,) * 99, {"slow": 2.0}, 100)}
)


def world(*workers: str) -> World:
    found = World()
    for worker_id in workers:
        found.worker(worker_id)
    return found


def tau_after(found: World, runtime_s: float, **fields: float) -> float:
    """τ of cpu-light after one run."""
    found.submit("t", **{"cpu": 4.0, **fields}, task_type="cpu-light")
    found.place()
    found.start("t")
    found.now += runtime_s
    found.finish("t", runtime_s=runtime_s)
    return found.tau.get_tau("cpu-light")


def test_tau_learns_the_runtime_of_an_average_idle_worker() -> None:
    found = world("slow")
    found.cluster.model = MODEL
    # 12 s there are 12 / (2 · 1.5) = 4 s on an average idle worker.
    assert tau_after(found, 12.0) == pytest.approx(0.2 * 4.0 + 0.8 * 5.0)


def test_the_load_that_the_task_found_is_part_of_it_and_its_own_is_not() -> None:
    found = world("w")
    found.cluster.model = MODEL
    found.running("other", "w", cpu=2.0, memory=32.0)
    record = found.store
    assert tau_after(found, 9.0, cpu=1.0) == pytest.approx(
        0.2 * 9.0 / (1.0 + 0.5 * 1.0 / 2.0 + 0.4 * record.attempts["t", 1].load_at_start) + 0.8 * 5.0
    )
    assert record.attempts["t", 1].load_at_start > 0.1


def test_without_a_model_or_for_an_unknown_type_tau_learns_what_was_measured() -> None:
    for model in (None, RuntimeModel(MODEL.theta, {})):
        found = world("slow")
        found.cluster.model = model
        assert tau_after(found, 12.0) == pytest.approx(0.2 * 12.0 + 0.8 * 5.0)


def test_tau_settles_at_the_idle_runtime_whatever_the_load_and_the_workers() -> None:
    rng = random.Random(7)
    found = world("w", "slow")
    found.cluster.model = MODEL
    for number in range(200):
        name = f"t{number}"
        if rng.random() < 0.5:
            found.submit(f"filler {number}", cpu=2.0)
            found.place()
        found.submit(name, cpu=rng.choice([1.0, 2.0]), task_type="cpu-light")
        found.place()
        found.start(name)
        attempt = found.store.attempts[name, 1]
        slowdown = 2.0 if attempt.worker_id == "slow" else 1.0
        cpu = found.store.specs[name].submission.cpu
        runtime_s = 4.0 * slowdown * (1.0 + 0.5 * cpu / attempt.cpu_avail + 0.4 * attempt.load_at_start)
        found.now += runtime_s
        found.heartbeat("w")
        found.heartbeat("slow")
        found.finish(name, runtime_s=runtime_s)
        if f"filler {number}" in found.store.specs:
            found.cancel(f"filler {number}")
            status = found.status(f"filler {number}")
            if status.worker_id:
                found.finish(f"filler {number}", success=False)
    assert found.tau.get_tau("cpu-light") == pytest.approx(4.0, rel=1e-6)


def test_a_run_that_failed_teaches_nothing() -> None:
    found = world("w")
    found.cluster.model = MODEL
    found.running("t", "w")
    found.now += 1.0
    found.finish("t", success=False, runtime_s=1.0)
    assert found.tau.get_tau("cpu-light") == 5.0
