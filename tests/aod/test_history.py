"""Histories: columns in, columns out, and what in them can be learned from."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wild import attempt, rows

from aod.errors import HistoryError
from aod.history import COLUMNS, History, TaskHistory
from rtscore.tasks import TASK_TYPES


def same(first: History, second: History) -> bool:
    """Whether two histories say the same of every row, whatever codes their names have."""
    return list(first.rows()) == list(second.rows())


def test_a_history_of_nothing_is_a_history() -> None:
    empty = History.empty()
    assert len(empty) == 0
    assert empty.usable().count == 0
    assert len(History.concat([])) == 0
    assert list(empty.rows()) == []


def test_columns_and_rows_say_the_same() -> None:
    records = [
        attempt(task_id="b", worker_id="w9", type="cpu-heavy"),
        attempt(task_id="a", worker_id="w1", sla_success=False, succeeded=False, storage_used=3.0),
    ]
    history = History.from_columns(
        {name: [getattr(r, name) for r in records] for name in TaskHistory.__struct_fields__}
    )
    assert list(history.rows()) == records
    assert history.worker_ids == ("w1", "w9")
    assert history.type.tolist() == [TASK_TYPES.index("cpu-heavy"), TASK_TYPES.index("mixed")]


@settings(deadline=None)
@given(rows)
def test_what_goes_in_comes_out(records: list[TaskHistory]) -> None:
    out = list(History.from_rows(records).rows())
    for before, after in zip(records, out, strict=True):
        assert after.type == (before.type if before.type in TASK_TYPES else "unknown")
        for name in TaskHistory.__struct_fields__:
            value = getattr(before, name)
            if name != "type":
                wanted = None if isinstance(value, float) and math.isnan(value) else value
                assert getattr(after, name) == wanted, name


def test_fields_with_a_default_may_be_missing_and_the_others_are_named() -> None:
    record = attempt()
    columns = {name: [getattr(record, name)] for name in TaskHistory.__struct_fields__}
    for name in ("tau", "storage_used", "succeeded", "load_at_start"):
        del columns[name]
    history = History.from_columns(columns)
    assert math.isnan(history.tau[0])
    assert history.storage_used[0] == 0.0
    assert history.succeeded[0]
    del columns["arrival"], columns["type"]
    with pytest.raises(HistoryError, match="missing: arrival, type"):
        History.from_columns(columns)


def test_columns_of_different_length_are_refused_with_their_lengths() -> None:
    columns = {name: [getattr(attempt(), name)] * 2 for name in TaskHistory.__struct_fields__}
    columns["cpu_used"] = [1.0]
    with pytest.raises(HistoryError, match=r"cpu_used has shape \(1,\), task has \(2,\)"):
        History.from_columns(columns)


@pytest.mark.parametrize(
    ("name", "value"), [("cpu_used", "much"), ("worker_id", None), ("task_id", 7), ("tau", [1.0, 2.0])]
)
def test_what_is_no_value_of_a_column_is_refused_by_name(name: str, value: object) -> None:
    columns = {field: [getattr(attempt(), field)] for field in TaskHistory.__struct_fields__}
    columns[name] = [value]
    with pytest.raises(HistoryError, match=name):
        History.from_columns(columns)


def test_integer_types_are_codes_and_wide_ones_are_unknown() -> None:
    columns: dict[str, object] = {
        name: [getattr(attempt(), name)] * 4 for name in TaskHistory.__struct_fields__
    }
    columns["type"] = np.array([5, 6, -7, 256])
    assert History.from_columns(columns).type.tolist() == [5, -1, -1, -1]  # type: ignore[arg-type]


def test_a_code_that_names_nothing_is_refused() -> None:
    history = History.from_rows([attempt()])
    columns = {name: getattr(history, name) for name in COLUMNS}
    with pytest.raises(HistoryError, match="worker has codes from 3 to 3; 0 to 0 are allowed"):
        History(history.task_ids, history.worker_ids, **{**columns, "worker": np.array([3])})


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"type": "dl"}, "unknown type"),
        ({"arrival": None}, "missing number"),
        ({"actual_runtime_s": math.inf}, "missing number"),
        ({"memory_used": math.nan}, "missing number"),
        ({"gpu_used": -1.0}, "missing number"),
        ({"deadline": 1e300}, "missing number"),
        ({"actual_start": 110.5}, "finish before start"),
        ({"actual_runtime_s": 0.0}, "runtime not positive"),
        ({"actual_runtime_s": -3.0}, "runtime not positive"),
    ],
)
def test_an_unusable_attempt_is_left_out_and_its_reason_counted(
    changes: dict[str, object], reason: str
) -> None:
    usable = History.from_rows([attempt(), attempt(**changes), attempt()]).usable()
    assert usable.mask.tolist() == [True, False, True]
    assert usable.left_out == {reason: 1}


@settings(deadline=None)
@given(rows)
def test_every_row_is_usable_or_counted_once(records: list[TaskHistory]) -> None:
    usable = History.from_rows(records).usable()
    assert usable.count + sum(usable.left_out.values()) == len(records)


def test_a_window_takes_the_attempts_that_finished_in_it() -> None:
    history = History.from_rows(
        [attempt(task_id=str(finish), actual_finish=finish) for finish in (9.0, 10.0, 19.0, 20.0, None)]
    )
    assert [row.task_id for row in history.window(10.0, 20.0).rows()] == ["10.0", "19.0"]


def test_a_part_keeps_the_names_of_the_whole() -> None:
    history = History.from_rows([attempt(worker_id="w1"), attempt(worker_id="w2")])
    part = history.take(history.worker == 1)
    assert part.worker_ids == ("w1", "w2")
    assert [row.worker_id for row in part.rows()] == ["w2"]


@settings(deadline=None)
@given(rows, st.data())
def test_parts_put_together_are_the_whole(records: list[TaskHistory], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(records)))
    parts = [History.from_rows(records[:at]), History.from_rows(records[at:])]
    assert same(History.concat(parts), History.from_rows(records))
