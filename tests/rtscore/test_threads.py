"""Eight threads that change, choose, explain and swap parameters at once leave a sound table."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from cluster_makers import assert_as_reference, random_cluster, random_params, random_task

from rtscore import RTSScheduler
from rtscore.errors import CapacityError

THREADS = 8
ROUNDS = 400


@pytest.fixture
def frequent_switches() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_a_table_survives_eight_threads(frequent_switches: None) -> None:
    rng = np.random.default_rng(9)
    table, params = random_cluster(rng, 400, "idle")
    scheduler = RTSScheduler(table, params)
    errors: list[BaseException] = []
    placed = [0] * THREADS
    together = threading.Barrier(THREADS)

    def work(number: int) -> None:
        mine = np.random.default_rng(100 + number)
        held = []
        try:
            together.wait()
            for n in range(ROUNDS):
                task = random_task(mine, f"{number}-{n}")
                decision = scheduler.select_worker(task)
                if decision.worker_id is not None:
                    try:
                        table.reserve(decision.worker_id, task)
                    except CapacityError:
                        pass  # another thread was quicker
                    else:
                        held.append((decision.worker_id, task))
                        placed[number] += 1
                else:
                    assert decision.reason
                table.set_load(f"w{mine.integers(400)}", float(mine.random()))
                if n % 20 == 0:
                    for other in scheduler.select_many(
                        [random_task(mine, f"{number}-{n}-{i}") for i in range(5)], reserve=False
                    ):
                        assert other.source
                if n % 50 == 0:
                    scheduler.params = random_params(mine, 400, "idle")
                    scheduler.explain(task)
                if n % 10 == number % 10:
                    table.add(f"x{number}-{n}", cpu=8, memory=16)
                    table.columns()["load"].sum()
                    table.set_schedulable(f"w{mine.integers(400)}", bool(mine.random() < 0.9))
                if len(held) > 30:
                    table.release(*held.pop(int(mine.integers(len(held)))))
                if n % 10 == (number + 5) % 10 and n > 5 and not table.reserved(f"x{number}-{n - 5}"):
                    table.set_schedulable(f"x{number}-{n - 5}", False)
            for worker, task in held:
                table.release(worker, task)
        except BaseException as error:
            errors.append(error)
            together.abort()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert min(placed) > 0
    table.check()
    assert not any(table.columns()[f"{name}_allocated"].any() for name in ("memory", "gpu", "storage"))
    for _ in range(20):
        assert_as_reference(scheduler, random_task(rng))
