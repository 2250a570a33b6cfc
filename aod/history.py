"""What happened: finished attempts as columns, and what in them can be learned from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from aod import _njit
from aod._njit import F64, I8, I32
from aod.errors import HistoryError
from rtscore.tasks import TASK_TYPES

REASONS = ("usable", "unknown type", "missing number", "finish before start", "runtime not positive")
"""What `History.usable` may find in a row, in the order of its codes; the first that holds is counted."""

_TYPE_CODE = {str(name): code for code, name in enumerate(TASK_TYPES)}


class TaskHistory(msgspec.Struct, frozen=True):
    """One finished attempt, as it is written in a line of JSON; a number that is not known is None.

    Units: instants in Unix seconds, τ and runtime in seconds, cpu in cores, memory and storage in GiB, gpu in
    devices. The available amounts and the load are the worker's just before this attempt was placed on it.
    """

    task_id: str
    worker_id: str
    type: str
    arrival: float | None
    deadline: float | None
    actual_start: float | None
    actual_finish: float | None
    actual_runtime_s: float | None
    sla_success: bool
    cpu_used: float | None
    memory_used: float | None
    gpu_used: float | None
    storage_used: float | None = 0.0
    load_at_start: float | None = None
    tau: float | None = None
    sla_multiplier: float | None = None
    cpu_available: float | None = None
    memory_available: float | None = None
    gpu_available: float | None = None
    succeeded: bool = True


NUMBERS = tuple(
    field.name
    for field in msgspec.structs.fields(TaskHistory)
    if field.name not in {"task_id", "worker_id", "type", "sla_success", "succeeded"}
)
_DEFAULTS: dict[str, Any] = {
    field.name: field.default
    for field in msgspec.structs.fields(TaskHistory)
    if field.default is not msgspec.NODEFAULT
}


@dataclass(frozen=True, slots=True, eq=False)
class Usable:
    """Which rows of a history can be learned from, and how many cannot for which reason."""

    mask: NDArray[np.bool_]
    left_out: Mapping[str, int]

    @property
    def count(self) -> int:
        """Number of usable rows."""
        return int(self.mask.sum())


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """Finished attempts as columns of equal length n: the fields of `TaskHistory`, NaN where not known.

    Parameters
    ----------
    task_ids, worker_ids : tuple of str
        The names that the codes in `task` and `worker` index. They may name more than occur: a part of a
        history keeps the names of the whole, so that type × worker arrays of the parts fit each other.
    task, worker : int32, shape (n,)
    type : int8, shape (n,)
        Index into `TASK_TYPES`; -1 for a type that is none of the six.
    sla_success, succeeded : bool, shape (n,)
        Finish ≤ deadline of a run that did its work; whether the run did its work at all.

    The other columns are float64, shape (n,), in the units of `TaskHistory`.

    Raises
    ------
    HistoryError
        When columns differ in length or a code names nothing.
    """

    task_ids: tuple[str, ...]
    worker_ids: tuple[str, ...]
    task: I32
    worker: I32
    type: I8
    arrival: F64
    deadline: F64
    actual_start: F64
    actual_finish: F64
    actual_runtime_s: F64
    sla_success: NDArray[np.bool_]
    cpu_used: F64
    memory_used: F64
    gpu_used: F64
    storage_used: F64
    load_at_start: F64
    tau: F64
    sla_multiplier: F64
    cpu_available: F64
    memory_available: F64
    gpu_available: F64
    succeeded: NDArray[np.bool_]

    def __post_init__(self) -> None:
        n = len(self.task)
        for name in COLUMNS:
            column = np.ascontiguousarray(getattr(self, name), dtype=_DTYPES[name])
            if column.shape != (n,):
                raise HistoryError(
                    f"columns differ in length: {name} has shape {column.shape}, task has ({n},)"
                )
            object.__setattr__(self, name, column)
        for name, high in (
            ("task", len(self.task_ids)),
            ("worker", len(self.worker_ids)),
            ("type", len(TASK_TYPES)),
        ):
            column, low = getattr(self, name), -1 if name == "type" else 0
            if n and not low <= column.min() <= column.max() < high:
                raise HistoryError(
                    f"{name} has codes from {column.min()} to {column.max()}; {low} to {high - 1} are allowed"
                )

    def __len__(self) -> int:
        return len(self.task)

    @classmethod
    def from_columns(cls, columns: Mapping[str, Sequence[Any] | NDArray[Any]]) -> History:
        """A history from one sequence per field of `TaskHistory`: what a store returns.

        Parameters
        ----------
        columns : mapping of field name to sequence
            Ids are strings; the type is a string, or an integer array of codes; None and NaN are numbers not
            known. Fields that have a default in `TaskHistory` may be missing.

        Raises
        ------
        HistoryError
            When a column is missing, has another length than the others, or holds what is no such value.
        """
        known = {field.name for field in msgspec.structs.fields(TaskHistory)}
        if missing := sorted(known - columns.keys() - _DEFAULTS.keys()):
            raise HistoryError(f"columns are missing: {', '.join(missing)}")
        task, task_ids = _encode("task_id", columns["task_id"], ordered=False)
        # Sorted, so that every type × worker array is the same whatever the order of the records.
        worker, worker_ids = _encode("worker_id", columns["worker_id"], ordered=True)
        numbers = {name: _column(name, columns, np.float64, len(task)) for name in NUMBERS}
        return cls(
            task_ids=task_ids,
            worker_ids=worker_ids,
            task=task,
            worker=worker,
            type=_type_codes(columns["type"]),
            sla_success=_column("sla_success", columns, np.bool_, len(task)),
            succeeded=_column("succeeded", columns, np.bool_, len(task)),
            **numbers,
        )

    @classmethod
    def from_rows(cls, rows: Iterable[TaskHistory]) -> History:
        """A history from records, one per attempt."""
        held = list(rows)
        return cls.from_columns(
            {name: [getattr(row, name) for row in held] for name in TaskHistory.__struct_fields__}
        )

    @classmethod
    def empty(cls) -> History:
        """A history of nothing."""
        return cls.from_rows(())

    def rows(self) -> Iterable[TaskHistory]:
        """The records, one per attempt, in order; a type that is none of the six reads `unknown`."""
        numbers = [getattr(self, name).tolist() for name in NUMBERS]
        names = [*map(str, TASK_TYPES), "unknown"]
        for i, values in enumerate(zip(*numbers, strict=True)):
            yield TaskHistory(
                task_id=self.task_ids[self.task[i]],
                worker_id=self.worker_ids[self.worker[i]],
                type=names[self.type[i]],
                sla_success=bool(self.sla_success[i]),
                succeeded=bool(self.succeeded[i]),
                **{k: None if v != v else v for k, v in zip(NUMBERS, values, strict=True)},
            )

    def take(self, rows: slice | NDArray[Any]) -> History:
        """The rows of a slice, a mask or an index array; all the names stay."""
        return History(
            self.task_ids, self.worker_ids, **{name: getattr(self, name)[rows] for name in COLUMNS}
        )

    def window(self, since: float, until: float) -> History:
        """The attempts with since ≤ finish < until, in Unix seconds."""
        return self.take((self.actual_finish >= since) & (self.actual_finish < until))

    @staticmethod
    def concat(parts: Sequence[History]) -> History:
        """One history of all the parts' rows in order, with the names of all."""
        task_ids = tuple(dict.fromkeys(name for part in parts for name in part.task_ids))
        worker_ids = tuple(sorted({name for part in parts for name in part.worker_ids}))
        columns: dict[str, NDArray[Any]] = {
            name: np.concatenate([np.empty(0, _DTYPES[name]), *(getattr(part, name) for part in parts)])
            for name in COLUMNS
        }
        for name, ids in (("task", task_ids), ("worker", worker_ids)):
            code = {value: i for i, value in enumerate(ids)}
            maps = [np.array([code[v] for v in getattr(part, f"{name}_ids")], np.int32) for part in parts]
            columns[name] = np.concatenate(
                [np.empty(0, np.int32), *(m[getattr(p, name)] for m, p in zip(maps, parts, strict=True))]
            )
        return History(task_ids, worker_ids, **columns)

    def reasons(self) -> I8:
        """Per row an index into `REASONS`, shape (n,): 0 is usable."""
        reason = np.empty(len(self), np.int8)
        _njit.classify(
            self.type,
            self.arrival,
            self.deadline,
            self.actual_start,
            self.actual_finish,
            self.actual_runtime_s,
            self.cpu_used,
            self.memory_used,
            self.gpu_used,
            self.storage_used,
            reason,
        )
        return reason

    def usable(self) -> Usable:
        """Which attempts can be learned from; never raises.

        An attempt cannot when its type is none of the six, an instant, the runtime or an amount is missing or
        absurd (beyond 1e12; a runtime beyond 1e9 s), it finished before it started, or its runtime is not
        positive.
        """
        reason = self.reasons()
        return Usable(mask=reason == _njit.USABLE, left_out=count_reasons(reason, REASONS))


_DTYPES: dict[str, type[np.generic]] = {
    "task": np.int32,
    "worker": np.int32,
    "type": np.int8,
    "sla_success": np.bool_,
    "succeeded": np.bool_,
    **dict.fromkeys(NUMBERS, np.float64),
}
COLUMNS = tuple(field.name for field in fields(History) if field.name in _DTYPES)


def count_reasons(reason: I8, names: Sequence[str]) -> dict[str, int]:
    """How many rows have each reason, by name; neither the usable ones nor reasons without rows."""
    counts = np.bincount(reason, minlength=len(names))
    return {name: int(counts[code]) for code, name in enumerate(names) if code and counts[code]}


def _encode(name: str, values: Sequence[Any] | NDArray[Any], *, ordered: bool) -> tuple[I32, tuple[str, ...]]:
    held = values.tolist() if isinstance(values, np.ndarray) else values
    unique = dict.fromkeys(held)
    for value in unique:
        if not isinstance(value, str):
            raise HistoryError(f"{name} has {value!r}; strings are allowed")
    ids = tuple(sorted(unique) if ordered else unique)
    code = {value: i for i, value in enumerate(ids)}
    return np.fromiter(map(code.__getitem__, held), np.int32, len(held)), ids


def _type_codes(values: Sequence[Any] | NDArray[Any]) -> I8:
    if isinstance(values, np.ndarray) and np.issubdtype(values.dtype, np.integer):
        # Wide codes would wrap around in int8 and look like valid ones.
        return np.where((values >= 0) & (values < len(TASK_TYPES)), values, -1).astype(np.int8)
    return np.fromiter((_TYPE_CODE.get(value, -1) for value in values), np.int8, len(values))


def _column(name: str, columns: Mapping[str, Any], dtype: type[np.generic], n: int) -> NDArray[Any]:
    if name not in columns:
        return np.full(n, _DEFAULTS[name], dtype)
    values: ArrayLike = columns[name]
    try:
        return np.asarray(values, dtype)
    except (TypeError, ValueError, OverflowError) as error:
        raise HistoryError(f"{name} is not a column of {dtype.__name__}: {error}") from None
