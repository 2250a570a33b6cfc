"""The runtime model: chances from quantiles, and only documents that are one."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtscore.runtime_model import PERCENTS, RuntimeModel, RuntimeModelError, TypeRuntime

# A log residual that is uniform in [-1, 1].
UNIFORM = tuple((p - 50) / 50.0 for p in PERCENTS)


def light(**fields: Any) -> TypeRuntime:
    values = {"base_s": 4.0, "success": 1.0, "quantiles": UNIFORM, "slowdown": {"slow": 2.0}, "records": 100}
    return TypeRuntime(**{**values, **fields})


def model(**fields: Any) -> RuntimeModel:
    return RuntimeModel((0.1, 0.2, 0.5, 1.0), {"cpu-light": light(**fields)})


@pytest.mark.parametrize(("log_ratio", "chance"), [(-0.5, 0.25), (0.0, 0.5), (0.25, 0.625), (0.8, 0.9)])
def test_the_chance_is_the_share_of_residuals_below(log_ratio: float, chance: float) -> None:
    assert light().chance(3.0, 3.0 * math.exp(log_ratio)) == pytest.approx(chance)


def test_beyond_the_last_quantile_half_a_percent_of_doubt_stays() -> None:
    assert light().chance(1.0, 1e9) == 0.995
    assert light().chance(1.0, 1e-9) == 0.0


@pytest.mark.parametrize("within_s", [0.0, -1.0, math.nan])
def test_without_time_there_is_no_chance(within_s: float) -> None:
    assert light().chance(1.0, within_s) == 0.0


def test_a_run_that_fails_meets_nothing() -> None:
    assert light(success=0.5).chance(1.0, math.exp(0.8)) == pytest.approx(0.45)


@given(st.floats(1e-3, 1e3), st.floats(1e-3, 1e6), st.floats(1.0, 10.0))
def test_more_time_is_never_a_lower_chance(typical_s: float, within_s: float, more: float) -> None:
    known = light()
    assert 0.0 <= known.chance(typical_s, within_s) <= known.chance(typical_s, within_s * more) <= 1.0


def test_a_steep_residual_has_a_chance_of_all_or_nothing() -> None:
    known = light(quantiles=(0.0,) * 99)
    assert known.chance(2.0, 1.99) == 0.0
    assert known.chance(2.0, 2.01) == 0.995


def test_the_factor_is_slowdown_times_stretch_and_an_unknown_worker_is_average() -> None:
    request, available = (2.0, 4.0, 0.0), (8.0, 16.0, 0.0)
    stretch = 1.0 + 0.1 * 0.25 + 0.2 * 0.25 + 0.3
    assert model().stretch(request, available, 0.3) == pytest.approx(stretch)
    assert model().factor("cpu-light", "slow", request, available, 0.3) == pytest.approx(2.0 * stretch)
    assert model().factor("cpu-light", "new", request, available, 0.3) == pytest.approx(stretch)
    assert model().factor("mixed", "slow", request, available, 0.3) is None


def test_a_model_survives_json() -> None:
    text = json.dumps(model().to_document())
    assert RuntimeModel.from_document(json.loads(text)) == model()


@pytest.mark.parametrize(
    "broken",
    [
        None,
        [],
        {"theta": [0.1, 0.1, 0.1], "types": {}},
        {"theta": [0.1, 0.1, 0.1, 3.0], "types": {}},
        {"theta": [0.1, 0.1, 0.1, "x"], "types": {}},
        {"base_s": 0.0},
        {"base_s": math.inf},
        {"slowdown": {"w": -1.0}},
        {"success": 1.5},
        {"quantiles": [0.0] * 98},
        {"quantiles": [math.nan] * 99},
        {"quantiles": list(reversed(UNIFORM))},
    ],
)
def test_a_document_that_is_no_model_is_refused(broken: Any) -> None:
    document = broken
    if isinstance(broken, dict) and "theta" not in broken:
        document = model().to_document()
        document["types"]["cpu-light"].update(broken)
    with pytest.raises(RuntimeModelError):
        RuntimeModel.from_document(document)
