"""The figures that a decision must reach, and the judgement of what was measured against them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.clusters import PROMISED

MOST_US = {1_000: 1.0, 10_000: 1.5, 100_000: 10.0, 1_000_000: 40.0}
LEAST_RATIO = {
    "numpy": {1_000: 25.0, 10_000: 80.0, 100_000: 250.0, 1_000_000: 700.0},
    "numba": {1_000: 4.0, 10_000: 25.0},
}
GROWTH_FROM, GROWTH_TO, MOST_GROWTH = 10_000, 1_000_000, 30.0
MOST_BYTES = 300.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """One bar, in the cluster where it was hardest to reach.

    `at` is "most" or "least": which side of the bound is good.
    """

    figure: str
    cluster: str
    value: float
    at: str
    bound: float

    @property
    def reached(self) -> bool:
        """Whether the value is on the good side; NaN never is."""
        return self.value <= self.bound if self.at == "most" else self.value >= self.bound

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "reached": self.reached}


def judge(cases: Sequence[Mapping[str, Any]], bytes_per_worker: float | None) -> list[Verdict]:
    """Every bar that what was measured can answer.

    Parameters
    ----------
    cases
        As in the report: `workers`, `cluster`, `us` per peer with `p50`, `ratio` per peer. Only the promised
        clusters are judged, each bar by its worst.
    bytes_per_worker
        None when it was not measured.
    """
    judged = [case for case in cases if case["cluster"] in PROMISED]
    sizes = dict.fromkeys(case["workers"] for case in judged)
    verdicts = []
    for size in sizes:
        at_size = [case for case in judged if case["workers"] == size]
        if size in MOST_US:
            values = {case["cluster"]: case["us"]["rtscore"]["p50"] for case in at_size}
            verdicts.append(_worst(f"select_worker at {size:,}, µs", values, "most", MOST_US[size]))
    for peer, bounds in LEAST_RATIO.items():
        for size in sizes:
            if size in bounds:
                values = {c["cluster"]: c["ratio"][peer] for c in judged if c["workers"] == size}
                verdicts.append(
                    _worst(f"times faster than {peer} at {size:,}", values, "least", bounds[size])
                )
    if GROWTH_FROM in sizes and GROWTH_TO in sizes:
        median = {(c["cluster"], c["workers"]): c["us"]["rtscore"]["p50"] for c in judged}
        values = {kind: median[kind, GROWTH_TO] / at for (kind, n), at in median.items() if n == GROWTH_FROM}
        verdicts.append(
            _worst(f"growth {GROWTH_FROM:,} to {GROWTH_TO:,}, times", values, "most", MOST_GROWTH)
        )
    if bytes_per_worker is not None:
        verdicts.append(Verdict("memory per worker, bytes", "", bytes_per_worker, "most", MOST_BYTES))
    return verdicts


def _worst(figure: str, values: Mapping[str, float], at: str, bound: float) -> Verdict:
    worst = max if at == "most" else min
    cluster = worst(values, key=lambda kind: values[kind])
    return Verdict(figure, cluster, values[cluster], at, bound)
