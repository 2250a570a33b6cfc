"""The epoch's figure: defaults, 10,000 tasks on 100 workers, once it is verified that it learned."""

from __future__ import annotations

import time
from statistics import median
from typing import Any

from aod.epoch import run_ga_epoch
from aod.policies import Policy
from aod.replay import Replayer
from aod.workloads import make_machines, make_workload
from benchmarks.bars import Verdict

MOST_S = 5.0
TASKS, WORKERS, LOAD = 10_000, 100, 0.7


def measure(tasks: int = TASKS, rounds: int = 3) -> dict[str, Any]:
    """Seconds of `run_ga_epoch`, its replays per second, and what is wrong with the answer, if anything."""
    machines = make_machines(WORKERS, 1)
    history = Replayer(machines, make_workload(tasks, machines, LOAD, 2)).run().history()
    totals = dict(zip(machines.worker_ids, map(tuple, machines.totals.tolist()), strict=True))
    # The first also loads the compiled functions from the cache.
    report = run_ga_epoch(history, totals, seed=1)  # type: ignore[arg-type]
    test = Replayer(machines, make_workload(tasks, machines, LOAD, 3))
    learned = test.run(Policy.RTS, report.params).summary()
    default = test.run().summary()
    wrong = []
    if not report.accepted:
        wrong.append(f"the epoch answered {report.verdict}: {report.reason}")
    if not learned.misses < 0.5 * default.misses:
        wrong.append(f"{learned.misses} misses with what was learned, {default.misses} with the defaults")
    seconds = []
    for _ in range(rounds):
        before = time.perf_counter()
        again = run_ga_epoch(history, totals, seed=1)  # type: ignore[arg-type]
        seconds.append(time.perf_counter() - before)
        if again.params != report.params:
            wrong.append("the same seed gave other parameters")
    replays = report.generations[-1].evaluations
    return {
        "tasks": tasks,
        "workers": WORKERS,
        "replays": replays,
        "median_s": median(seconds),
        "best_s": min(seconds),
        "tasks_replayed_per_s": replays * 0.7 * tasks / median(seconds),
        "misses_learned": learned.misses,
        "misses_default": default.misses,
        "wrong": wrong,
    }


def judge(found: dict[str, Any]) -> list[Verdict]:
    """The figure of the design, for the size that it names."""
    if found["tasks"] != TASKS:
        return []
    return [Verdict("epoch, 10,000 tasks × 100 workers, s", "", found["median_s"], "most", MOST_S)]
