"""What the demo shows while it runs: a live table on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Protocol

import msgspec

from master.cli import output

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from rich.console import Group
    from rich.live import Live

    from rtscore.client import ClusterStats, WorkerInfo

_RATE_WINDOW_S = 5.0
_LINE_INTERVAL_S = 2.0


class Progress(msgspec.Struct, frozen=True):
    """The cluster at one moment of the demo; `sent` of `total` tasks have been submitted.

    `finished_before` counts the tasks of earlier runs, which the master counts too.
    """

    elapsed_s: float
    sent: int
    total: int
    stats: ClusterStats
    workers: Sequence[WorkerInfo]
    finished_before: int = 0

    @property
    def finished(self) -> int:
        """Tasks that have an outcome."""
        return finished(self.stats) - self.finished_before


def finished(stats: ClusterStats) -> int:
    """Tasks that have an outcome, those of earlier runs included."""
    return stats.completed + stats.failed + stats.cancelled


class View(Protocol):
    """Shows progress between `with` and its end."""

    def __enter__(self) -> View: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def update(self, progress: Progress) -> None:
        """Show this from now on."""
        ...


def choose_view() -> View:
    """The live table when stderr is a terminal (stdout is the report's), lines otherwise."""
    terminal = output.console(stderr=True)
    return LiveView() if terminal.is_terminal and not terminal.is_dumb_terminal else LineView()


class LineView:
    """One line every two seconds on stderr."""

    def __init__(self) -> None:
        self._next_s = 0.0

    def __enter__(self) -> LineView:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return

    def update(self, progress: Progress) -> None:
        """Print the line when it is time for one, and always the last one."""
        done = progress.finished == progress.total
        if progress.elapsed_s < self._next_s and not done:
            return
        self._next_s = progress.elapsed_s + _LINE_INTERVAL_S
        stats = progress.stats
        output.say(
            f"{progress.elapsed_s:5.1f} s  submitted {progress.sent}/{progress.total}"
            f"  queued {stats.queued}  running {stats.assigned + stats.running}  finished {progress.finished}"
        )


class LiveView:
    """A table of the workers and a line of totals, redrawn in place on the terminal."""

    def __init__(self) -> None:
        from rich.live import Live

        self._live: Live = Live(console=output.console(stderr=True), auto_refresh=False, transient=True)
        self._finished: deque[tuple[float, int]] = deque()

    def __enter__(self) -> LiveView:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def update(self, progress: Progress) -> None:
        """Redraw."""
        self._live.update(self._draw(progress), refresh=True)

    def _rate(self, finished: int) -> float:
        now = time.monotonic()
        self._finished.append((now, finished))
        while now - self._finished[0][0] > _RATE_WINDOW_S:
            self._finished.popleft()
        began, before = self._finished[0]
        return (finished - before) / (now - began) if now > began else 0.0

    def _draw(self, progress: Progress) -> Group:
        from rich import box
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("worker")
        for name in ("cpu", "memory", "gpu", "load", "running", "done", "SLA met"):
            table.add_column(name, justify="right")
        for worker in progress.workers:
            table.add_row(
                worker.worker_id,
                output.used(worker.total_cpu, worker.cpu_avail),
                output.used(worker.total_memory, worker.memory_avail),
                output.used(worker.total_gpu, worker.gpu_avail),
                f"{worker.load:.2f}",
                str(worker.live_attempts),
                str(worker.tasks_finished),
                output.share(worker.sla_met, worker.tasks_finished),
            )
        stats = progress.stats
        totals = Text(
            f"{progress.elapsed_s:.0f} s   submitted {progress.sent}/{progress.total}"
            f"   queued {stats.queued}   finished {progress.finished}"
            f"   {self._rate(progress.finished):.1f} tasks/s"
            f"   decision {stats.decision_p50_us:.0f} µs",
            overflow="ellipsis",
            no_wrap=True,
        )
        return Group(table, totals)
