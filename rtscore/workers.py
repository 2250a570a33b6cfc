"""The worker table: what each worker has, what is promised, how loaded it is."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rtscore._kernel.table import Table
from rtscore.errors import InvalidWorkerError


class WorkerView(NamedTuple):
    """What a worker has left (cores, GiB, devices, GiB) and its load, at one moment."""

    id: str
    cpu_avail: float
    memory_avail: float
    gpu_avail: float
    storage_avail: float
    load: float


class WorkerTable(Table):
    """The workers that tasks can be placed on.

    One row (slot) per worker; only this class converts between slots and worker ids. Amounts are in cores,
    GiB, devices and GiB. Load is max(reported, promised): what the worker said last, or what follows from
    what is allocated on it, whichever is more.

    Thread safety: the GIL. Every method holds it from the first check to the last change, for about a
    microsecond, so methods may be called from any thread and each is atomic. The C entry points (`numba_api`)
    run without it: a table that they change is for one thread at a time.
    """

    __slots__ = ()

    def set_loads(self, slots: ArrayLike, loads: ArrayLike) -> None:
        """Set the reported loads of many workers: all of them, or on an error none.

        Parameters
        ----------
        slots : array of int, shape (n,)
        loads : array of float, shape (n,)

        Raises
        ------
        InvalidWorkerError
            When the shapes differ, a slot has no worker, or a load is negative or not finite.
        """
        slot_array = np.asarray(slots)
        load_array = np.ascontiguousarray(loads, dtype=np.float64)
        if slot_array.size == 0 and load_array.size == 0:
            return
        if slot_array.ndim != 1 or slot_array.shape != load_array.shape:
            raise InvalidWorkerError(
                f"slots has shape {slot_array.shape} and loads {load_array.shape}; "
                "two equal lengths are allowed"
            )
        if not np.issubdtype(slot_array.dtype, np.integer):
            raise InvalidWorkerError(f"slots are {slot_array.dtype}; integers are allowed")
        self._set_loads(np.ascontiguousarray(slot_array, dtype=np.int64), load_array)

    def view(self, id: str) -> WorkerView:
        """Return what a worker has left and its load.

        Raises
        ------
        UnknownWorkerError
            When the id is not known.
        """
        return WorkerView(*self._row(id))

    def columns(self) -> dict[str, NDArray[np.float64]]:
        """Return read-only views of the columns, one element per slot, by name.

        ``{cpu,memory,gpu,storage}_{total,allocated,avail}``, ``load`` and ``reported_load``. A view shows
        later changes until the table grows; after that it keeps what it showed. Free slots are zero.
        """
        return {name: np.asarray(memoryview(column)) for name, column in self._columns().items()}

    def schedulable(self) -> NDArray[np.bool_]:
        """Return, per slot, whether a worker is in it that may be given tasks."""
        return np.array(self._states(), dtype=np.int8) < 0

    def check(self) -> None:
        """Recompute everything that is derived; AssertionError when any of it differs."""
        from rtscore._check import check_table

        check_table(self)

    def __repr__(self) -> str:
        return f"<WorkerTable of {len(self)} workers>"
