"""The worker table: what it allows, what it refuses, and that a refusal changes nothing."""

from __future__ import annotations

import copy
import math
import pickle
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from cluster_makers import workers

from rtscore import RTSScheduler, Task, WorkerTable, WorkerView, reference
from rtscore.errors import (
    CapacityError,
    DuplicateWorkerError,
    InvalidWorkerError,
    NotReservedError,
    UnknownWorkerError,
    WorkerError,
)


def state(table: WorkerTable) -> tuple[object, ...]:
    return (
        table.ids(),
        {name: column.tobytes() for name, column in table.columns().items()},
        table.schedulable().tolist(),
        [table.reserved(worker) for worker in table.ids()],
    )


def test_a_worker_is_added_to_the_next_slot_and_seen() -> None:
    table = WorkerTable()
    assert table.add("w1", cpu=16, memory=64, gpu=2, storage=500) == 0
    assert table.add("w2", cpu=1, memory=1) == 1
    assert len(table) == 2
    assert "w1" in table
    assert "w3" not in table
    assert 3 not in table
    assert table.ids() == ["w1", "w2"]
    assert table.view("w1") == WorkerView("w1", 16.0, 64.0, 2.0, 500.0, 0.0)
    assert table.slot("w2") == 1
    assert table.id(1) == "w2"
    assert table.id(2) is None
    table.check()


def test_a_removed_slot_is_reused_the_lowest_first() -> None:
    table = workers([1, 2, 3, 4])
    for worker in ("w2", "w0", "w1"):
        table.remove(worker)
    assert [table.add(name, cpu=1, memory=1) for name in "abcd"] == [0, 1, 2, 4]
    assert table.ids() == ["a", "b", "c", "w3", "d"]
    table.check()


@pytest.mark.parametrize(
    ("error", "says", "act"),
    [
        (DuplicateWorkerError, "'w0' is in the table", lambda t: t.add("w0", cpu=1, memory=1)),
        (InvalidWorkerError, "cpu is -1", lambda t: t.add("n", cpu=-1, memory=1)),
        (InvalidWorkerError, "memory is nan", lambda t: t.add("n", cpu=1, memory=math.nan)),
        (InvalidWorkerError, "gpu is inf", lambda t: t.add("n", cpu=1, memory=1, gpu=math.inf)),
        (InvalidWorkerError, "storage is 1e\\+20", lambda t: t.add("n", cpu=1, memory=1, storage=1e20)),
        (InvalidWorkerError, "cpu is 'x'", lambda t: t.add("n", cpu="x", memory=1)),
        (InvalidWorkerError, "id is ''", lambda t: t.add("", cpu=1, memory=1)),
        (InvalidWorkerError, "id is 5", lambda t: t.add(5, cpu=1, memory=1)),
        (UnknownWorkerError, "'x' is not in the table of 2", lambda t: t.remove("x")),
        (UnknownWorkerError, "'x'", lambda t: t.resize("x", cpu=1)),
        (InvalidWorkerError, "cpu is -3", lambda t: t.resize("w0", memory=1, cpu=-3)),
        (UnknownWorkerError, "'x'", lambda t: t.set_load("x", 0.1)),
        (UnknownWorkerError, "5 is not", lambda t: t.set_load(5, 0.1)),
        (InvalidWorkerError, "load is -0.1", lambda t: t.set_load("w0", -0.1)),
        (InvalidWorkerError, "load is nan", lambda t: t.set_load("w0", math.nan)),
        (InvalidWorkerError, "load is inf", lambda t: t.set_load("w0", math.inf)),
        (InvalidWorkerError, "load is 'x'", lambda t: t.set_load("w0", "x")),
        (InvalidWorkerError, r"slots\[1\] is 2", lambda t: t.set_loads([0, 2], [0.1, 0.2])),
        (InvalidWorkerError, r"slots\[0\] is -1", lambda t: t.set_loads([-1], [0.1])),
        (InvalidWorkerError, r"loads\[1\] is -2", lambda t: t.set_loads([0, 1], [0.1, -2.0])),
        (InvalidWorkerError, r"shape \(2,\).*\(1,\)", lambda t: t.set_loads([0, 1], [0.1])),
        (InvalidWorkerError, "float64; integers", lambda t: t.set_loads([0.0], [0.1])),
        (UnknownWorkerError, "'x'", lambda t: t.set_schedulable("x", True)),
        (UnknownWorkerError, "'x'", lambda t: t.view("x")),
        (UnknownWorkerError, "'x'", lambda t: t.reserve("x", Task("t"))),
        (CapacityError, "cpu 5 .*'w0'.* 3 available of 4", lambda t: t.reserve("w0", Task("t", cpu=5))),
        (CapacityError, "storage 2000", lambda t: t.reserve("w0", Task("t", storage=2000))),
        (TypeError, "takes a Task, not str", lambda t: t.reserve("w0", "t")),
        (TypeError, "takes a Task, not NoneType", lambda t: t.release("w0", None)),
        (NotReservedError, "'t' is not reserved on worker 'w0'", lambda t: t.release("w0", Task("t"))),
        (NotReservedError, "'held'.*'w1'", lambda t: t.release("w1", Task("held", cpu=1))),
        (NotReservedError, "asks cpu 2.* is cpu 1", lambda t: t.release("w0", Task("held", cpu=2))),
    ],
)
def test_misuse_is_an_error_that_says_what_came_and_changes_nothing(
    error: type[Exception], says: str, act: Callable[[WorkerTable], object]
) -> None:
    table = workers([4, 8])
    table.reserve("w0", Task("held", cpu=1))
    before = state(table)
    with pytest.raises(error, match=says):
        act(table)
    assert state(table) == before
    table.check()


def test_errors_are_what_a_caller_would_catch() -> None:
    assert issubclass(DuplicateWorkerError, ValueError)
    assert issubclass(UnknownWorkerError, KeyError)
    assert issubclass(UnknownWorkerError, WorkerError)


def test_the_same_task_can_be_reserved_twice_and_is_released_as_often() -> None:
    table = workers([4])
    task = Task("t", cpu=2)
    table.reserve("w0", task)
    table.reserve("w0", task)
    assert table.reserved("w0") == ["t", "t"]
    assert table.view("w0").cpu_avail == 0.0
    table.check()
    table.release("w0", task)
    table.release("w0", task)
    with pytest.raises(NotReservedError):
        table.release("w0", task)
    assert table.view("w0").cpu_avail == 4.0
    table.check()


def test_one_id_with_two_sizes_is_released_by_size() -> None:
    table = workers([4])
    table.reserve("w0", Task("t", cpu=1))
    table.reserve("w0", Task("t", cpu=2))
    table.release("w0", Task("t", cpu=1))
    assert table.view("w0").cpu_avail == 2.0
    table.check()


def test_removing_a_worker_drops_what_it_held() -> None:
    table = workers([4])
    table.reserve("w0", Task("t", cpu=1))
    table.remove("w0")
    table.add("w0", cpu=4, memory=8)
    with pytest.raises(NotReservedError):
        table.release("w0", Task("t", cpu=1))
    assert table.view("w0").cpu_avail == 4.0
    table.check()


def test_shrinking_below_what_is_allocated_leaves_nothing_available_until_enough_is_released() -> None:
    table = workers([8])
    for name in ("a", "b", "c"):
        table.reserve("w0", Task(name, cpu=2))
    table.resize("w0", cpu=3)
    assert table.view("w0").cpu_avail == 0.0
    table.check()
    table.release("w0", Task("a", cpu=2))
    assert table.view("w0").cpu_avail == 0.0
    table.release("w0", Task("b", cpu=2))
    assert table.view("w0").cpu_avail == 1.0
    table.resize("w0", cpu=8)
    table.release("w0", Task("c", cpu=2))
    assert table.view("w0").cpu_avail == 8.0
    table.check()


def test_load_is_the_larger_of_reported_and_promised() -> None:
    table = workers([8], memory=[80], gpu=[4])
    table.reserve("w0", Task("t", cpu=4, memory=20, gpu=1))
    promised = ((8 * 0.5 + 8 * 0.25) + 8 * 0.25) / 24
    assert table.view("w0").load == promised
    table.set_load("w0", 0.1)
    assert table.view("w0").load == promised
    table.set_load("w0", 1.3)
    assert table.view("w0").load == 1.3
    table.release("w0", Task("t", cpu=4, memory=20, gpu=1))
    table.set_load("w0", 0.0)
    assert table.view("w0").load == 0.0


def test_a_worker_without_cpu_memory_and_gpu_promises_load_zero() -> None:
    table = workers([0], memory=[0])
    table.reserve("w0", Task("t", storage=10))
    assert table.view("w0").load == 0.0
    assert reference.promised_load(np.zeros((3, 1)), np.zeros((3, 1))).tolist() == [0.0]


def test_columns_are_read_only_views_that_survive_growth_and_the_table() -> None:
    table = workers([4, 8])
    columns = table.columns()
    assert columns["cpu_avail"].tolist() == [4.0, 8.0]
    with pytest.raises(ValueError, match="read-only"):
        columns["cpu_avail"][0] = 99
    table.reserve("w0", Task("t", cpu=1))
    assert columns["cpu_avail"][0] == 3.0
    for i in range(1000):
        table.add(f"n{i}", cpu=1, memory=1)
    assert columns["cpu_avail"].tolist() == [3.0, 8.0]
    del table
    assert columns["cpu_avail"].tolist() == [3.0, 8.0]


def test_an_empty_table_has_empty_columns_and_passes_its_check() -> None:
    table = WorkerTable()
    assert table.ids() == []
    assert all(column.size == 0 for column in table.columns().values())
    table.set_loads([], [])
    table.check()


def test_a_subclass_of_str_is_an_id_like_its_value() -> None:
    class Name(str):
        __slots__ = ()

        def __eq__(self, other: object) -> bool:
            raise AssertionError("the table must not call this")

        __hash__ = str.__hash__

    table = WorkerTable()
    table.add(Name("w"), cpu=1, memory=1)
    assert type(table.ids()[0]) is str
    assert "w" in table
    assert Name("w") in table


def test_many_ids_are_found_after_random_joins_and_leaves() -> None:
    rng = np.random.default_rng(5)
    table, known = WorkerTable(), {}
    for n in range(20_000):
        name = f"w{rng.integers(3000)}"
        if name in known:
            assert table.slot(name) == known.pop(name)
            table.remove(name)
        else:
            known[name] = table.add(name, cpu=1, memory=1)
        if n % 1000 == 0:
            assert sorted(table.ids()) == sorted(known)
            assert all(table.slot(name) == slot for name, slot in known.items())


def test_a_table_is_not_copied_by_accident() -> None:
    for duplicate in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="cannot be pickled or copied"):
            duplicate(workers([1]))


@pytest.mark.parametrize("breakage", ["available", "load", "allocated"])
def test_check_sees_what_is_broken(breakage: str) -> None:
    import ctypes

    table = workers([4, 8])
    RTSScheduler(table)
    table.reserve("w1", Task("t", cpu=2))
    column = {"available": "cpu_avail", "load": "load", "allocated": "memory_allocated"}[breakage]
    ctypes.c_double.from_address(table.columns()[column].ctypes.data + 8).value += 1.0
    with pytest.raises(AssertionError):
        table.check()


@pytest.mark.parametrize("n", [10_000, 100_000])
def test_a_worker_costs_at_most_three_hundred_bytes(n: int) -> None:
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        table = WorkerTable()
        for i in range(n):
            table.add(f"worker-{i:06d}", cpu=16, memory=64, gpu=1, storage=100)
        scheduler = RTSScheduler(table)
        scheduler.select_worker(Task("t", cpu=1))
        python = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    per_worker = (python + table.nbytes + scheduler.policy.nbytes) / n
    print(f"{per_worker:.0f} bytes per worker at {n:,}")
    assert per_worker <= 300
