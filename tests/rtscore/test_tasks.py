"""What a task is, and what is refused as one."""

from __future__ import annotations

import copy
import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtscore import DEFAULT_TAU, TASK_TYPES, Task, TaskType, infer_task_type, is_valid_task_type
from rtscore.errors import InvalidTaskError, RtscoreError
from rtscore.reference import quantise


def test_the_six_types_have_one_order_everywhere() -> None:
    assert [str(t) for t in TASK_TYPES] == [
        "cpu-light",
        "cpu-heavy",
        "memory-heavy",
        "gpu-inference",
        "gpu-training",
        "mixed",
    ]
    assert dict(DEFAULT_TAU) == dict(zip(TASK_TYPES, (5, 15, 20, 10, 60, 10), strict=True))


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ({"cpu": 5, "gpu": 2.5}, "gpu-training"),
        ({"cpu": 4, "gpu": 3}, "gpu-inference"),
        ({"cpu": 5, "gpu": 2}, "gpu-inference"),
        ({"memory": 9, "gpu": 0.5}, "gpu-inference"),
        ({"cpu": 9, "memory": 8.5}, "memory-heavy"),
        ({"cpu": 4.5, "memory": 8}, "cpu-heavy"),
        ({"cpu": 4}, "cpu-light"),
        ({"memory": 8}, "mixed"),
        ({}, "mixed"),
    ],
)
def test_the_type_is_inferred_from_the_request(request_: dict[str, float], expected: str) -> None:
    assert infer_task_type(**request_) == expected
    assert Task("t", **request_).task_type is TaskType(expected)


def test_a_given_type_is_kept_and_a_string_equals_its_member() -> None:
    task = Task("t", gpu=4, cpu=8, task_type="mixed")
    assert task.task_type == "mixed"
    assert task.task_type is TaskType.MIXED
    assert is_valid_task_type("mixed")
    assert is_valid_task_type(TaskType.MIXED)
    for wrong in ("Mixed", "", None, 3, ["mixed"]):
        assert not is_valid_task_type(wrong)


def test_a_deadline_is_arrival_plus_k_tau_unless_given() -> None:
    assert Task("t", cpu=1).deadline == 10.0
    assert Task("t", arrival_time=100.0, tau=3.0, sla_multiplier=1.5).deadline == 104.5
    assert Task("t", arrival_time=100.0, deadline=7.0).deadline == 7.0


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"cpu": -1}, r"cpu is -1; .*\[0, 2\*\*32\]"),
        ({"memory": math.nan}, "memory is nan"),
        ({"gpu": math.inf}, "gpu is inf"),
        ({"storage": 2.0**33}, "storage is 8589934592.0"),
        ({"cpu": "4"}, "cpu is '4'"),
        ({"cpu": True}, "cpu is True"),
        ({"cpu": None}, "cpu is None"),
        ({"cpu": 10**400}, "cpu is 1000"),
        ({"tau": 0}, "tau is 0; .*positive"),
        ({"tau": math.inf}, "tau is inf"),
        ({"arrival_time": math.nan}, "arrival_time is nan"),
        ({"sla_multiplier": -2}, "sla_multiplier is -2"),
        ({"deadline": math.inf}, "deadline is inf"),
        ({"tau": 1e308, "sla_multiplier": 10}, "deadline is .* not finite"),
        ({"user_id": 3}, "user_id is 3"),
        ({"task_type": "huge"}, "task_type is 'huge'; allowed are cpu-light, .*mixed"),
        ({"task_type": ""}, "task_type is ''"),
    ],
)
def test_what_is_no_task_is_refused_by_field_value_and_bound(fields: dict[str, object], says: str) -> None:
    with pytest.raises(InvalidTaskError, match=says):
        Task("t", **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("id", ["", None, 7, b"t"])
def test_an_id_is_a_string_that_is_not_empty(id: object) -> None:
    with pytest.raises(InvalidTaskError, match="id is"):
        Task(id)  # type: ignore[arg-type]


def test_an_invalid_task_is_a_value_error_and_one_of_ours() -> None:
    assert issubclass(InvalidTaskError, ValueError)
    assert issubclass(InvalidTaskError, RtscoreError)


@given(st.floats(0, 2.0**32))
def test_amounts_are_the_nearest_multiple_of_two_to_the_minus_twenty(amount: float) -> None:
    kept = Task("t", cpu=amount).cpu
    assert kept == quantise(amount)
    assert kept * 2**20 == round(amount * 2**20)
    assert abs(kept - amount) <= 2.0**-21


def test_numbers_of_numpy_are_numbers() -> None:
    task = Task("t", cpu=np.float32(1.5), memory=np.int64(3))
    assert (task.cpu, task.memory) == (1.5, 3.0)
    assert type(task.memory) is float


def test_a_task_is_immutable() -> None:
    task = Task("t", cpu=1)
    for name in ("cpu", "deadline", "id", "task_type"):
        with pytest.raises(AttributeError):
            setattr(task, name, 2)
    with pytest.raises(AttributeError):
        task.colour = "red"  # type: ignore[attr-defined]


def test_equal_tasks_are_equal_hash_alike_and_survive_pickle_and_copy() -> None:
    make = lambda **more: Task("t", cpu=1.1, gpu=1, user_id="u", arrival_time=5, **more)  # noqa: E731
    task = make()
    assert task == make()
    assert hash(task) == hash(make())
    assert task != make(deadline=99.0)
    assert task != "t"
    assert pickle.loads(pickle.dumps(task)) == task
    assert copy.copy(task) == task
    assert copy.deepcopy(task) == task
    assert eval(repr(task), {"Task": Task}) == task
