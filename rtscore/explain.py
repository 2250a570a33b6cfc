"""Why there: every term of the risk for every worker, or what the worker lacks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

import msgspec
import numpy as np

from rtscore import reference
from rtscore._kernel.selector import decision_time
from rtscore.decision import Decision, Source, describe_shortage

if TYPE_CHECKING:
    from rtscore.params import GAParams
    from rtscore.scheduler import Scheduler
    from rtscore.tasks import Task
    from rtscore.workers import WorkerTable


class WorkerTerms(msgspec.Struct, frozen=True):
    """One worker's row of an explanation.

    ``risk = alpha * lateness_s + static`` and ``static = beta * load - affinity + penalty``;
    ``runtime_s = tau * (1 + cpu_share + memory_share + gpu_share + load_share)``.
    """

    worker_id: str
    slot: int
    feasible: bool
    lacks: tuple[str, ...]
    """Why it is not feasible: ``not schedulable``, or per resource ``cpu: asks 4, has 2``."""
    load: float
    cpu_share: float
    memory_share: float
    gpu_share: float
    load_share: float
    runtime_s: float
    lateness_s: float
    affinity: float
    penalty: float
    static: float
    risk: float
    meets_deadline: bool
    """Whether it is feasible and predicted to finish in time."""


class Explanation(Sequence[WorkerTerms]):
    """One decision with a row per worker, in slot order, all of one instant.

    Attributes
    ----------
    task : Task
    now : float
        The instant that it explains, in seconds.
    decision : Decision
        What `select_worker` answers for the same table, task and instant. When the fallback would decide and
        cannot be asked without making it move on, the decision has source `ROUND_ROBIN` and no worker.
    """

    def __init__(
        self,
        task: Task,
        now: float,
        decision: Decision,
        ids: Sequence[str | None],
        columns: reference.Columns,
        terms: reference.Terms,
    ) -> None:
        self.task = task
        self.now = now
        self.decision = decision
        self._ids = ids
        self._slots = [slot for slot, worker_id in enumerate(ids) if worker_id is not None]
        self._columns = columns
        self._terms = terms

    def __len__(self) -> int:
        return len(self._slots)

    @overload
    def __getitem__(self, index: int) -> WorkerTerms: ...
    @overload
    def __getitem__(self, index: slice) -> list[WorkerTerms]: ...
    def __getitem__(self, index: int | slice) -> WorkerTerms | list[WorkerTerms]:
        if isinstance(index, slice):
            return [self._row(slot) for slot in self._slots[index]]
        return self._row(self._slots[index])

    def __iter__(self) -> Iterator[WorkerTerms]:
        return (self._row(slot) for slot in self._slots)

    def worker(self, worker_id: str) -> WorkerTerms:
        """Return one worker's row; KeyError when it was not in the table."""
        try:
            return self._row(self._ids.index(worker_id))
        except ValueError:
            raise KeyError(worker_id) from None

    @property
    def feasible(self) -> int:
        """How many workers have room for the task."""
        return int(self._terms.feasible.sum())

    def ranking(self, limit: int | None = None) -> list[WorkerTerms]:
        """Return the candidates, least risk first, equal risks by slot; at most `limit` of them."""
        candidate = self._terms.feasible & np.isfinite(self._terms.risk)
        slots = np.flatnonzero(candidate)
        order = np.argsort(self._terms.risk[slots], kind="stable")[:limit]
        return [self._row(int(slot)) for slot in slots[order]]

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain dicts, lists, strings and numbers (a risk may be infinite or NaN)."""
        task = self.task
        return {
            "task": {
                "id": task.id,
                "cpu": task.cpu,
                "memory": task.memory,
                "gpu": task.gpu,
                "storage": task.storage,
                "task_type": str(task.task_type),
                "tau": task.tau,
                "arrival_time": task.arrival_time,
                "deadline": task.deadline,
            },
            "now": self.now,
            "decision": {
                "worker_id": self.decision.worker_id,
                "slot": self.decision.slot,
                "risk": self.decision.risk,
                "source": str(self.decision.source),
                "reason": self.decision.reason,
            },
            "workers": [msgspec.to_builtins(row) for row in self],
        }

    def _row(self, slot: int) -> WorkerTerms:
        columns, terms = self._columns, self._terms
        worker_id = self._ids[slot]
        assert worker_id is not None
        feasible = bool(terms.feasible[slot])
        return WorkerTerms(
            worker_id=worker_id,
            slot=slot,
            feasible=feasible,
            lacks=self._lacks(slot),
            load=float(columns.load[slot]),
            cpu_share=float(terms.cpu_share[slot]),
            memory_share=float(terms.memory_share[slot]),
            gpu_share=float(terms.gpu_share[slot]),
            load_share=float(terms.load_share[slot]),
            runtime_s=float(terms.runtime_s[slot]),
            lateness_s=float(terms.lateness_s[slot]),
            affinity=float(columns.affinity[slot]),
            penalty=float(columns.penalty[slot]),
            static=float(terms.static[slot]),
            risk=float(terms.risk[slot]),
            meets_deadline=feasible and float(terms.lateness_s[slot]) == 0.0,
        )

    def _lacks(self, slot: int) -> tuple[str, ...]:
        lacks = [] if self._columns.schedulable[slot] else ["not schedulable"]
        for resource in reference.RESOURCES:
            asked, available = getattr(self.task, resource), float(getattr(self._columns, resource)[slot])
            if available < asked:
                lacks.append(f"{resource}: asks {asked:.6g}, has {available:.6g}")
        return tuple(lacks)

    def __repr__(self) -> str:
        return f"<Explanation of task {self.task.id!r} on {len(self)} workers: {self.decision!r}>"


def explain(
    table: WorkerTable, params: GAParams, fallback: Scheduler, task: Task, now: float | None = None
) -> Explanation:
    """Return the explanation of one decision, computed by the reference on a copy of the table."""
    instant = decision_time(task, now)
    ids, columns = reference.snapshot(table, params, task.task_type)
    terms = reference.terms(task, columns, params, instant)
    slot, risk = reference.select(task, columns, params, instant)
    if slot >= 0:
        decision = Decision(ids[slot], slot, risk, Source.RTS)
    elif terms.feasible.any():
        peek = getattr(fallback, "peek", None)
        decision = peek(task, instant) if peek is not None else Decision(source=Source.ROUND_ROBIN)
    else:
        decision = Decision(reason=_reason(task, ids, columns))
    return Explanation(task, instant, decision, ids, columns, terms)


def _reason(task: Task, ids: Sequence[str | None], columns: reference.Columns) -> str:
    lacking = [
        int((columns.schedulable & (getattr(columns, name) < getattr(task, name))).sum())
        for name in reference.RESOURCES
    ]
    live = sum(worker_id is not None for worker_id in ids)
    return describe_shortage(task, live, live - int(columns.schedulable.sum()), lacking, 0)
