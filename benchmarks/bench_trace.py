"""The production trace under pytest-benchmark: all of its decisions, reservations and releases."""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks import openb
from benchmarks.trace import ABSENT, Checked, Outcome, replay
from rtscore import RoundRobinScheduler, RTSScheduler, Scheduler, WorkerTable

FOLDER = openb.folder()


@pytest.mark.skipif(FOLDER is None, reason=ABSENT)
@pytest.mark.parametrize("policy", ["rts", "round-robin"])
def test_trace(benchmark: BenchmarkFixture, policy: str) -> None:
    assert FOLDER is not None
    table, pods = openb.load_nodes(FOLDER), openb.load_pods(FOLDER)
    scheduler = scheduler_of(policy, table, pods)
    benchmark.group = f"{len(pods):,} pods on {len(table):,} nodes"
    outcome: Outcome = benchmark(replay, scheduler, table, pods)
    assert outcome.placed + outcome.refused == len(pods)
    assert outcome.placed > 8_000


def scheduler_of(policy: str, table: WorkerTable, pods: list[openb.Pod]) -> Scheduler:
    """The scheduler, after it placed the trace once under the eyes of the reference."""
    if policy == "round-robin":
        return RoundRobinScheduler(table)
    checked = Checked(RTSScheduler(table))
    replay(checked, table, pods)
    assert checked.checked > 100
    assert not checked.wrong, checked.wrong
    return checked.scheduler
