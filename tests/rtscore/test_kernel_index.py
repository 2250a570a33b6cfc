"""The index stays what a full scan of the table gives, after whatever happened to the table."""

from __future__ import annotations

import os

import numpy as np
from cluster_makers import assert_as_reference, random_cluster, random_params, random_task

from rtscore import RTSScheduler, Task, WorkerTable

MUTATIONS = int(os.environ.get("RTS_MUTATIONS", "100000"))


class Churn:
    """Random mutations of a table, with what is reserved kept by hand."""

    def __init__(self, rng: np.random.Generator, table: WorkerTable) -> None:
        self.rng = rng
        self.table = table
        self.reserved: list[tuple[str, Task]] = []
        self.joined = 0

    def step(self) -> None:
        rng, table = self.rng, self.table
        ids = table.ids()
        dice = rng.random()
        if not ids or (dice < 0.06 and len(ids) < 220):
            self.joined += 1
            table.add(
                f"n{self.joined}", cpu=float(rng.integers(0, 65)), memory=64, gpu=float(rng.integers(0, 3))
            )
            return
        worker = ids[int(rng.integers(len(ids)))]
        if dice < 0.11:
            table.remove(worker)
            self.reserved = [(w, t) for w, t in self.reserved if w != worker]
        elif dice < 0.16:
            table.resize(worker, cpu=float(rng.integers(0, 65)))
        elif dice < 0.22:
            table.set_schedulable(worker, bool(rng.random() < 0.7))
        elif dice < 0.45:
            table.set_load(worker, float(rng.choice([0.0, 0.5, rng.random() * 2])))
        elif dice < 0.7 or not self.reserved:
            view = table.view(worker)
            task = Task(
                f"t{len(self.reserved)}",
                cpu=view.cpu_avail * float(rng.random()),
                memory=view.memory_avail / 8,
            )
            table.reserve(worker, task)
            self.reserved.append((worker, task))
        else:
            worker, task = self.reserved.pop(int(rng.integers(len(self.reserved))))
            table.release(worker, task)


def test_the_index_is_right_after_every_one_of_many_mutations() -> None:
    seed = int(os.environ.get("RTS_SEED", "11"))
    print(f"seed {seed}, {MUTATIONS} mutations")
    rng = np.random.default_rng(seed)
    table = WorkerTable()
    scheduler = RTSScheduler(table)
    churn = Churn(rng, table)
    for n in range(MUTATIONS):
        churn.step()
        # The native comparison of every copy, summary and route; the table's own columns less often.
        assert scheduler.policy.verify(), f"after mutation {n}"
        if n % 50 == 0:
            table.check()
        if n % 5000 == 0:
            scheduler.params = random_params(rng, 200, "idle")


def test_check_holds_after_every_mutation() -> None:
    rng = np.random.default_rng(12)
    table, params = random_cluster(rng, 150, "busy")
    table.check()
    schedulers = [RTSScheduler(table, params), RTSScheduler(table)]
    churn = Churn(rng, table)
    for _ in range(1500):
        churn.step()
        table.check()
    for scheduler in schedulers:
        for _ in range(20):
            assert_as_reference(scheduler, random_task(rng))


def test_an_index_that_fell_far_behind_catches_up() -> None:
    rng = np.random.default_rng(13)
    table, params = random_cluster(rng, 6000, "idle")
    scheduler = RTSScheduler(table, params)
    for changed in (10, 1500, 6000):
        slots = rng.permutation(6000)[:changed]
        table.set_loads(slots, rng.random(changed))
        table.check()
        assert_as_reference(scheduler, random_task(rng))


def test_an_index_follows_growth_from_nothing_and_back() -> None:
    rng = np.random.default_rng(14)
    table = WorkerTable()
    scheduler = RTSScheduler(table)
    for i in range(9000):
        table.add(f"w{i}", cpu=float(rng.integers(1, 97)), memory=float(rng.integers(1, 512)))
        if i % 7 == 0:
            scheduler.select_worker(Task("t", cpu=1))
        if i % 1000 == 0:
            table.check()
            assert_as_reference(scheduler, random_task(rng))
    for i in rng.permutation(9000)[:8990].tolist():
        table.remove(f"w{i}")
        if i % 7 == 0:
            scheduler.select_worker(Task("t", cpu=1))
        if i % 1000 == 0:
            table.check()
            assert_as_reference(scheduler, random_task(rng))
    assert len(table) == 10


def test_a_table_that_released_everything_is_bit_for_bit_the_table_it_was() -> None:
    rng = np.random.default_rng(15)
    table, _ = random_cluster(rng, 50, "idle")
    before = {name: column.copy() for name, column in table.columns().items()}
    reserved = []
    for i in range(400):
        worker = f"w{rng.integers(50)}"
        view = table.view(worker)
        task = Task(f"t{i}", cpu=view.cpu_avail * float(rng.random()) / 3, memory=view.memory_avail * 0.1)
        table.reserve(worker, task)
        reserved.append((worker, task))
    for i in rng.permutation(400).tolist():
        table.release(*reserved[i])
    for name, column in table.columns().items():
        assert column.tobytes() == before[name].tobytes(), name
