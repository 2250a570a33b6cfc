"""The generator: fitting requests, explicit types, patterns, loads, and files that come back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from aod.policies import Policy
from aod.replay import Replayer
from aod.workloads import Pattern, make_machines, make_workload, read_tasks, write_tasks
from rtscore import TASK_TYPES, infer_task_type


@pytest.mark.parametrize("pattern", Pattern)
def test_the_same_seed_gives_the_same_tasks_and_another_seed_others(pattern: Pattern) -> None:
    at = make_machines(10, 1)
    one, same, other = (make_workload(200, at, 0.7, seed, pattern=pattern) for seed in (1, 1, 2))
    assert one.arrival.tobytes() == same.arrival.tobytes() != other.arrival.tobytes()
    assert one.base_s.tobytes() == same.base_s.tobytes() != other.base_s.tobytes()


def test_all_six_types_come_and_their_requests_suggest_the_type_where_one_can() -> None:
    load = make_workload(5000, make_machines(10, 1), 0.7, 1)
    assert set(load.type) == set(range(6))
    for code, cpu, memory, gpu in zip(load.type, load.cpu, load.memory, load.gpu, strict=True):
        name = TASK_TYPES[code]
        if name != "mixed":
            assert infer_task_type(cpu, memory, gpu) == name


def test_every_request_fits_some_worker_of_any_cluster() -> None:
    for seed in range(10):
        at = make_machines(1, seed)
        assert (make_workload(2000, at, 0.7, seed).request <= at.totals.max(axis=0)).all()


@pytest.mark.parametrize(("offered", "low", "high"), [(0.3, 0.2, 0.4), (0.6, 0.45, 0.75)])
def test_the_load_is_the_use_of_the_resource_that_is_asked_most(
    offered: float, low: float, high: float
) -> None:
    at = make_machines(50, 1, identical=True)
    load = make_workload(10_000, at, offered, 1)
    replay = Replayer(at, load).run(Policy.LEAST_LOADED)
    used = (load.request * (replay.finish - replay.start)[:, None]).sum(axis=0)
    share = used / (at.totals.sum(axis=0) * (load.arrival[-1] - load.arrival[0]))
    assert low < share.max() < high, share


def test_bursts_come_at_few_instants_and_days_swing() -> None:
    at = make_machines(10, 1)
    burst = make_workload(5000, at, 0.7, 1, pattern=Pattern.BURST)
    assert len(np.unique(burst.arrival)) <= 50
    mixed = make_workload(5000, at, 0.7, 1, pattern=Pattern.MIXED)
    assert 2000 < len(np.unique(mixed.arrival)) < 3000
    diurnal = make_workload(20_000, at, 0.7, 1, pattern=Pattern.DIURNAL)
    # Two days: the quarters around noon hold nine times what those around midnight hold, less their width.
    quarter = np.floor(diurnal.arrival / diurnal.arrival[-1] * 8 * 0.9999).astype(int)
    counts = np.bincount((quarter + 1) // 2 % 2, minlength=2)
    assert counts[1] > 2.5 * counts[0]


def test_planted_speeds_have_mean_one_per_type_and_differ_unless_identical() -> None:
    at = make_machines(100, 1)
    assert np.allclose(at.slowdown_tw.mean(axis=1), 1.0)
    assert at.slowdown_tw.std() > 0.3
    assert (make_machines(100, 1, identical=True).slowdown_tw == 1.0).all()


def test_a_written_workload_comes_back_as_it_was(tmp_path: Path) -> None:
    load = make_workload(100, make_machines(5, 1), 0.7, 1, start=1.7e9)
    write_tasks(load, tmp_path / "tasks.jsonl")
    back = read_tasks(tmp_path / "tasks.jsonl")
    assert back.task_ids == load.task_ids
    for name in ("arrival", "type", "cpu", "memory", "gpu", "storage", "tau", "deadline", "base_s"):
        assert getattr(back, name).tobytes() == getattr(load, name).tobytes(), name


def test_a_bad_line_is_named(tmp_path: Path) -> None:
    load = make_workload(2, make_machines(5, 1), 0.7, 1)
    path = tmp_path / "tasks.jsonl"
    write_tasks(load, path)
    path.write_text(path.read_text() + '{"task_id": "x"}\n')
    with pytest.raises(ValueError, match=r"tasks\.jsonl:3: .*task_type"):
        read_tasks(path)


@pytest.mark.parametrize("offered", [0.0, -1.0, float("nan")])
def test_a_load_that_is_not_positive_is_refused(offered: float) -> None:
    with pytest.raises(ValueError, match="positive"):
        make_workload(10, make_machines(5, 1), offered, 1)
