"""`python -m benchmarks.decision`: what a decision costs beside NumPy and numba, once verified."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks import bars, report
from benchmarks.clusters import KINDS, Cluster, make_clusters
from benchmarks.footprint import footprint
from benchmarks.machine import facts
from benchmarks.peers import BATCH, Peer, compared, own_ways
from benchmarks.timing import time_calls

TASKS = 2_000
SEED = 20_250


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to look: the quick one is for trying the command, the thorough one for figures."""

    sizes: tuple[int, ...]
    rounds: int
    seconds: float
    memory_workers: int
    imports: int


THOROUGH = Effort((1_000, 10_000, 100_000, 1_000_000), 9, 0.05, 1_000_000, 11)
QUICK = Effort((1_000, 10_000), 3, 0.02, 100_000, 3)


@dataclass(slots=True)
class Exactness:
    """Answers compared with the reference's, and the first few that differ."""

    answers: int = 0
    wrong: int = 0
    examples: list[str] = field(default_factory=list)

    def compare(self, where: str, got: object, wanted: object) -> None:
        """Count one answer."""
        self.answers += 1
        if got != wanted:
            self.wrong += 1
            if len(self.examples) < 5:
                self.examples.append(f"{where}: {got}, the reference says {wanted}")


def verify(cluster: Cluster, peers: Sequence[Peer], exactness: Exactness) -> None:
    """Let every peer decide the same tasks: the same worker, and from ours the same bits of the risk."""
    own, reference, loop = peers
    size = len(cluster.table)
    # The reference takes 30 ms at a million workers.
    count = min(len(cluster.tasks), max(40, 20_000_000 // size))
    batch = cluster.scheduler.select_many(cluster.tasks[:count], None, False)
    for i in range(count):
        where = f"{cluster.kind}, {size:,} workers, {cluster.tasks[i].id}"
        slot, risk = reference.call(*reference.args[i])
        decision = own.call(*own.args[i])
        answer = (slot, risk if slot >= 0 else None)
        exactness.compare(f"rtscore, {where}", (own.slot(decision), decision.risk), answer)
        exactness.compare(f"select_many, {where}", (own.slot(batch[i]), batch[i].risk), answer)
        exactness.compare(f"numba, {where}", loop.call(*loop.args[i]), slot)


def measure(cluster: Cluster, effort: Effort, exactness: Exactness) -> dict[str, Any]:
    """Verify one cluster, time every way to decide on it, and check that the table is as it was."""
    peers = compared(cluster)
    verify(cluster, peers, exactness)
    before = {name: column.copy() for name, column in cluster.table.columns().items()}
    samples = time_calls([*peers, *own_ways(cluster)], effort.rounds, effort.seconds)
    after = cluster.table.columns()
    changed = [name for name, column in before.items() if not np.array_equal(column, after[name])]
    exactness.compare(f"columns changed by timing {cluster.kind}", changed, [])
    us = {}
    for name, taken in samples.items():
        per_call = taken / 1e3 / (BATCH if name == "batch" else 1)
        p50, p99 = np.percentile(per_call, [50, 99])
        us[name] = {"p50": float(p50), "p99": float(p99), "calls": len(taken)}
    return {
        "workers": len(cluster.table),
        "cluster": cluster.kind,
        "infeasible": cluster.infeasible,
        "us": us,
        "ratio": {name: us[name]["p50"] / us["rtscore"]["p50"] for name in ("numpy", "numba")},
    }


def cases(effort: Effort, seed: int, exactness: Exactness) -> Iterator[dict[str, Any]]:
    """Every cluster of every size."""
    for size in effort.sizes:
        for cluster in make_clusters(KINDS, size, TASKS, seed):
            yield measure(cluster, effort, exactness)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the figures; 1 when an answer was wrong, 0 otherwise, however long it took."""
    options = _options(argv)
    chosen = QUICK if options.quick else THOROUGH
    sizes = tuple(options.sizes or chosen.sizes)
    effort = Effort(sizes, chosen.rounds, chosen.seconds, chosen.memory_workers, chosen.imports)
    exactness = Exactness()
    document: dict[str, Any] = {"machine": facts(), "seed": options.seed, "quick": options.quick, "cases": []}
    for_people = not (options.json or options.markdown)
    if for_people:
        print(report.LEGEND, "", report.header(), sep="\n", flush=True)
    for case in cases(effort, options.seed, exactness):
        document["cases"].append(case)
        if for_people:
            print(report.line(case), flush=True)
    document |= footprint(effort.memory_workers, effort.imports)
    verdicts = bars.judge(document["cases"], document["bytes_per_worker"]["bytes"])
    document["bars"] = [verdict.as_dict() for verdict in verdicts]
    document["exactness"] = {
        "answers": exactness.answers,
        "wrong": exactness.wrong,
        "examples": exactness.examples,
    }
    if options.json:
        print(json.dumps(document, indent=2))
    elif options.markdown:
        print(report.markdown(document))
    else:
        print("", *report.verdict_lines(verdicts), "", *report.summary(document), sep="\n")
    if exactness.wrong:
        print(
            f"{exactness.wrong} wrong answers: the times mean nothing", *exactness.examples, file=sys.stderr
        )
        return 1
    return 0


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decision", description=__doc__)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="everything, for machines")
    form.add_argument("--markdown", action="store_true", help="the table of the README")
    parser.add_argument("--sizes", type=int, nargs="+", metavar="N", help="workers; default 1000 to 1000000")
    parser.add_argument("--quick", action="store_true", help="small sizes and short turns")
    parser.add_argument("--seed", type=int, default=SEED, help="of clusters and tasks (default %(default)s)")
    options = parser.parse_args(argv)
    if any(size < 1 for size in options.sizes or ()):
        parser.error(f"--sizes {min(options.sizes)}: at least one worker is allowed")
    return options


if __name__ == "__main__":
    sys.exit(main())
