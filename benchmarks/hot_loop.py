"""`python -m benchmarks.hot_loop`: nothing but decisions, for a profiler to look at."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from benchmarks.clusters import KINDS, Cluster, make_cluster

TASKS = 2_000
SEED = 20_250


def decide(cluster: Cluster, seconds: float) -> int:
    """Select workers for the cluster's tasks, over and over, for so long; return how many were selected."""
    select_worker, tasks = cluster.scheduler.select_worker, cluster.tasks
    done = 0
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for task in tasks:
            select_worker(task)
        done += len(tasks)
    return done


def main(argv: Sequence[str] | None = None) -> int:
    """Decide for a while and say how fast it went."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hot_loop", description=__doc__)
    parser.add_argument("--workers", type=int, default=10_000, help="default %(default)s")
    parser.add_argument("--cluster", choices=KINDS, default="idle", help="default %(default)s")
    parser.add_argument("--seconds", type=float, default=5.0, help="default %(default)s")
    options = parser.parse_args(argv)
    cluster = make_cluster(options.cluster, options.workers, TASKS, SEED)
    begun = time.perf_counter()
    done = decide(cluster, options.seconds)
    taken = time.perf_counter() - begun
    print(
        f"{done:,} decisions among {options.workers:,} workers ({options.cluster}) in {taken:.1f} s: "
        f"{taken / done * 1e6:.2f} µs each"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
