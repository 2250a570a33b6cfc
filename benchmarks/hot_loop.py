"""`python -m benchmarks.hot_loop`: nothing but decisions, for a profiler to look at."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from itertools import cycle, islice

from benchmarks.clusters import KINDS, Cluster, make_cluster

TASKS = 2_000
DECISIONS = 2_000_000
SEED = 20_250


def decide(cluster: Cluster, decisions: int) -> None:
    """Select workers for the cluster's tasks in turn; a fixed amount of work, so that runs compare."""
    select_worker = cluster.scheduler.select_worker
    for task in islice(cycle(cluster.tasks), decisions):
        select_worker(task)


def main(argv: Sequence[str] | None = None) -> int:
    """Decide and say what it cost in CPU time, which other processes stretch least."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hot_loop", description=__doc__)
    parser.add_argument("--workers", type=int, default=10_000, help="default %(default)s")
    parser.add_argument("--cluster", choices=KINDS, default="idle", help="default %(default)s")
    parser.add_argument("--decisions", type=int, default=DECISIONS, help="default %(default)s")
    options = parser.parse_args(argv)
    cluster = make_cluster(options.cluster, options.workers, TASKS, SEED)
    begun = time.process_time()
    decide(cluster, options.decisions)
    taken = time.process_time() - begun
    print(
        f"{options.decisions:,} decisions among {options.workers:,} workers ({options.cluster}): "
        f"{taken:.2f} s of CPU, {taken / options.decisions * 1e6:.3f} µs each"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
