"""A comparison as tables for people and as one JSON document."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

import msgspec

from master.cli import output
from master.cli.simulate.comparison import MIN_SEEDS, RTS, Comparison, Figure, Learned, Row, at_load

# From this width on every figure has its interval; below it, only those of the deadlines.
_WIDE = 132

_FIGURE_COLUMNS = (
    *("SLA met", "misses", "wait", "p95 wait", "p95 slowdown", "utilisation"),
    *("overload", "unplaced", "decisions/s"),
)
COLUMNS = ("policy", "queue", *_FIGURE_COLUMNS)


def document(comparison: Comparison, source: dict[str, Any]) -> dict[str, Any]:
    """All figures: per row the mean, the half width of its 95 % interval, and the run of each seed."""
    return {
        "source": source,
        "tasks": comparison.tasks,
        "workers": comparison.workers,
        "seeds": list(comparison.seeds),
        "rows": [
            {
                **{name: getattr(row, name) for name in ("load", "queue", "policy")},
                "figures": row.figures,
                "runs": [{"seed": run.seed, **msgspec.to_builtins(run.summary)} for run in row.runs],
            }
            for row in comparison.rows
        ],
        "learned": comparison.learned,
    }


def print_comparison(comparison: Comparison) -> None:
    """Print a table per load, the fewest misses first, and what was learned."""
    wide = output.console().width >= _WIDE
    queues = {row.queue for row in comparison.rows} - {"recorded"}
    for load, rows in rows_by_load(comparison):
        print(heading(comparison, load))
        lines = [cells(row, wide) for row in rows]
        names = [name for name in COLUMNS if name != "queue" or len(queues) > 1]
        keep = [COLUMNS.index(name) for name in names]
        output.print_table(names, [[line[k] for k in keep] for line in lines], right=_FIGURE_COLUMNS)
        print()
    for line in learned_lines(comparison.learned):
        print(line)


def rows_by_load(comparison: Comparison) -> list[tuple[float | None, list[Row]]]:
    """The rows of each load, the most deadlines met first."""
    return [
        (load, sorted(rows, key=lambda row: -row.figures["sla"].mean))
        for load, rows in groupby(comparison.rows, key=lambda row: row.load)
    ]


def heading(comparison: Comparison, load: float | None) -> str:
    """What a table is of."""
    n = len(comparison.seeds)
    seeds = f"{n} seeds, ± is the 95 % interval" if n >= MIN_SEEDS else f"{n} seed{'s' if n > 1 else ''}"
    return f"{at_load(load)}: {comparison.tasks:,} tasks on {comparison.workers:,} workers, {seeds}"


def cells(row: Row, wide: bool) -> tuple[str, ...]:
    """The row under `COLUMNS`."""
    f = row.figures
    rate = f["decisions_per_s"].mean
    return (
        row.policy,
        row.queue,
        _figure(f["sla"], 100.0, 2, " %"),
        _figure(f["misses"], 1.0, 0),
        _figure(f["wait_mean_s"], 1.0, _digits(f["wait_mean_s"]), " s", wide),
        _figure(f["wait_p95_s"], 1.0, _digits(f["wait_p95_s"]), " s", wide),
        _figure(f["slowdown_p95"], 1.0, 2, "×", wide),
        _figure(f["utilisation"], 100.0, 1, " %", wide),
        _figure(f["overload"], 100.0, 1, " %", wide),
        _figure(f["unplaced"], 1.0, 0),
        f"{rate:,.0f}" if rate else "-",
    )


def learned_lines(learned: Sequence[Learned]) -> Iterable[str]:
    """What the epochs came to, one line for all that were accepted and one for each other."""
    accepted = [of for of in learned if of.verdict == "accepted"]
    if accepted:
        records = max(of.records for of in accepted)
        yield (
            f"{RTS} learned from up to {records:,} attempts that it is not judged on; "
            f"{len(accepted)} of {len(learned)} epochs found better parameters."
        )
    for of in learned:
        if of.verdict != "accepted":
            yield (
                f"{at_load(of.load)}, seed {of.seed}: {RTS} has the default parameters; "
                f"{of.verdict}: {of.reason}"
            )


def _digits(wait: Figure) -> int:
    return 0 if wait.mean >= 100.0 else 1


def _figure(figure: Figure, scale: float, digits: int, unit: str = "", interval: bool = True) -> str:
    text = f"{figure.mean * scale:,.{digits}f}"
    if interval and figure.half_width is not None:
        width = f"{figure.half_width * scale:,.{digits}f}"
        # One of no width, as far as it is shown, says nothing.
        text += f" ±{width}" if width.strip("0.") else ""
    return text + unit
