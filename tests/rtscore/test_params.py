"""Parameters: bounds, defaults, and the file they travel in."""

from __future__ import annotations

import json
import math
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtscore import (
    TASK_TYPES,
    AffinityWeights,
    GAParams,
    PenaltyWeights,
    Risk,
    Theta,
    load_ga_params,
    save_ga_params,
)
from rtscore.errors import ParamsError

scores = st.floats(min_value=-5, max_value=5)
weights = st.floats(min_value=0, max_value=1e12)
parameter_sets = st.builds(
    GAParams,
    theta=st.builds(Theta, *[st.floats(min_value=0, max_value=2)] * 4),
    risk=st.builds(Risk, weights, weights),
    affinity_weights=st.builds(AffinityWeights, *[weights] * 3),
    penalty_weights=st.builds(PenaltyWeights, *[weights] * 3),
    affinity=st.dictionaries(st.sampled_from(TASK_TYPES), st.dictionaries(st.text(max_size=8), scores)),
    penalty=st.dictionaries(st.text(max_size=8), weights),
)


def test_defaults_are_those_of_the_sprint_plan() -> None:
    params = GAParams.default()
    assert params.theta == Theta(0.1, 0.1, 0.3, 0.2)
    assert params.risk == Risk(10.0, 1.0)
    assert params.affinity_weights == AffinityWeights(1.0, 2.0, 0.5)
    assert params.penalty_weights == PenaltyWeights(2.0, 1.0, 0.5)
    assert not params.affinity
    assert not params.penalty


@pytest.mark.parametrize("bad", [-0.1, 2.1, math.nan, math.inf, -math.inf, "0.1", None, True])
def test_a_theta_outside_its_bounds_is_named_with_its_value(bad: object) -> None:
    with pytest.raises(ParamsError, match=r"Theta\.theta3 is .*\[0, 2\]"):
        Theta(theta3=bad)  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", [-1.0, math.nan, math.inf])
def test_a_weight_is_finite_and_not_negative(bad: float) -> None:
    for make in (
        lambda: Risk(alpha=bad),
        lambda: Risk(beta=bad),
        lambda: AffinityWeights(a2=bad),
        lambda: PenaltyWeights(g3=bad),
    ):
        with pytest.raises(ParamsError, match="allowed"):
            make()


@pytest.mark.parametrize("bad", [5.01, -5.01, math.nan])
def test_an_affinity_outside_five_is_named_with_type_and_worker(bad: float) -> None:
    with pytest.raises(ParamsError, match=r"affinity\[mixed\]\[w1\]"):
        GAParams(affinity={"mixed": {"w1": bad}})


def test_an_affinity_row_outside_the_six_types_is_refused() -> None:
    with pytest.raises(ParamsError, match=r"'cpu'.*cpu-light"):
        GAParams(affinity={"cpu": {"w1": 1.0}})


def test_a_negative_penalty_is_refused() -> None:
    with pytest.raises(ParamsError, match=r"penalty\[w1\]"):
        GAParams(penalty={"w1": -0.5})


@pytest.mark.parametrize("bad", [float("nan"), [float("inf")], {"a": object()}])
def test_meta_that_no_file_could_hold_is_refused(bad: object) -> None:
    with pytest.raises(ParamsError, match="meta"):
        GAParams(meta={"x": bad})


def test_parameters_cannot_be_changed() -> None:
    row = {"w1": 1.0}
    params = GAParams(affinity={"mixed": row})
    row["w1"] = 2.0
    assert params.affinity["mixed"]["w1"] == 1.0
    with pytest.raises(TypeError):
        params.affinity["mixed"]["w1"] = 2.0  # type: ignore[index]
    with pytest.raises(AttributeError):
        params.theta = Theta()  # type: ignore[misc]


@given(parameter_sets)
def test_what_is_saved_is_what_is_loaded(tmp_path_factory: pytest.TempPathFactory, params: GAParams) -> None:
    path = tmp_path_factory.mktemp("params") / "ga.json"
    save_ga_params(params, path)
    assert load_ga_params(path) == params


def test_the_file_of_the_sprint_plan_loads(tmp_path: Path) -> None:
    path = tmp_path / "ga_output.json"
    path.write_text(
        json.dumps(
            {
                "Theta": {"Theta1": 0.2, "Theta2": 0.1, "Theta3": 0.4, "Theta4": 0.5},
                "Risk": {"Alpha": 12, "Beta": 2},
                "AffinityMatrix": {"gpu-training": {"worker-1": 2.5}},
                "PenaltyVector": {"worker-2": 0.75},
                "Fitness": 1.0,
                "Unknown": {"x": [1, 2]},
            }
        )
    )
    params = load_ga_params(path)
    assert params.theta == Theta(0.2, 0.1, 0.4, 0.5)
    assert params.risk == Risk(12.0, 2.0)
    assert params.affinity_weights == AffinityWeights()
    assert params.affinity["gpu-training"]["worker-1"] == 2.5
    assert params.penalty["worker-2"] == 0.75


def test_a_missing_file_is_file_not_found(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_ga_params(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"Theta": ', "line 1"),
        ("[]", "object"),
        ('{"Theta": []}', "Theta is"),
        ('{"Risk": {"Alpha": "x"}}', "alpha"),
        ('{"Theta": {"Theta1": NaN}}', "theta1"),
        ('{"AffinityMatrix": {"mixed": 3}}', "mixed"),
        ("\x00", "line 1"),
        ("[" * 100_000, "deep"),
    ],
)
def test_a_bad_file_says_where_and_why(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(ParamsError, match=said) as caught:
        load_ga_params(path)
    assert "bad.json" in str(caught.value)


def test_a_file_that_is_not_text_says_so(tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(b'{"Meta": "\xff\xfe\xfa"}')
    with pytest.raises(ParamsError, match="UTF-8"):
        load_ga_params(path)


def test_a_failed_save_leaves_the_old_file_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError("no space left on device")

    path = tmp_path / "ga.json"
    save_ga_params(GAParams(penalty={"w": 1.0}), path)
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space"):
        save_ga_params(GAParams(penalty={"w": 2.0}), path)
    assert load_ga_params(path).penalty["w"] == 1.0
    assert [p.name for p in tmp_path.iterdir()] == ["ga.json"]


def test_a_reader_never_sees_a_part_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "ga.json"
    sets = [GAParams(penalty={f"w{i}": float(k) for i in range(200)}) for k in range(2)]
    save_ga_params(sets[0], path)
    done = threading.Event()
    seen: list[GAParams] = []

    def read() -> None:
        while not done.is_set():
            seen.append(load_ga_params(path))

    reader = threading.Thread(target=read)
    reader.start()
    for k in range(30):
        save_ga_params(sets[k % 2], path)
    done.set()
    reader.join()
    assert seen
    assert all(params in sets for params in seen)
