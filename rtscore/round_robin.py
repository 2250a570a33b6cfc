"""Round robin: the next worker that fits, in slot order; the fallback that never over-commits."""

from __future__ import annotations

from rtscore._kernel.selector import Rotation


class RoundRobinScheduler(Rotation):
    """Chooses the next feasible worker in slot order after the last one it chose.

    Thread safety: as `WorkerTable`, by the GIL.

    Parameters
    ----------
    table : WorkerTable
    """

    __slots__ = ()

    @property
    def name(self) -> str:
        """The scheduler's name in settings and metrics."""
        return "round-robin"
