"""Time and peak memory of decisions, per cluster and size."""

from __future__ import annotations

from itertools import cycle

import numpy as np

from benchmarks.clusters import PLACEABLE, PROMISED, make_cluster
from benchmarks.decision import SEED
from benchmarks.peers import BATCH, least_risk_loop, numba_loop, ours, reference

TASKS = 2_000
SIZES = [1_000, 10_000, 100_000]
KINDS = list(PROMISED)


class Decision:
    """One call decides one task after another."""

    params = (SIZES, KINDS)
    param_names = ("workers", "cluster")
    timeout = 300.0

    def setup(self, workers: int, kind: str) -> None:
        self.cluster = make_cluster(kind, workers, TASKS, SEED)
        self.select_worker = self.cluster.scheduler.select_worker
        own, spec = ours(self.cluster), reference(self.cluster)
        for i in range(50):
            got, wanted = own.slot(own.call(*own.args[i])), spec.slot(spec.call(*spec.args[i]))
            assert got == wanted, f"task {i}: slot {got}, the reference says {wanted}"
        self.tasks = cycle(self.cluster.tasks)
        self.batch = self.cluster.tasks[:BATCH]

    def time_select(self, workers: int, kind: str) -> None:
        self.select_worker(next(self.tasks))

    def time_select_many(self, workers: int, kind: str) -> None:
        self.cluster.scheduler.select_many(self.batch, None, False)

    def time_candidates(self, workers: int, kind: str) -> None:
        self.cluster.scheduler.candidates(next(self.tasks))

    def peakmem_select(self, workers: int, kind: str) -> None:
        self.select_worker(next(self.tasks))


class Placing(Decision):
    """A decision that is acted upon: the next one finds a changed block."""

    params = (SIZES, [kind for kind in KINDS if kind in PLACEABLE])
    time_select = time_select_many = time_candidates = peakmem_select = None

    def setup(self, workers: int, kind: str) -> None:
        super().setup(workers, kind)
        placed = ((t, self.select_worker(t).worker_id) for t in self.cluster.tasks)
        self.placed = cycle([(task, worker_id) for task, worker_id in placed if worker_id is not None])

    def time_select_reserve_release(self, workers: int, kind: str) -> None:
        task = next(self.tasks)
        worker_id = self.select_worker(task).worker_id
        if worker_id is not None:
            self.cluster.table.reserve(worker_id, task)
            self.cluster.table.release(worker_id, task)

    def time_reserve_release(self, workers: int, kind: str) -> None:
        task, worker_id = next(self.placed)
        self.cluster.table.reserve(worker_id, task)
        self.cluster.table.release(worker_id, task)


class Heartbeats(Decision):
    """One worker in a hundred reports its load, then a task is decided."""

    time_select = time_select_many = time_candidates = peakmem_select = None

    def setup(self, workers: int, kind: str) -> None:
        super().setup(workers, kind)
        rng = np.random.default_rng(SEED)
        slots = rng.permutation(workers).reshape(-1, workers // 100)
        self.reports = cycle([(some, rng.random(len(some)) * 0.3) for some in slots])

    def time_set_loads_and_select(self, workers: int, kind: str) -> None:
        self.cluster.table.set_loads(*next(self.reports))
        self.select_worker(next(self.tasks))


class Peers:
    """The others on the same clusters: what does not change with our commits shows the machine's drift."""

    params = (SIZES, KINDS)
    param_names = ("workers", "cluster")
    timeout = 300.0

    def setup(self, workers: int, kind: str) -> None:
        cluster = make_cluster(kind, workers, TASKS, SEED)
        spec, loop = reference(cluster), numba_loop(cluster)
        least_risk_loop()(*loop.args[0])
        self.spec, self.spec_args = spec.call, cycle(spec.args)
        self.loop, self.loop_args = loop.call, cycle(loop.args)

    def time_numpy_reference(self, workers: int, kind: str) -> None:
        self.spec(*next(self.spec_args))

    def time_numba_loop(self, workers: int, kind: str) -> None:
        self.loop(*next(self.loop_args))
