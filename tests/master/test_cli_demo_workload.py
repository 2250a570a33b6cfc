"""The demo's work is real, of all six types, the same for the same seed, and fits the demo's workers."""

from __future__ import annotations

import subprocess
import sys

import pytest

from master.cli.demo import work, workload

TYPES = {"cpu-light", "cpu-heavy", "memory-heavy", "gpu-inference", "gpu-training", "mixed"}


def test_the_same_seed_gives_the_same_tasks_and_another_seed_others() -> None:
    assert workload.tasks(72, seed=5) == workload.tasks(72, seed=5)
    assert workload.tasks(72, seed=5) != workload.tasks(72, seed=6)


@pytest.mark.parametrize("seed", range(5))
def test_all_six_types_come_at_the_least_number_of_tasks(seed: int) -> None:
    print("seed", seed)
    tasks = workload.tasks(workload.MIN_TASKS, seed)
    assert set(workload.expected_types(workload.MIN_TASKS)) == TYPES
    assert {task.task_type for task in tasks} - {""} <= TYPES
    assert any(task.task_type == "" for task in tasks)
    assert [task.at_s for task in tasks] == sorted(task.at_s for task in tasks)
    assert len({task.task_id for task in tasks}) == len(tasks)


def test_another_run_has_the_same_tasks_with_the_same_deadlines_under_other_ids() -> None:
    first, second = workload.tasks(72, seed=5), workload.tasks(72, seed=5, run=2)
    assert {task.task_id for task in first}.isdisjoint(task.task_id for task in second)
    assert [(task.command, task.deadline_s) for task in first] == [
        (task.command, task.deadline_s) for task in second
    ]


def test_every_task_fits_on_a_worker_of_the_demo() -> None:
    fleet = workload.workers(4)
    for task in workload.tasks(200, seed=1):
        assert any(w.cpu >= task.cpu and w.memory >= task.memory and w.gpu >= task.gpu for w in fleet), task


def test_worker_ids_are_unique_beyond_one_of_each_size() -> None:
    fleet = workload.workers(11)
    assert len({worker.worker_id for worker in fleet}) == 11


@pytest.mark.parametrize(
    "arguments",
    [["hash", "4"], ["compress", "0.2"], ["sort", "0.1"], ["multiply", "50", "2"], ["sleep", "0.01"]],
)
def test_each_kind_of_work_runs_and_says_what_came_of_it(arguments: list[str]) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "master.cli.demo.work", *arguments], capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 0, ran.stderr
    assert " s)" in ran.stdout


def test_work_of_an_unknown_kind_is_wrong_use() -> None:
    assert work.main(["dance", "3"]) == 2
    assert work.main([]) == 2


def test_a_wrong_result_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    import zlib

    monkeypatch.setattr(zlib, "decompress", lambda packed: b"other")
    assert work.main(["compress", "0.1"]) == 1
