"""What would have happened: a workload on machines under a policy and a queue order, by the real kernel.

Placements are decided on a `WorkerTable` of the replay's own, by the production selection (`numba_api`) or by
another policy of `aod.policies`; the queue is the master's (see `_replay_njit`). A task runs for::

    base × slowdown(type, worker) × (1 + θ·x)        x as the worker is found at placement

`base` is its runtime on an average idle worker with its own luck in it: it moves with the task from worker to
worker. Of the load, what is promised is modelled: what heartbeats report is taken to be the same. τ of a
task is the one of its submission and does not learn during a replay.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from aod._njit import F64, I8, I64
from aod._replay_njit import COUNTS, DECISIONS, FAILURES, GROUP, STARVING_FROM, TASK, State, adopt, run
from aod.components import ENERGY_WEIGHTS
from aod.history import History
from aod.policies import FALLBACKS, WORKER, Policy, World
from aod.stats import OVERLOAD_THRESHOLD
from rtscore.params import GAParams
from rtscore.scheduler import RTSScheduler
from rtscore.tasks import TASK_TYPES
from rtscore.workers import WorkerTable

# As in master.jobs.
_STARVING_TAUS, _STARVING_S = 4.0, 30.0
_QUANTUM = 2.0**-20


class QueueOrder(StrEnum):
    """In which order waiting tasks are tried."""

    OURS = "ours"
    FIFO = "fifo"
    EDF = "edf"
    LEAST_LAXITY = "least-laxity"


@dataclass(frozen=True, slots=True, eq=False)
class Machines:
    """The workers of a replay, slot by slot, and the truth about them.

    Parameters
    ----------
    totals : float64, shape (workers, 4)
        Cores, GiB, devices, GiB.
    slowdown_tw : float64, shape (6, workers)
        Runtime of the type there as a multiple of an average worker's.
    theta : float64, shape (4,)
        True sensitivity of the runtime to cpu, memory and gpu ratio and to load.
    """

    worker_ids: tuple[str, ...]
    totals: F64
    slowdown_tw: F64
    theta: F64

    def __post_init__(self) -> None:
        n = len(self.worker_ids)
        for name, shape in (("totals", (n, 4)), ("slowdown_tw", (len(TASK_TYPES), n)), ("theta", (4,))):
            array = np.ascontiguousarray(getattr(self, name), np.float64)
            if array.shape != shape:
                raise ValueError(f"{name} has shape {array.shape}; {shape} is allowed for {n} workers")
            object.__setattr__(self, name, array)

    def __len__(self) -> int:
        return len(self.worker_ids)


@dataclass(frozen=True, slots=True, eq=False)
class Workload:
    """Tasks in order of arrival; arrays of shape (n,).

    Amounts are in cores, GiB, devices and GiB and are rounded as the table rounds them; instants and τ are in
    seconds. `base_s`: runtime on an average idle worker. `sla_multiplier`: what the deadline was made with.
    """

    task_ids: tuple[str, ...]
    arrival: F64
    type: I8
    cpu: F64
    memory: F64
    gpu: F64
    storage: F64
    tau: F64
    deadline: F64
    base_s: F64
    sla_multiplier: F64

    def __post_init__(self) -> None:
        n = len(self.task_ids)
        for field in fields(self)[1:]:
            dtype = np.int8 if field.name == "type" else np.float64
            array: NDArray[Any] = np.ascontiguousarray(getattr(self, field.name), dtype)
            if array.shape != (n,):
                raise ValueError(f"{field.name} has shape {array.shape}; ({n},) is allowed")
            if field.name in ("cpu", "memory", "gpu", "storage"):
                array = np.rint(array / _QUANTUM) * _QUANTUM
            object.__setattr__(self, field.name, array)
        if n and not np.all(np.diff(self.arrival) >= 0.0):
            raise ValueError("arrival is not in order of time")

    def __len__(self) -> int:
        return len(self.task_ids)

    def take(self, rows: slice | NDArray[np.int64]) -> Workload:
        """Some of the tasks, in order of arrival."""
        index = np.arange(len(self))[rows]
        return Workload(
            tuple(self.task_ids[i] for i in index), *(getattr(self, f.name)[index] for f in fields(self)[1:])
        )

    @property
    def request(self) -> F64:
        """What the tasks ask, shape (n, 4)."""
        return np.column_stack([self.cpu, self.memory, self.gpu, self.storage])


class Summary(msgspec.Struct, frozen=True):
    """A replay in numbers.

    A task that never ran missed its deadline; the other figures are of those that ran.

    Parameters
    ----------
    sla : float
        Share of tasks that finished by their deadline.
    wait_mean_s, wait_p95_s : float
        From arrival to start.
    slowdown_p95 : float
        (Finish - arrival) as a multiple of the runtime on an average idle worker.
    utilisation, overload : float
        Mean over workers and over the resources that they have of used/total, and the share of worker time
        with a load above 0.9; both from the first arrival to the last.
    energy : float
        Resource-seconds used as a multiple of those on average idle workers.
    decisions_per_s : float
        Decisions by the wall clock of the replay, everything else that it does included.
    """

    tasks: int
    sla: float
    misses: int
    unplaced: int
    wait_mean_s: float
    wait_p95_s: float
    slowdown_p95: float
    utilisation: float
    overload: float
    energy: float
    decisions: int
    fallbacks: int
    decisions_per_s: float


@dataclass(frozen=True, slots=True, eq=False)
class Replay:
    """The course of a replay; arrays of shape (n,) in order of arrival.

    `worker` is a slot, -1 of a task that never ran; its `start` and `finish` are NaN. `found` (n, 4): what
    was available of cpu, memory and gpu on its worker just before, and the load. `window`: first and last
    arrival, in which utilisation and overload are counted.
    """

    machines: Machines
    workload: Workload
    worker: I64
    start: F64
    finish: F64
    found: F64
    overload_s: F64
    window: tuple[float, float]
    decisions: int
    fallbacks: int
    seconds: float

    @property
    def met(self) -> NDArray[np.bool_]:
        """Which tasks finished by their deadline."""
        return self.finish <= self.workload.deadline

    @property
    def ran(self) -> NDArray[np.bool_]:
        """Which tasks ran."""
        return self.worker >= 0

    def utilisation(self) -> float:
        """See `Summary`."""
        low, high = self.window
        if not high > low or not len(self.machines):
            return 0.0
        ran = self.ran
        totals = self.machines.totals[self.worker[ran], :3]
        has = totals > 0.0
        share = np.divide(self.workload.request[ran, :3], totals, out=np.zeros_like(totals), where=has)
        use = share.sum(axis=1) / np.maximum(has.sum(axis=1), 1)
        time_s = np.minimum(self.finish[ran], high) - np.maximum(self.start[ran], low)
        return float((use * np.maximum(time_s, 0.0)).sum() / (len(self.machines) * (high - low)))

    def overload(self) -> float:
        """See `Summary`."""
        low, high = self.window
        if not high > low or not len(self.machines):
            return 0.0
        return float(self.overload_s.sum() / (len(self.machines) * (high - low)))

    def energy(self, reference_s: F64 | None = None) -> float:
        """Resource-seconds used over those of runs of `reference_s`, shape (n,); of `base_s` when None."""
        load, ran = self.workload, self.ran
        rate = load.request[:, :3] @ np.array(ENERGY_WEIGHTS)
        wanted = float((rate * (load.base_s if reference_s is None else reference_s))[ran].sum())
        return float((rate * (self.finish - self.start))[ran].sum()) / wanted if wanted > 0.0 else 1.0

    def summary(self) -> Summary:
        """The replay in numbers."""
        load, ran = self.workload, self.ran
        n, met = len(load), int(self.met.sum())
        wait = self.start[ran] - load.arrival[ran]
        slowdown = (self.finish - load.arrival)[ran] / load.base_s[ran]
        return Summary(
            tasks=n,
            sla=met / n if n else 1.0,
            misses=n - met,
            unplaced=n - int(ran.sum()),
            wait_mean_s=float(wait.mean()) if len(wait) else 0.0,
            wait_p95_s=float(np.percentile(wait, 95)) if len(wait) else 0.0,
            slowdown_p95=float(np.percentile(slowdown, 95)) if len(wait) else 0.0,
            utilisation=self.utilisation(),
            overload=self.overload(),
            energy=self.energy(),
            decisions=self.decisions,
            fallbacks=self.fallbacks,
            decisions_per_s=self.decisions / self.seconds if self.seconds > 0.0 else 0.0,
        )

    def history(self) -> History:
        """What a store would hold of the tasks that ran, in order of finish."""
        load = self.workload
        ran = np.flatnonzero(self.ran)
        ran = ran[np.argsort(self.finish[ran], kind="stable")]
        found = self.found[ran]
        return History.from_columns(
            {
                "task_id": [load.task_ids[i] for i in ran],
                "worker_id": [self.machines.worker_ids[j] for j in self.worker[ran]],
                "type": load.type[ran],
                "arrival": load.arrival[ran],
                "deadline": load.deadline[ran],
                "actual_start": self.start[ran],
                "actual_finish": self.finish[ran],
                "actual_runtime_s": (self.finish - self.start)[ran],
                "sla_success": self.met[ran],
                "cpu_used": load.cpu[ran],
                "memory_used": load.memory[ran],
                "gpu_used": load.gpu[ran],
                "storage_used": load.storage[ran],
                "load_at_start": found[:, 3],
                "tau": load.tau[ran],
                "sla_multiplier": load.sla_multiplier[ran],
                "cpu_available": found[:, 0],
                "memory_available": found[:, 1],
                "gpu_available": found[:, 2],
            }
        )


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """What a policy handle is given: θ, α, β as 6 numbers, affinity (6, workers) and penalty (workers,)."""

    weights: F64
    affinity_tw: F64
    penalty_w: F64

    @classmethod
    def of(cls, params: GAParams, worker_ids: tuple[str, ...]) -> Scores:
        """The scores of a parameter set for these workers; 0 where it names none."""
        theta, risk = params.theta, params.risk
        rows = [params.affinity.get(name, {}) for name in TASK_TYPES]
        return cls(
            np.array([theta.theta1, theta.theta2, theta.theta3, theta.theta4, risk.alpha, risk.beta]),
            np.array([[row.get(name, 0.0) for name in worker_ids] for row in rows], np.float64),
            np.array([params.penalty.get(name, 0.0) for name in worker_ids], np.float64),
        )


class Replayer:
    """A workload on machines, prepared once and replayed any number of times.

    `run` may be called from several threads at once: each run has a table of its own (0.2 ms for 100
    workers), and the compiled loop releases the GIL.

    Parameters
    ----------
    order : QueueOrder
        Hopeful by deadline and hopeless by arrival (ours), or all by arrival, deadline, or deadline - τ.
    """

    def __init__(self, machines: Machines, workload: Workload, order: QueueOrder = QueueOrder.OURS) -> None:
        self.machines = machines
        self.workload = workload
        self.order = order
        arrival, tau, n = workload.arrival, workload.tau, len(workload)
        request = workload.request
        latest_start = workload.deadline - tau
        starving_at = arrival + np.maximum(_STARVING_TAUS * tau, _STARVING_S)
        _, group = np.unique(request, axis=0, return_inverse=True)
        group = group.reshape(-1).astype(np.int32)
        totals = np.rint(machines.totals / _QUANTUM) * _QUANTUM
        group[~_possible(request, totals)] = -1
        self._request = np.ascontiguousarray(request)
        self._groups = np.zeros(int(group.max(initial=0)) + 1, GROUP)
        self._groups["unreservable"] = -1
        tasks = np.zeros(n, TASK)
        for name in ("arrival", "cpu", "gpu", "storage", "tau", "deadline", "base_s", "type"):
            tasks[name] = getattr(workload, name)
        tasks["gib"], tasks["group"] = workload.memory, group
        tasks["latest_start"], tasks["by_latest"] = latest_start, np.argsort(latest_start, kind="stable")
        tasks["starving_at"], tasks["by_starving"] = starving_at, np.argsort(starving_at, kind="stable")
        for name in ("start", "finish", "found_cpu", "found_gib", "found_gpu", "found_load"):
            tasks[name] = np.nan
        for name in ("worker", "reserved", "next_run", "previous_run"):
            tasks[name] = -1
        self._tasks = tasks
        workers = np.zeros(len(machines), WORKER)
        for k, name in enumerate(("total_cpu", "total_gib", "total_gpu", "total_storage")):
            workers[name] = totals[:, k]
        workers["over_since"], workers["open"] = np.inf, 1
        workers["first_run"] = workers["last_run"] = -1
        self._workers = workers
        key = {QueueOrder.FIFO: arrival, QueueOrder.LEAST_LAXITY: latest_start}.get(order, workload.deadline)
        self._order = np.empty((2, 2, n), np.int64)
        for k, at in enumerate((np.argsort(key, kind="stable"), np.arange(n))):
            self._order[k, 1] = at
            self._order[k, 0, at] = np.arange(n)
        first, last = (arrival[0], arrival[-1]) if n else (0.0, 0.0)
        # When all arrive at once the window ends with the last finish.
        self._window = np.array([first, last if last > first else np.inf, OVERLOAD_THRESHOLD])

    def run(
        self, policy: Policy = Policy.RTS, params: GAParams | Scores | None = None, *, seed: int = 0
    ) -> Replay:
        """Replay it once.

        Parameters
        ----------
        policy : Policy
        params : GAParams or Scores, optional
            For the policy rts; the defaults when None.
        seed : int
            Of the random policies.
        """
        machines = self.machines
        if not isinstance(params, Scores):
            params = Scores.of(params or GAParams.default(), machines.worker_ids)
        began = time.perf_counter()
        table = WorkerTable()
        for j, (name, (cpu, memory, gpu, storage)) in enumerate(
            zip(machines.worker_ids, machines.totals.tolist(), strict=True)
        ):
            slot = table.add(name, cpu=cpu, memory=memory, gpu=gpu, storage=storage)
            assert slot == j
        scheduler = RTSScheduler(table)
        handle = scheduler.policy.handle
        adopt(handle, params.weights, params.affinity_tw, params.penalty_w)
        columns = table.columns()
        counts = np.zeros(2, np.int64)
        workers = self._workers.copy()
        world = World(
            table=table.handle,
            policy=handle,
            cpu=columns["cpu_avail"],
            gib=columns["memory_avail"],
            gpu=columns["gpu_avail"],
            storage=columns["storage_avail"],
            load=columns["load"],
            workers=workers,
            slowdown_tw=machines.slowdown_tw,
            theta=machines.theta,
            memory=counts,
            # Odd, since xorshift must not begin with 0.
            rng=np.array([2 * seed + 0x9E3779B97F4A7C15], np.uint64),
        )
        state = self._state()
        run(world, state, int(policy), self.order is QueueOrder.OURS)
        tasks = state.t
        low, high, _ = self._window.tolist()
        if high == np.inf:
            high = float(np.nanmax(tasks["finish"])) if (tasks["worker"] >= 0).any() else low
        return Replay(
            machines=machines,
            workload=self.workload,
            worker=tasks["worker"].copy(),
            start=tasks["start"].copy(),
            finish=tasks["finish"].copy(),
            found=np.column_stack([tasks[f"found_{name}"] for name in ("cpu", "gib", "gpu", "load")]),
            overload_s=workers["overload_s"].copy(),
            window=(low, high),
            decisions=int(state.counts[DECISIONS]),
            fallbacks=int(counts[FALLBACKS]),
            seconds=time.perf_counter() - began,
        )

    def _state(self) -> State:
        leaves = 1 << max(len(self.workload) - 1, 1).bit_length()
        count = np.zeros(COUNTS, np.int64)
        count[STARVING_FROM] = len(self.workload)
        return State(
            t=self._tasks.copy(),
            request=self._request,
            groups=self._groups.copy(),
            tree=np.full((2, 2 * leaves, 4), np.inf),
            order=self._order,
            held=np.zeros(len(self.machines) + 1, np.int64),
            failed=np.zeros((FAILURES, 4)),
            counts=count,
            window=self._window,
        )


def _possible(request: F64, totals: F64) -> NDArray[np.bool_]:
    """Which requests some worker could run if it were empty."""
    possible = np.zeros(len(request), np.bool_)
    for total in np.unique(totals, axis=0):
        possible |= (request <= total).all(axis=1)
    return possible
