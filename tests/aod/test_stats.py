"""Worker statistics: sums of what ran, and time spent overloaded from whatever is known of the load."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from wild import attempt, histories

from aod.history import History
from aod.stats import worker_stats


def test_sums_count_usable_attempts_only() -> None:
    stats = worker_stats(
        History.from_rows(
            [
                attempt(actual_runtime_s=10.0, cpu_used=2.0, memory_used=4.0, gpu_used=0.5),
                attempt(actual_runtime_s=20.0, cpu_used=1.0, memory_used=1.0, sla_success=False),
                attempt(actual_runtime_s=-1.0),
                attempt(worker_id="w0", type="nonsense"),
            ]
        )
    )
    assert stats.worker_ids == ("w0", "w1")
    assert stats.tasks_run.tolist() == [0, 2]
    assert stats.sla_violations.tolist() == [0, 1]
    assert stats.total_runtime_s.tolist() == [0.0, 30.0]
    assert stats.cpu_core_s.tolist() == [0.0, 40.0]
    assert stats.memory_gib_s.tolist() == [0.0, 60.0]
    assert stats.gpu_device_s.tolist() == [0.0, 5.0]


def test_total_time_is_the_window_and_nothing_for_a_worker_that_ran_nothing() -> None:
    history = History.from_rows(
        [attempt(actual_start=100.0, actual_finish=130.0), attempt(worker_id="w2", type="x")]
    )
    assert worker_stats(history).total_time_s.tolist() == [30.0, 0.0]
    assert worker_stats(history, window=(0.0, 200.0)).total_time_s.tolist() == [200.0, 0.0]


def test_without_totals_a_worker_is_overloaded_while_a_run_is_on_it_that_found_it_so() -> None:
    runs = [(0.0, 10.0, 0.95), (5.0, 20.0, 0.95), (15.0, 40.0, 0.9), (50.0, 60.0, 1.2)]
    history = History.from_rows(
        [attempt(actual_start=s, actual_finish=f, load_at_start=load) for s, f, load in runs]
    )
    assert worker_stats(history).overload_time_s.tolist() == [30.0]
    assert worker_stats(history, window=(8.0, 55.0)).overload_time_s.tolist() == [17.0]


def test_with_totals_the_promised_load_tells_when_a_worker_was_overloaded() -> None:
    # Load = (cpu + memory/10 + 2·gpu) / (8 + 20/10 + 2·1): two runs of 5.5 make 11/12.
    runs = [(0.0, 10.0), (4.0, 20.0), (20.0, 30.0)]
    history = History.from_rows(
        [
            attempt(actual_start=s, actual_finish=f, cpu_used=2.5, memory_used=10.0, gpu_used=1.0)
            for s, f in runs
        ]
    )
    totals = {"w1": (8.0, 20.0, 1.0)}
    assert worker_stats(history, totals=totals).overload_time_s.tolist() == pytest.approx([6.0])
    assert worker_stats(history, totals=totals, overload_threshold=0.95).overload_time_s.tolist() == [0.0]


def test_reported_loads_go_before_what_can_be_computed() -> None:
    history = History.from_rows([attempt(actual_start=0.0, actual_finish=100.0, load_at_start=1.0)])
    samples = {"w1": (np.array([0.0, 20.0, 50.0, 90.0]), np.array([0.1, 0.95, 0.9, 2.0])), "w9": (None, None)}
    assert worker_stats(history, load_samples=samples).overload_time_s.tolist() == [40.0]  # type: ignore[arg-type]


def test_what_rounding_leaves_of_huge_amounts_does_not_run_on_to_the_next_worker() -> None:
    amounts = [1e11 / 3, 0.1, 7e10 / 9]
    ends = [(0.0, 3.0), (1.0, 5.0), (2.0, 4.0)]
    history = History.from_rows(
        [
            attempt(worker_id="w1", actual_start=s, actual_finish=f, cpu_used=cpu, memory_used=0.0)
            for cpu, (s, f) in zip(amounts, ends, strict=True)
        ]
        + [attempt(worker_id="w2", actual_start=1000.0, actual_finish=1001.0)]
    )
    stats = worker_stats(history, totals={"w1": (0.0, 0.0, 0.0)})
    assert stats.overload_time_s.tolist() == [5.0, 0.0]


@settings(deadline=None)
@given(histories)
def test_no_history_breaks_the_statistics(history: History) -> None:
    stats = worker_stats(history, totals={"w1": (0.0, 0.0, 0.0), "w2": (8.0, 16.0, 0.0)})
    for name in ("total_runtime_s", "cpu_core_s", "overload_time_s", "total_time_s"):
        column = getattr(stats, name)
        assert column.shape == (len(history.worker_ids),)
        assert np.isfinite(column).all()
        assert (column >= 0).all()
    assert (stats.overload_time_s <= stats.total_time_s * (1 + 1e-9)).all()
    assert (stats.sla_violations <= stats.tasks_run).all()
    assert stats.tasks_run.sum() == history.usable().count
