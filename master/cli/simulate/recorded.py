"""A recorded history as a source, as it happened and as it would have; and the part of it that is judged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from aod._njit import F64
from aod.history import History
from aod.replay import Machines, Replay, Workload
from aod.stats import worker_stats
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


def judged(replay: Replay, since: int) -> Replay:
    """The part of a replay from the task `since` on, in the window of its own arrivals; decisions are all."""
    if not since:
        return replay
    tasks = replay.workload.take(slice(since, None))
    window = (float(tasks.arrival[0]), float(tasks.arrival[-1]))
    columns = {name: getattr(replay, name)[since:] for name in ("worker", "start", "finish", "found")}
    overload_s = _overload_s(replay.machines, replay.history(), window)
    return replace(replay, workload=tasks, window=window, overload_s=overload_s, **columns)


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
        overload_s=_overload_s(machines, part, window),
        window=window,
        decisions=len(part),
        fallbacks=0,
        seconds=0.0,
    )


def _overload_s(machines: Machines, history: History, window: tuple[float, float]) -> F64:
    """Seconds within a window in which each machine was overloaded, shape (workers,)."""
    totals = dict(zip(machines.worker_ids, map(tuple, machines.totals[:, :3].tolist()), strict=True))
    stats = worker_stats(history, window=window, totals=totals)
    of = dict(zip(stats.worker_ids, stats.overload_time_s.tolist(), strict=True))
    return np.array([of.get(name, 0.0) for name in machines.worker_ids], np.float64)
