"""τ, the expected runtime of each task type, learned by an exponential moving average."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from rtscore.tasks import DEFAULT_TAU, TASK_TYPES, is_valid_task_type

DEFAULT_LAMBDA = 0.2


@runtime_checkable
class TauStore(Protocol):
    """Where the scheduler's owner keeps τ, in seconds per task type; safe to call from several threads."""

    def get_tau(self, task_type: str) -> float:
        """Return τ of a type in seconds."""
        ...

    def update_tau(self, task_type: str, runtime_s: float) -> None:
        """Learn from one successful run; what cannot be learned from changes nothing."""
        ...

    def set_tau(self, task_type: str, tau: float) -> None:
        """Set τ of a type in seconds."""
        ...


class InMemoryTauStore:
    """τ in memory: τ_new = λ·runtime + (1 - λ)·τ_old.

    Parameters
    ----------
    lam : float
        λ in (0, 1]; how much one run weighs.
    initial : mapping of task type to seconds, optional
        Values to begin with; the other types begin with `DEFAULT_TAU`.

    Raises
    ------
    ValueError
        When λ or an initial value is out of bounds.
    """

    def __init__(self, lam: float = DEFAULT_LAMBDA, initial: Mapping[str, float] | None = None) -> None:
        if not 0.0 < lam <= 1.0:
            raise ValueError(f"lam is {lam!r}; a number in (0, 1] is allowed")
        self._lam = lam
        self._lock = threading.Lock()
        self._tau: dict[str, float] = {str(t): DEFAULT_TAU[t] for t in TASK_TYPES}
        for task_type, tau in (initial or {}).items():
            self.set_tau(task_type, tau)

    def get_tau(self, task_type: str) -> float:
        """Return τ of a type in seconds.

        Raises
        ------
        ValueError
            When the type is not one of the six.
        """
        self._check_type(task_type)
        with self._lock:
            return self._tau[task_type]

    def update_tau(self, task_type: str, runtime_s: float) -> None:
        """Learn from one successful run.

        A type outside the six, or a runtime that is not finite and positive, changes nothing: telemetry
        may be broken, and τ must outlive it.
        """
        if not is_valid_task_type(task_type) or not (math.isfinite(runtime_s) and runtime_s > 0.0):
            return
        with self._lock:
            self._tau[task_type] = self._lam * runtime_s + (1.0 - self._lam) * self._tau[task_type]

    def set_tau(self, task_type: str, tau: float) -> None:
        """Set τ of a type in seconds.

        Raises
        ------
        ValueError
            When the type is not one of the six, or τ is not finite and positive.
        """
        self._check_type(task_type)
        if not (math.isfinite(tau) and tau > 0.0):
            raise ValueError(f"tau of {task_type} is {tau!r}; a finite positive number of seconds is allowed")
        with self._lock:
            self._tau[task_type] = float(tau)

    @staticmethod
    def _check_type(task_type: str) -> None:
        if not is_valid_task_type(task_type):
            raise ValueError(f"task type is {task_type!r}; allowed are {', '.join(TASK_TYPES)}")
