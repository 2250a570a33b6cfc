"""How long a task probably runs where: the learned model of runtimes, as the master and the trainer share it.

::

    runtime = base_c · slowdown_cj · (1 + θ·x) · residual        x = (C/C_avail, M/M_avail, G/G_avail, L)

for a task of type c on worker j, x at placement. The residual is what chance does; its quantiles are those
that were observed.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Self

import msgspec

Amounts = tuple[float, float, float]

PERCENTS = tuple(range(1, 100))
"""The percentages at which a type has the quantiles of its residual."""


class RuntimeModelError(ValueError):
    """A document that is no runtime model."""


class TypeRuntime(msgspec.Struct, frozen=True):
    """What is known of one task type.

    Parameters
    ----------
    base_s : float
        Median runtime on an average idle worker, in seconds.
    success : float
        Share of runs that do their work.
    quantiles : tuple of 99 floats
        Of the log residual at `PERCENTS`, ascending.
    anywhere : tuple of 99 floats
        Of log(runtime/base_s), wherever the tasks were placed.
    slowdown : mapping of worker id to float
        Runtime as a multiple of the type's average; a worker that is not named is average.
    records : int
        Attempts that this was learned from.
    """

    base_s: float
    success: float
    quantiles: tuple[float, ...]
    anywhere: tuple[float, ...]
    slowdown: Mapping[str, float]
    records: int

    def __post_init__(self) -> None:
        numbers = (self.base_s, *self.slowdown.values())
        if not all(math.isfinite(number) and number > 0.0 for number in numbers):
            raise RuntimeModelError("base_s or a slowdown is not finite and above 0")
        if not 0.0 <= self.success <= 1.0:
            raise RuntimeModelError(f"success is {self.success!r}; a number in [0, 1] is allowed")
        for name in ("quantiles", "anywhere"):
            values = getattr(self, name)
            if len(values) != len(PERCENTS) or not all(map(math.isfinite, values)):
                raise RuntimeModelError(f"{name} are not {len(PERCENTS)} finite numbers")
            if any(a > b for a, b in pairwise(values)):
                raise RuntimeModelError(f"{name} do not ascend")


def share_below(quantiles: Sequence[float], value: float) -> float:
    """The share of a distribution below a value, from its quantiles at `PERCENTS`."""
    below = bisect_right(quantiles, value)
    if below == 0:
        return 0.0
    if below == len(quantiles):
        return 1.0 - share_above(quantiles, value)
    low, high = quantiles[below - 1], quantiles[below]
    return (below + (value - low) / (high - low)) / 100.0


def share_above(quantiles: Sequence[float], value: float) -> float:
    """The share of a distribution above a value; not 0 where little is left, as 1 less the share below is."""
    if value < quantiles[-1]:
        return 1.0 - share_below(quantiles, value)
    # The last hundredth thins out as the tenth before the last quantile does: exponentially.
    scale = (quantiles[-1] - quantiles[89]) / math.log(10.0)
    return 0.01 * math.exp((quantiles[-1] - value) / scale) if scale > 0.0 else 0.0


def quantile(quantiles: Sequence[float], share: float) -> float:
    """The value below which this share lies; within the first and the last quantile."""
    place = min(max(100.0 * share, 1.0), 99.0) - 1.0
    below = min(int(place), len(quantiles) - 2)
    low, high = quantiles[below], quantiles[below + 1]
    return low + (high - low) * (place - below)


class RuntimeModel(msgspec.Struct, frozen=True):
    """θ, and what is known of each type; a type that has too few records is missing."""

    theta: tuple[float, float, float, float]
    types: Mapping[str, TypeRuntime]

    def __post_init__(self) -> None:
        if not all(0.0 <= weight <= 2.0 for weight in self.theta):
            raise RuntimeModelError(f"theta is {self.theta}; four numbers in [0, 2] are allowed")

    @classmethod
    def from_document(cls, document: object) -> Self:
        """The model that `to_document` wrote.

        Raises
        ------
        RuntimeModelError
            When the document is something else.
        """
        try:
            return msgspec.convert(document, cls)
        except msgspec.ValidationError as error:
            raise RuntimeModelError(str(error)) from None

    def to_document(self) -> dict[str, Any]:
        """The model as plain dicts, lists and numbers."""
        document: dict[str, Any] = msgspec.to_builtins(self)
        return document

    def stretch(self, request: Amounts, available: Amounts, load: float) -> float:
        """1 + θ·x: by how much a worker in this state slows a task of this request.

        Parameters
        ----------
        request, available : (cores, GiB, devices)
            Of the task, and of the worker just before the task is placed there.
        load : float
        """
        theta = self.theta
        return (
            1.0
            + theta[0] * request[0] / (available[0] or 1.0)
            + theta[1] * request[1] / (available[1] or 1.0)
            + theta[2] * request[2] / (available[2] or 1.0)
            + theta[3] * load
        )

    def factor(
        self, task_type: str, worker_id: str, request: Amounts, available: Amounts, load: float
    ) -> float | None:
        """Slowdown and stretch together: the typical runtime there as a multiple of that on an average idle
        worker; None for a type that is not known."""
        known = self.types.get(task_type)
        if known is None:
            return None
        return known.slowdown.get(worker_id, 1.0) * self.stretch(request, available, load)
