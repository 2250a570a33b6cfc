"""A recorded history as a source, as it happened and as it would have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from aod.history import History
from aod.judged import overload_s
from aod.replay import Machines, Replay, Workload
from aod.theta import train_theta
from aod.transport import Totals, machines_of, totals_seen, workload_of
from master.cli.simulate.sources import Case, compressed, deal_luck

# As in an epoch: learned from the older part, judged on the newer.
_OLDER = 0.7


class Recorded:
    """A recorded history, its runtimes transported by the runtime model of the whole of it.

    Parameters
    ----------
    history : History
        Records that cannot be used are left out and counted in `left_out`.
    workers : mapping of worker id to (cpu, memory, gpu, storage), optional
        The cluster to replay on; when None, what the history shows of it.
    split : bool
        Judge on the newer 30 % of the tasks alone, and leave the older 70 % to learn from. All are replayed:
        from an empty cluster the newer ones of a busy one met 87 % of their deadlines, in truth 81 %.

    Raises
    ------
    ValueError
        When nothing can be used.
    """

    kind = "history"

    def __init__(self, path: Path, history: History, workers: Totals | None, *, split: bool) -> None:
        found = history.usable()
        if not found.count:
            why = ", ".join(f"{count} {reason}" for reason, count in found.left_out.items())
            raise ValueError(f"{path} holds no attempt that can be replayed ({why or 'it is empty'})")
        part = history.take(found.mask)
        part = part.take(np.argsort(part.arrival, kind="stable"))
        self._since = int(len(part) * _OLDER) if split else 0
        self.left_out = found.left_out
        self._path, self._split, self._older = path, split, part.take(slice(0, self._since))
        fit = train_theta(part)
        self._machines = machines_of(totals_seen(part) if workers is None else workers, fit)
        self._tasks = workload_of(part, fit)
        self._recorded = _as_recorded(self._machines, self._tasks, part) if workers is None else None
        self._met = part.sla_success[self._since :]

    def describe(self) -> dict[str, Any]:
        """See `Source`."""
        part = "newer 30 %" if self._split else "all"
        return {"kind": self.kind, "file": str(self._path), "judged_on": part}

    def case(self, load: float | None, seed: int) -> Case:
        """See `Source`."""
        tasks = compressed(self._tasks, self._machines, load)
        return Case(
            self._machines,
            tasks if seed == 1 else deal_luck(tasks, seed),
            lambda: self._older,
            since=self._since,
            truth=False,
            recorded=self._recorded if load is None and seed == 1 else None,
            recorded_met=self._met,
        )


def _as_recorded(machines: Machines, tasks: Workload, part: History) -> Replay:
    """The course that a history in order of arrival tells of; the decisions were not timed."""
    window = (float(tasks.arrival[0]), float(tasks.arrival[-1]))
    slot = {name: j for j, name in enumerate(machines.worker_ids)}
    found = [part.cpu_available, part.memory_available, part.gpu_available, part.load_at_start]
    return Replay(
        machines=machines,
        workload=tasks,
        worker=np.array([slot.get(name, -1) for name in part.worker_ids], np.int64)[part.worker],
        start=part.actual_start,
        finish=part.actual_finish,
        found=np.column_stack(found),
        overload_s=overload_s(machines, part, window),
        window=window,
        decisions=len(part),
        fallbacks=0,
        seconds=0.0,
    )
