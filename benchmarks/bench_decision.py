"""Decisions under pytest-benchmark, grouped by cluster, so that each table shows ours beside its peers."""

from __future__ import annotations

from functools import lru_cache
from itertools import cycle

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.clusters import KINDS, PLACEABLE, make_cluster
from benchmarks.decision import SEED, TASKS, Exactness, verify
from benchmarks.peers import BATCH, Peer, compared, own_ways

SIZES = (1_000, 10_000, 100_000)


def ways(kind: str) -> tuple[str, ...]:
    return (
        "rtscore",
        "numpy",
        "numba",
        "beat",
        "best 8",
        "place" if kind in PLACEABLE else "reason",
        "batch",
    )


@lru_cache(maxsize=1)  # the cases of a cluster follow each other
def peers(kind: str, size: int) -> dict[str, Peer]:
    """Every way to decide on one cluster, verified."""
    cluster = make_cluster(kind, size, TASKS, SEED)
    among = compared(cluster)
    exactness = Exactness()
    verify(cluster, among, exactness)
    assert not exactness.wrong, exactness.examples
    return {peer.name: peer for peer in [*among, *own_ways(cluster)]}


@pytest.mark.parametrize(
    ("size", "kind", "way"), [(size, kind, way) for size in SIZES for kind in KINDS for way in ways(kind)]
)
def test_decision(benchmark: BenchmarkFixture, size: int, kind: str, way: str) -> None:
    peer = peers(kind, size)[way]
    call, supply = peer.call, cycle(peer.args)
    what = f"select_many of {BATCH} tasks" if way == "batch" else kind
    benchmark.group = f"{size:,} workers, {what}"
    benchmark(lambda: call(*next(supply)))
