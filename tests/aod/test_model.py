"""The runtime model in seconds: planted truth is recovered, a moving τ is no luck, no history breaks it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from wild import attempt, histories

from aod.history import History
from aod.model import runtime_model
from aod.theta import train_theta
from benchmarks.planted import planted_history
from rtscore.runtime_model import PERCENTS, RuntimeModel
from rtscore.tasks import DEFAULT_TAU, TASK_TYPES


def learned(history: History) -> RuntimeModel:
    model = runtime_model(history, train_theta(history))
    assert model is not None
    return model


def test_the_base_is_the_runtime_on_an_average_idle_worker_in_seconds() -> None:
    planted = planted_history(20_000, 10, 3)
    model = learned(planted.history)
    for t, name in enumerate(map(str, TASK_TYPES)):
        own = planted.history.type == t
        mean = np.exp(np.log(planted.slowdown_tw[t, planted.history.worker[own]]).mean())
        assert model.types[name].base_s == pytest.approx(DEFAULT_TAU[TASK_TYPES[t]] * mean, rel=0.05)
        assert model.types[name].records == own.sum()


def test_the_quantiles_are_those_of_the_luck() -> None:
    known = learned(planted_history(20_000, 10, 3, noise=0.1).history).types["mixed"]
    for percent, sigmas in ((10, -1.2816), (50, 0.0), (90, 1.2816)):
        assert known.quantiles[PERCENTS.index(percent)] == pytest.approx(0.1 * sigmas, abs=0.012)


def test_a_tau_that_moved_during_the_window_changes_nothing() -> None:
    history = planted_history(20_000, 10, 3, noise=0.1).history
    moving = replace(history, tau=history.tau * np.geomspace(4.0, 1.0, len(history)))
    still, moved = learned(history).types["mixed"], learned(moving).types["mixed"]
    assert moved.base_s == pytest.approx(still.base_s, rel=0.05)
    assert moved.quantiles[89] == pytest.approx(still.quantiles[89], abs=0.05)


def test_runs_that_fail_lower_the_success_and_not_the_runtimes() -> None:
    planted = planted_history(20_000, 4, 3, unreliable=0)
    known = learned(planted.history).types["mixed"]
    assert known.success == pytest.approx(1.0 - 0.5 / 4.0, abs=0.03)
    assert known.quantiles[4] > -0.5


def test_a_type_with_too_few_records_is_missing() -> None:
    rows = [attempt(task_id=str(i), type="mixed") for i in range(30)]
    rows += [attempt(task_id=f"g{i}", type="gpu-training") for i in range(3)]
    assert set(learned(History.from_rows(rows)).types) == {"mixed"}


def test_without_an_estimate_there_is_no_model() -> None:
    history = History.from_rows([attempt()])
    assert runtime_model(history, train_theta(history)) is None


@settings(max_examples=50, deadline=None)
@given(histories)
def test_any_history_gives_a_model_that_survives_json_or_none(history: History) -> None:
    part = history.take(history.usable().mask)
    model = runtime_model(part, train_theta(part))
    if model is not None:
        text = json.dumps(model.to_document(), allow_nan=False)
        assert RuntimeModel.from_document(json.loads(text)) == model
