"""The production trace: time of all its decisions, reservations and releases, and pods refused."""

from __future__ import annotations

from benchmarks import openb
from benchmarks.trace import replay
from rtscore import RTSScheduler


class Trace:
    timeout = 120.0
    unit = "pods"

    def setup(self) -> None:
        folder = openb.folder()
        if folder is None:
            raise NotImplementedError  # asv's way to skip
        self.table, self.pods = openb.load_nodes(folder), openb.load_pods(folder)
        self.scheduler = RTSScheduler(self.table)

    def time_replay(self) -> None:
        replay(self.scheduler, self.table, self.pods)

    def track_refused(self) -> int:
        return replay(self.scheduler, self.table, self.pods).refused
