"""The scheduler: parameters bound to a table, decisions made by the kernel."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from rtscore._kernel.records import Decision
from rtscore._kernel.selector import Policy, Selector
from rtscore.explain import Explanation, explain
from rtscore.params import GAParams
from rtscore.round_robin import RoundRobinScheduler
from rtscore.tasks import TASK_TYPES, Task
from rtscore.workers import WorkerTable


@runtime_checkable
class Scheduler(Protocol):
    """What a placement policy implements."""

    @property
    def name(self) -> str:
        """The policy's name in settings and metrics."""
        ...

    def select_worker(self, task: Task, now: float | None = None) -> Decision:
        """Return where a task goes; reserves nothing."""
        ...

    def reset(self) -> None:
        """Forget what was remembered from one decision to the next."""
        ...


class _Scores:
    """Gives the workers in the table their scores; those of the others wait for their join."""

    def __init__(self, params: GAParams) -> None:
        self._rows = [
            (i, params.affinity[name]) for i, name in enumerate(TASK_TYPES) if name in params.affinity
        ]
        self._penalty = params.penalty

    def fill(self, policy: Policy) -> None:
        """Set every score whose worker is in the table."""
        for index, row in self._rows:
            for worker_id, score in row.items():
                policy.set_affinity(index, worker_id, score)
        for worker_id, score in self._penalty.items():
            policy.set_penalty(worker_id, score)

    def join(self, policy: Policy, worker_id: str) -> None:
        """Set all scores of a worker that joined; zero where it has none."""
        for index, row in self._rows:
            policy.set_affinity(index, worker_id, row.get(worker_id, 0.0))
        policy.set_penalty(worker_id, self._penalty.get(worker_id, 0.0))


class RTSScheduler(Selector):
    """Chooses the feasible worker of least risk of missing the deadline.

    Thread safety: the GIL. A decision holds it throughout, so it sees one state of the table; `params` are
    built aside and swapped by one assignment, so it uses the old set or the new one.

    Parameters
    ----------
    table : WorkerTable
    params : GAParams, optional
        `GAParams.default()` when None.
    fallback : Scheduler, optional
        Decides when workers fit but none has a finite risk; `RoundRobinScheduler(table)` when None.
    """

    __slots__ = ("_params",)

    def __init__(
        self, table: WorkerTable, params: GAParams | None = None, fallback: Scheduler | None = None
    ) -> None:
        self._params = GAParams.default() if params is None else params
        self._adopt(
            _policy(table, self._params), RoundRobinScheduler(table) if fallback is None else fallback
        )

    @property
    def name(self) -> str:
        """The scheduler's name in settings and metrics."""
        return "rts"

    @property
    def params(self) -> GAParams:
        """The parameters in use; assigning swaps them atomically, unknown ids wait for their join."""
        return self._params

    @params.setter
    def params(self, params: GAParams) -> None:
        policy = _policy(self.table, params)
        self._params = params
        self._adopt(policy, self.fallback)

    def explain(self, task: Task, now: float | None = None) -> Explanation:
        """Return every term of a decision for every worker; decides nothing, remembers nothing.

        Raises
        ------
        InvalidTaskError, TypeError
            As in `select_worker`.
        """
        return explain(self.table, self._params, self.fallback, task, now)

    def reset(self) -> None:
        """Reset the fallback; the model itself remembers nothing from one decision to the next."""
        self.fallback.reset()


def _policy(table: WorkerTable, params: GAParams) -> Policy:
    if not isinstance(params, GAParams):
        raise TypeError(f"params takes GAParams, not {type(params).__name__}")
    scores = _Scores(params)
    policy = Policy(table, scores.join)
    theta, risk = params.theta, params.risk
    policy.set_weights((theta.theta1, theta.theta2, theta.theta3, theta.theta4), risk.alpha, risk.beta)
    scores.fill(policy)
    return policy
