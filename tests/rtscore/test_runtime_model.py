"""The runtime model: chances from quantiles, and only documents that are one."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtscore.runtime_model import (
    PERCENTS,
    RuntimeModel,
    RuntimeModelError,
    TypeRuntime,
    quantile,
    share_above,
    share_below,
)

# A log residual that is uniform in [-1, 1].
UNIFORM = tuple((p - 50) / 50.0 for p in PERCENTS)


def light(**fields: Any) -> TypeRuntime:
    values = {
        "base_s": 4.0,
        "success": 1.0,
        "quantiles": UNIFORM,
        "anywhere": UNIFORM,
        "slowdown": {"slow": 2.0},
        "records": 100,
    }
    return TypeRuntime(**{**values, **fields})


def model(**fields: Any) -> RuntimeModel:
    return RuntimeModel((0.1, 0.2, 0.5, 1.0), {"cpu-light": light(**fields)})


@pytest.mark.parametrize(("value", "share"), [(-0.5, 0.25), (0.0, 0.5), (0.25, 0.625), (0.8, 0.9)])
def test_the_share_below_a_value_and_the_value_of_a_share_are_each_others_inverse(
    value: float, share: float
) -> None:
    assert share_below(UNIFORM, value) == pytest.approx(share)
    assert share_above(UNIFORM, value) == pytest.approx(1.0 - share)
    assert quantile(UNIFORM, share) == pytest.approx(value)


def test_beyond_the_last_quantile_the_rest_thins_out_as_the_tenth_before_it() -> None:
    step = UNIFORM[-1] - UNIFORM[89]
    for steps, above in ((1, 1e-3), (2, 1e-4)):
        assert share_below(UNIFORM, UNIFORM[-1] + steps * step) == pytest.approx(1.0 - above, abs=1e-9)
        assert share_above(UNIFORM, UNIFORM[-1] + steps * step) == pytest.approx(above)
    assert share_below(UNIFORM, 1e9) == 1.0
    assert share_above(UNIFORM, UNIFORM[-1] + 40.0 * step) == pytest.approx(1e-42)
    assert share_below(UNIFORM, -1e9) == 0.0
    assert (quantile(UNIFORM, 0.0), quantile(UNIFORM, 1.0)) == (UNIFORM[0], UNIFORM[-1])


@given(st.lists(st.floats(-5.0, 5.0), min_size=99, max_size=99), st.floats(-6.0, 6.0), st.floats(0.0, 3.0))
def test_a_larger_value_never_has_a_smaller_share_below(
    values: list[float], value: float, more: float
) -> None:
    values.sort()
    assert 0.0 <= share_below(values, value) <= share_below(values, value + more) <= 1.0


def test_where_all_is_the_same_the_share_is_all_or_nothing() -> None:
    assert share_below((0.0,) * 99, -0.01) == 0.0
    assert share_below((0.0,) * 99, 0.01) == 1.0


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
        {"anywhere": [0.0] * 98},
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
