"""The decision figures for people: a table line by line, the bars, and the table of the README."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.bars import Verdict
from benchmarks.clusters import PROMISED

_COLUMNS = (
    ("workers", 9),
    ("cluster", 10),
    ("no fit", 6),
    ("select", 9),
    ("p99", 9),
    ("batch", 9),
    ("beat", 9),
    ("best 8", 9),
    ("place", 9),
    ("reason", 9),
    ("numpy", 9),
    ("×", 6),
    ("numba", 9),
    ("×", 6),
)
LEGEND = (
    "Medians of single calls in µs, clock included, every call another task.\n"
    "no fit: share of workers that a task does not fit. select: select_worker(task). batch: per task of "
    "select_many(100 tasks).\nbeat: a worker's load set, select_worker, the load set back. best 8: "
    "candidates(task).\nplace: select_worker, reserve, release. reason: select_worker and its reason "
    "read. ×: the peer's median over select's."
)


def header() -> str:
    """The first line of the table."""
    return "  ".join(name.rjust(width) for name, width in _COLUMNS)


def line(case: Mapping[str, Any]) -> str:
    """One cluster of one size."""
    us, ratio = case["us"], case["ratio"]
    cells = [f"{case['workers']:,}", case["cluster"], f"{case['infeasible']:.0%}"]
    cells += [number(us["rtscore"]["p50"]), number(us["rtscore"]["p99"])]
    cells += [
        number(us[way]["p50"]) if way in us else "" for way in ("batch", "beat", "best 8", "place", "reason")
    ]
    for peer in ("numpy", "numba"):
        cells += [number(us[peer]["p50"]), number(ratio[peer])]
    return "  ".join(cell.rjust(width) for cell, (_, width) in zip(cells, _COLUMNS, strict=True))


def number(value: float) -> str:
    """Three significant digits, never an exponent."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def verdict_lines(verdicts: Sequence[Verdict]) -> list[str]:
    """One line per bar: what it is, what came, what was asked, and in which cluster it was hardest."""
    return [
        f"{'PASS' if v.reached else 'FAIL'}  {v.figure:<38} {number(v.value):>9}  "
        f"(at {v.at} {v.bound:g}{', ' + v.cluster if v.cluster else ''})"
        for v in verdicts
    ]


def summary(document: Mapping[str, Any]) -> list[str]:
    """What is below the table: exactness, footprint and machine."""
    exact, machine = document["exactness"], document["machine"]
    lines = [f"exactness: {exact['wrong']} wrong of {exact['answers']:,} answers compared with the reference"]
    lines += [f"  wrong: {example}" for example in exact["examples"]]
    if "import" in document:
        times = document["import"]
        lines.append(
            f"import: rtscore {times['rtscore_ms']:.0f} ms, numpy alone {times['numpy_ms']:.0f} ms: "
            f"{times['ratio']:.2f}×"
        )
    lines.append(
        f"machine: {machine['cpu']}, {machine['cpus']} cpus, {machine['system']}, "
        f"Python {machine['python']}, numpy {machine['numpy']}, numba {machine['numba']}, "
        f"rtscore {machine['rtscore']} ({machine['commit']}), load {machine['load_average']:.2f}, "
        f"clock {machine['clock_ns']:.0f} ns"
    )
    if machine["load_average"] > machine["cpus"] / 2:
        lines.append(
            "the machine was busy: calls of milliseconds were interrupted and ours of microseconds were not, "
            "so the ratios at large sizes flatter us; measure again when it is quiet"
        )
    return lines


def markdown(document: Mapping[str, Any]) -> str:
    """The README's table: our medians per cluster, and the peers on the idle one."""
    cases = {(case["workers"], case["cluster"]): case for case in document["cases"]}
    rows = [
        f"| workers | {' | '.join(PROMISED)} | NumPy, idle | numba loop, idle |",
        "| ---: |" + " ---: |" * (len(PROMISED) + 2),
    ]
    for size in dict.fromkeys(case["workers"] for case in document["cases"]):
        cells = [f"{number(cases[size, kind]['us']['rtscore']['p50'])} µs" for kind in PROMISED]
        idle = cases[size, "idle"]
        cells += [
            f"{number(idle['us'][p]['p50'])} µs ({number(idle['ratio'][p])}×)" for p in ("numpy", "numba")
        ]
        rows.append(f"| {size:,} | {' | '.join(cells)} |")
    machine = document["machine"]
    rows += [
        "",
        f"Median of `select_worker(task)` through Python; {machine['cpu']}, Python {machine['python']}; "
        "printed by `python -m benchmarks.decision --markdown`.",
    ]
    return "\n".join(rows)
