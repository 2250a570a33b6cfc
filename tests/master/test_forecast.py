"""What the core says of a task that has not finished: when it starts, when it ends, and its chance."""

from __future__ import annotations

import pytest
from core_world import World

from master.forecast import Prediction
from rtscore.runtime_model import PERCENTS, RuntimeModel, TypeRuntime

# A runtime of 10 s, its log residual uniform in ±0.5; twice that on `slow`; θ = 0.
SPREAD = tuple((p - 50) / 100.0 for p in PERCENTS)
MODEL = RuntimeModel(
    (0.0, 0.0, 0.0, 0.0), {"cpu-light": TypeRuntime(10.0, 1.0, SPREAD, SPREAD, {"slow": 2.0}, 100)}
)


def world(*workers: str, model: RuntimeModel | None = MODEL) -> World:
    found = World()
    for worker_id in workers:
        found.worker(worker_id)
    found.cluster.model = model
    return found


def predicted(found: World, task_id: str) -> Prediction:
    prediction = found.cluster.predict(task_id, found.now)
    assert prediction is not None
    return prediction


def submit(found: World, task_id: str, within_s: float = 1e4, cpu: float = 4.0) -> Prediction:
    """Submit a task that is due so soon, let a pass go over the queue, and predict."""
    found.submit(task_id, cpu=cpu, task_type="cpu-light", deadline=found.now + within_s)
    found.place()
    return predicted(found, task_id)


def test_a_task_that_is_placed_starts_now_and_runs_as_long_as_it_does_there() -> None:
    for worker_id, runtime_s in (("w", 10.0), ("slow", 20.0)):
        found = world(worker_id)
        prediction = submit(found, "t", within_s=runtime_s)
        assert prediction.start_at == found.now
        assert prediction.finish_at == pytest.approx(found.now + runtime_s)
        assert prediction.chance == pytest.approx(0.5)


@pytest.mark.parametrize(("within_s", "chance"), [(6.0, 0.0), (8.0, 0.277), (12.84, 0.75), (1e4, 1.0)])
def test_the_chance_is_that_of_the_runtime_to_be_short_enough(within_s: float, chance: float) -> None:
    prediction = submit(world("w"), "t", within_s)
    assert prediction.chance == pytest.approx(chance, abs=0.005)


def test_what_has_passed_of_a_run_is_taken_into_account() -> None:
    found = world("w")
    submit(found, "t", within_s=12.84)
    found.start("t")
    found.now += 10.0
    later = predicted(found, "t")
    # Half of the runs have ended by then; of the others half make it.
    assert later.chance == pytest.approx(0.5, abs=0.01)
    assert later.finish_at == pytest.approx(found.now + 2.84, abs=0.05)
    found.now += 2.85
    assert predicted(found, "t").chance == 0.0


def test_a_run_that_outlasts_all_that_were_seen_has_a_chance_while_there_is_time() -> None:
    found = world("w")
    submit(found, "near", within_s=20.5)
    found.start("near")
    found.now += 20.0
    near = predicted(found, "near").chance
    assert near is not None
    assert 0.0 < near < 1.0
    other = world("w")
    submit(other, "far", within_s=1e4)
    other.start("far")
    other.now += 20.0
    assert predicted(other, "far").chance == pytest.approx(1.0, abs=1e-3)


def test_a_run_of_a_steady_kind_that_takes_twice_as_long_keeps_its_chance_while_there_is_time() -> None:
    for spread in (0.1, 0.01, 0.0):
        steady = tuple(spread * q for q in SPREAD)
        known = TypeRuntime(10.0, 0.9, steady, steady, {}, 100)
        found = world("w", model=RuntimeModel(MODEL.theta, {"cpu-light": known}))
        submit(found, "t", within_s=30.0)
        found.start("t")
        found.now += 20.0
        assert predicted(found, "t").chance == pytest.approx(0.9)
        found.now += 10.5
        assert predicted(found, "t").chance == 0.0


def test_a_task_that_only_a_drained_worker_could_take_has_no_predicted_start() -> None:
    found = World()
    found.worker("large", cpu=64.0)
    found.worker("small", cpu=4.0)
    found.cluster.model = MODEL
    found.drain("large")
    submit(found, "first")
    assert submit(found, "second").start_at > found.now
    assert submit(found, "third", cpu=32.0) == Prediction()


def test_a_task_that_is_too_large_for_every_worker_has_no_predicted_start() -> None:
    found = world("w")
    submit(found, "first")
    assert submit(found, "second").start_at > found.now
    assert submit(found, "third", cpu=1e3) == Prediction()


def test_a_run_that_outlasts_all_that_were_seen_finishes_any_moment() -> None:
    found = world("w")
    submit(found, "t")
    found.start("t")
    found.now += 60.0
    assert predicted(found, "t").finish_at == found.now


def test_runs_that_fail_lower_the_chance() -> None:
    known = TypeRuntime(10.0, 0.5, SPREAD, SPREAD, {}, 100)
    found = world("w", model=RuntimeModel(MODEL.theta, {"cpu-light": known}))
    assert submit(found, "t", within_s=1e4).chance == pytest.approx(0.5)


def test_without_a_model_tau_is_the_runtime_and_there_is_no_chance() -> None:
    found = world("w", model=None)
    prediction = submit(found, "t")
    assert prediction == Prediction(found.now, found.now + 5.0, None)


def test_a_waiting_task_starts_when_what_is_ahead_has_had_its_turn() -> None:
    found = world("w")
    for number in range(4):
        submit(found, f"t{number}", within_s=1e4 + number)
    starts = [predicted(found, f"t{number}").start_at - found.now for number in range(4)]
    # One at a time, ten seconds each, in the order of their deadlines.
    assert starts[0] == 0.0
    assert starts[1:] == pytest.approx([10.0, 20.0, 30.0], rel=0.1)
    urgent = submit(found, "urgent", within_s=100.0)
    assert urgent.start_at - found.now == pytest.approx(10.0, rel=0.1)


def test_a_waiting_task_has_less_chance_the_more_is_ahead() -> None:
    found = world("w")
    chances = [submit(found, f"t{number}", within_s=40.0 + number / 10.0).chance for number in range(6)]
    assert all(chance is not None for chance in chances)
    assert chances == sorted(chances, reverse=True)  # type: ignore[type-var]
    assert chances[0] == pytest.approx(1.0, abs=1e-3)
    assert chances[-1] < 0.5  # type: ignore[operator]


def test_two_workers_take_half_the_time() -> None:
    found = world("a", "b")
    for number in range(6):
        submit(found, f"t{number}", within_s=1e4 + number)
    assert predicted(found, "t5").start_at - found.now == pytest.approx(20.0, rel=0.1)


def test_waits_that_were_longer_than_predicted_make_the_next_predictions_longer() -> None:
    found = world("w")
    submit(found, "first", within_s=1e6)
    before = submit(found, "probe", within_s=1e6 + 1.0).start_at - found.now
    found.cancel("probe")
    current = "first"
    for number in range(40):
        name = f"t{number}"
        submit(found, name, within_s=1e6 + 2.0 + number)
        found.start(current)
        # Thrice as long as the model has it.
        found.wait(30.0, "w")
        found.finish(current, runtime_s=30.0)
        found.place()
        current = name
    after = submit(found, "again", within_s=2e6).start_at - found.now
    assert after == pytest.approx(3.0 * before, rel=0.15)


def test_where_nothing_runs_nothing_is_predicted() -> None:
    found = world()
    assert submit(found, "t") == Prediction()
    found = world("w")
    assert submit(found, "too large", cpu=99.0) == Prediction()


def test_a_finished_or_unknown_task_is_not_predicted() -> None:
    found = world("w")
    submit(found, "t")
    found.start("t")
    found.finish("t")
    assert found.cluster.predict("t", found.now) is None
    assert found.cluster.predict("nobody", found.now) is None


@pytest.mark.slow
def test_over_some_simulated_days_chances_come_true() -> None:
    from benchmarks.calibration import simulate

    found = simulate(n=8_000, workers=6, load=0.85, days=3.0, seed=3)
    bins = {round(b["from"], 2): b for b in found.bins()}
    assert found.waited.sum() > 1_000
    assert found.error() < 0.04, found.bins()
    assert abs(bins[0.85]["met"] - bins[0.85]["chance"]) < 0.04, bins[0.85]
    base = found.met.mean()
    assert found.brier() < 0.8 * base * (1.0 - base)
