"""What is told of decisions at DEBUG: each acceptance, placement and end, and the risks of a sample.

At any other level a master runs without these two classes, so that no decision pays for a line that is not
written.
"""

from __future__ import annotations

import zlib
from typing import Any, cast

import structlog

from master.cluster import Cluster, Explains
from master.events import Effect, EndAttempt, Event, InsertAttempt, InsertTask
from rtscore import Decision, Scheduler, Task

log = structlog.get_logger(__name__)

# Rows of a risk table: more of them make lines that log pipelines cut.
RISK_ROWS = 100


class ToldCluster(Cluster):
    """A cluster that tells of each task that it accepts, each attempt that it opens and each that it ends."""

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Apply an event as every cluster does."""
        effects = super().handle(event, now)
        for effect in effects:
            if isinstance(effect, InsertTask):
                self._accepted(effect)
            elif isinstance(effect, InsertAttempt):
                self._placed(effect)
            elif isinstance(effect, EndAttempt):
                log.debug(
                    "attempt ended", task_id=effect.task_id, attempt=effect.attempt, end=effect.end.value
                )
        return effects

    def _accepted(self, effect: InsertTask) -> None:
        spec = effect.spec
        submission = spec.submission
        log.debug(
            "task accepted",
            task_id=submission.task_id,
            user_id=submission.user_id,
            task_type=spec.task_type,
            inferred=not submission.task_type,
            cpu=submission.cpu,
            memory=submission.memory,
            gpu=submission.gpu,
            storage=submission.storage,
            tau=spec.tau,
            deadline=spec.deadline,
        )

    def _placed(self, effect: InsertAttempt) -> None:
        record = effect.record
        task = self.task(record.task_id)
        assert task is not None
        log.debug(
            "task placed",
            task_id=record.task_id,
            attempt=record.attempt,
            worker_id=record.worker_id,
            task_type=task.spec.task_type,
            inferred=not task.spec.submission.task_type,
            source=record.source,
            risk=record.risk,
            reason=_REASONS.get(record.source, ""),
            load=record.load_at_start,
            slack_s=round(task.spec.deadline - record.assigned_at, 3),
        )


_REASONS = {
    "rts": "least risk of the workers that fit",
    "round-robin": "next worker that fits",
    "planner": "proposed by a planner",
}


class ToldScheduler:
    """Passes everything on to `inner`; tells what fits nowhere, and the risks behind a sample of decisions.

    Parameters
    ----------
    inner : Scheduler
    sample : float
        The share of tasks of which the risks are told, 0 to 1; which ones depends on their ids alone, so a
        task that is placed again, or by another master, is told again.
    """

    def __init__(self, inner: Scheduler, sample: float) -> None:
        self._inner = inner
        self._explains = hasattr(inner, "explain")
        self._below = round(sample * 2**32)

    @property
    def name(self) -> str:
        """The name of the wrapped scheduler."""
        return self._inner.name

    def select_worker(self, task: Task, now: float | None = None) -> Decision:
        """Decide as the wrapped scheduler does."""
        decision = self._inner.select_worker(task, now)
        if decision.worker_id is None:
            log.debug("nothing fits", task_id=task.id, task_type=str(task.task_type), reason=decision.reason)
        elif self._explains and zlib.crc32(task.id.encode()) < self._below:
            self._tell_risks(task, now, decision)
        return decision

    def reset(self) -> None:
        """Reset the wrapped scheduler."""
        self._inner.reset()

    def __getattr__(self, name: str) -> Any:
        # explain, params and whatever else a policy offers.
        return getattr(self._inner, name)

    def _tell_risks(self, task: Task, now: float | None, decision: Decision) -> None:
        explanation = cast(Explains, self._inner).explain(task, now)
        log.debug(
            "risks",
            task_id=task.id,
            task_type=str(task.task_type),
            worker_id=decision.worker_id,
            workers=len(explanation),
            feasible=explanation.feasible,
            risks=[
                {
                    "worker_id": row.worker_id,
                    "risk": row.risk,
                    "runtime_s": row.runtime_s,
                    "lateness_s": row.lateness_s,
                    "load": row.load,
                    "affinity": row.affinity,
                    "penalty": row.penalty,
                }
                for row in explanation.ranking(RISK_ROWS)
            ],
        )
