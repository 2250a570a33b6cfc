"""Bytes per worker and the price of the import."""

from __future__ import annotations

from benchmarks.footprint import bytes_per_worker, import_seconds


class Memory:
    params = (10_000, 100_000, 1_000_000)
    param_names = ("workers",)
    timeout = 120.0
    unit = "bytes"

    def track_memory_per_worker(self, workers: int) -> float:
        return bytes_per_worker(workers)


class Import:
    timeout = 120.0
    unit = "times import numpy"

    def track_import_ratio(self) -> float:
        seconds = import_seconds(7)
        return seconds["rtscore"] / seconds["numpy"]
