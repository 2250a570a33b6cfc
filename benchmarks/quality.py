"""`python -m benchmarks.quality`: deadlines missed, by policy, load and queue order, with what was learned.

For each case and seed: a history is made by the replay under the default parameters, an epoch learns from
it, and a workload of another seed is replayed under every policy. Heterogeneous clusters have 50 workers
with planted speeds, tasks have log-normal luck of spread 0.5. The oracle sends each task to the worker on
which it runs shortest, and knows the planted truth.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from aod.epoch import run_ga_epoch
from aod.fitness import FitnessWeights
from aod.policies import Policy
from aod.replay import Machines, QueueOrder, Replayer, Summary, Workload
from aod.trace import load_trace
from aod.workloads import make_machines, make_workload
from benchmarks import openb
from benchmarks.bars import Verdict
from benchmarks.machine import facts
from benchmarks.report import verdict_lines
from rtscore import GAParams

SEEDS = (1, 2, 3, 4, 5)
WORKERS, TASKS, HISTORY = 50, 10_000, 20_000
LEARNED, DEFAULT, FOR_SLA = "rts", "rts, nothing learned", "rts, learned for the SLA alone"
# Student's t for 95 % and 4 degrees of freedom; 5 seeds.
_T = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78}
MOST_OF_BEST, MOST_OF_ORACLE = 0.2, 1.25


class Case(NamedTuple):
    """A cluster and how loaded it is; `kind` is heterogeneous, identical or openb."""

    kind: str
    load: float

    @property
    def label(self) -> str:
        """Its name in tables."""
        return f"{self.kind} {self.load:.0%}"


CASES = (
    *(Case("heterogeneous", load) for load in (0.5, 0.7, 0.85, 0.95)),
    *(Case("identical", load) for load in (0.7, 0.95)),
    *(Case("heterogeneous", load) for load in (2.0, 3.0)),
    *(Case("openb", load) for load in (0.7, 0.95, 1.3)),
)


def workloads(case: Case, seed: int, tasks: int, history: int) -> tuple[Machines, Workload, Workload]:
    """The cluster of a case, what to learn from, and what to be judged on."""
    if case.kind == "openb":
        folder = openb.folder()
        assert folder is not None
        machines, test = load_trace(folder, case.load, seed)
        return machines, load_trace(folder, case.load, seed + 1000, pods=history)[1], test
    machines = make_machines(WORKERS, seed, identical=case.kind == "identical")
    made = [
        make_workload(n, machines, case.load, s) for n, s in ((history, seed + 1000), (tasks, seed + 2000))
    ]
    return machines, made[0], made[1]


def learn(machines: Machines, past: Workload, seed: int, weights: FitnessWeights | None = None) -> GAParams:
    """What an epoch makes of a history under the defaults."""
    totals = dict(zip(machines.worker_ids, map(tuple, machines.totals.tolist()), strict=True))
    history = Replayer(machines, past).run().history()
    return run_ga_epoch(history, totals, seed=seed, weights=weights).params  # type: ignore[arg-type]


def run_case(case: Case, seed: int, tasks: int, history: int) -> dict[str, Summary]:
    """A summary by policy, and by queue order under our placement."""
    machines, past, test = workloads(case, seed, tasks, history)
    params = learn(machines, past, seed)
    replayer = Replayer(machines, test)
    found = {LEARNED: replayer.run(Policy.RTS, params).summary(), DEFAULT: replayer.run().summary()}
    if case == Case("heterogeneous", 0.7):
        for_sla = learn(machines, past, seed, FitnessWeights(utilisation=0.0, energy=0.0, overload=0.0))
        found[FOR_SLA] = replayer.run(Policy.RTS, for_sla).summary()
    for policy in Policy:
        if policy is not Policy.RTS:
            found[policy.label] = replayer.run(policy, seed=seed).summary()
    if case.load > 1.0:
        for order in QueueOrder:
            if order is not QueueOrder.OURS:
                in_order = Replayer(machines, test, order).run(Policy.RTS, params)
                found[f"rts, {order} queue"] = in_order.summary()
    return found


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The mean and the half width of its 95 % confidence interval."""
    n = len(values)
    if n < 2:
        return float(np.mean(values)), math.nan
    return float(np.mean(values)), _T[n] * float(np.std(values, ddof=1)) / math.sqrt(n)


def judge(cases: Mapping[Case, Sequence[Mapping[str, Summary]]]) -> list[Verdict]:
    """The bars of the design, from the summaries of each seed."""
    verdicts = []
    for case, runs in cases.items():

        def missed(name: str, runs: Sequence[Mapping[str, Summary]] = runs) -> float:
            return sum(run[name].misses for run in runs)

        label = case.label
        if case == Case("heterogeneous", 0.7):
            others = [p.label for p in Policy if p not in (Policy.RTS, Policy.ORACLE)]
            best = min(missed(name) for name in others)
            verdicts += [
                Verdict(
                    "misses / best that does not learn",
                    label,
                    _over(missed(LEARNED), best),
                    "most",
                    MOST_OF_BEST,
                ),
                Verdict(
                    "misses / oracle's",
                    label,
                    _over(missed(LEARNED), missed("oracle")),
                    "most",
                    MOST_OF_ORACLE,
                ),
            ]
        if case.kind == "identical":
            # Not worse: the confidence interval of the paired difference reaches 0.
            mean, half = interval([run["least-loaded"].sla - run[LEARNED].sla for run in runs])
            verdicts.append(
                Verdict("points worse than least-loaded, at least", label, 100 * (mean - half), "most", 0.0)
            )
        if case.kind == "heterogeneous" and case.load > 1.0:
            for order in QueueOrder:
                if order is not QueueOrder.OURS:
                    gains = [run[LEARNED].sla - run[f"rts, {order} queue"].sla for run in runs]
                    verdicts.append(
                        Verdict(
                            f"points more met than {order}, at least", label, 100 * min(gains), "least", 0.0
                        )
                    )
    return verdicts


def _over(part: float, whole: float) -> float:
    return part / whole if whole else (1.0 if not part else math.inf)


def table(case: Case, runs: Sequence[Mapping[str, Summary]]) -> Iterable[str]:
    """One line per policy, the fewest misses first."""
    yield f"{case.label}: {runs[0][LEARNED].tasks:,} tasks, {len(runs)} seeds"
    heads = ("wait", "p95", "p95 slow", "used", "overload")
    yield f"  {'policy':<32}{'missed':>16}  " + "".join(head.rjust(10) for head in heads)
    means = {name: interval([1.0 - run[name].sla for run in runs]) for name in runs[0]}
    for name in sorted(means, key=lambda name: means[name][0]):
        mean, half = means[name]
        row = [run[name] for run in runs]
        wait, p95, slow, use, over = (
            float(np.mean([getattr(s, field) for s in row]))
            for field in ("wait_mean_s", "wait_p95_s", "slowdown_p95", "utilisation", "overload")
        )
        cells = (f"{wait:.1f} s", f"{p95:.0f} s", f"{slow:.2f}×", f"{use:.1%}", f"{over:.1%}")
        yield f"  {name:<32}{mean:>8.2%} ±{half:>6.2%}  " + "".join(cell.rjust(10) for cell in cells)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the figures; 1 when one is not reached."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--quick", action="store_true", help="2 seeds and a third of the history, to try it")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    options = parser.parse_args(argv)
    seeds, history = (SEEDS[:2], HISTORY // 3) if options.quick else (SEEDS, HISTORY)
    done: dict[Case, list[dict[str, Summary]]] = {}
    for case in CASES:
        if options.only not in case.label:
            continue
        if case.kind == "openb" and openb.folder() is None:
            print(f"{case.label}: the trace is absent", file=sys.stderr)
            continue
        began = time.perf_counter()
        done[case] = [run_case(case, seed, TASKS, history) for seed in seeds]
        print(f"{case.label}: {time.perf_counter() - began:.0f} s", file=sys.stderr)
        if not options.json:
            print(*table(case, done[case]), "", sep="\n", flush=True)
    verdicts = judge(done)
    if options.json:
        document = {
            "seeds": seeds,
            "cases": [
                {"case": case.label, "runs": [{k: _plain(v) for k, v in r.items()} for r in runs]}
                for case, runs in done.items()
            ],
            "bars": [verdict.as_dict() for verdict in verdicts],
            "machine": facts(),
        }
        print(json.dumps(document, indent=2))
    else:
        print(*verdict_lines(verdicts), sep="\n")
    return 0 if all(verdict.reached for verdict in verdicts) else 1


def _plain(summary: Summary) -> dict[str, Any]:
    return {name: getattr(summary, name) for name in summary.__struct_fields__}


if __name__ == "__main__":
    sys.exit(main())
