"""The plots of a comparison: deadlines against load, waits, affinities, fitness; for print and for any eyes.

Colours are Okabe and Ito's, which remain apart under the common kinds of colour blindness; every policy also
has a marker of its own, every queue order a dash, so that nothing is told by colour alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from aod._njit import F64
from master.cli.simulate.comparison import RECORDED, RTS, UNTRAINED, Comparison, Row, at_load, percent
from rtscore.tasks import TASK_TYPES

# matplotlib's own type of the keys differs from version to version.
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 8,
    # The same comparison gives the same bytes.
    "svg.hashsalt": "rtscore",
}

_LOOK: dict[str, tuple[str, str]] = {
    RTS: ("#0072B2", "o"),
    UNTRAINED: ("#56B4E9", "h"),
    "oracle": ("#000000", "X"),
    "least-loaded": ("#009E73", "^"),
    "least-allocated": ("#CC79A7", "v"),
    "best-fit": ("#D55E00", "D"),
    "first-fit": ("#8C510A", "P"),
    "tetris": ("#999933", "*"),
    "power-of-two": ("#44AA99", "<"),
    "round-robin": ("#E69F00", "s"),
    "random": ("#808080", "x"),
    RECORDED: ("#000000", "8"),
}
_SERIES = (
    ("#0072B2", "o"),
    ("#D55E00", "s"),
    ("#009E73", "^"),
    ("#CC79A7", "v"),
    ("#E69F00", "D"),
    ("#000000", "X"),
)
_DASH = {"ours": "-", "edf": "--", "fifo": ":", "least-laxity": "-.", RECORDED: "-"}

# Shorter waits are those of a pass of the queue, and a log axis needs an end.
_NO_WAIT_S = 0.1

# Over which part of the distance between two loads the policies stand side by side.
_SIDE = 0.12

_PERCENT = FuncFormatter(lambda share, _: percent(share))


@dataclass(frozen=True, slots=True)
class Plot:
    """One plot: a file name, a title, what to see in it, its size in inches and what draws it."""

    name: str
    title: str
    caption: str
    size: tuple[float, float]
    draw: Callable[[Axes], None]


def plots(comparison: Comparison) -> list[Plot]:
    """Those for which the comparison has data, in the order of the report."""
    loads = _loads(comparison)
    found = [_deadlines(comparison, loads), _waits(comparison, loads[-1])]
    if comparison.affinity is not None:
        found.append(_affinities(comparison))
        speed_tw = comparison.affinity.speed_tw
        if speed_tw is not None and np.ptp(speed_tw) > 0.0:
            found.append(_speeds(comparison))
    if any(of.generations for of in comparison.learned):
        found.append(_fitness(comparison))
    return found


def _deadlines(comparison: Comparison, loads: Sequence[float | None]) -> Plot:
    against = len(loads) > 1

    def over_load(axes: Axes) -> None:
        x = np.array(loads, np.float64)
        keys = _keys(comparison, at=loads[-1])
        gap = float(np.diff(x).min())
        for k, key in enumerate(keys):
            rows = [row for row in comparison.rows if (row.queue, row.policy) == key]
            mean = np.array([row.figures["sla"].mean for row in rows])
            # Side by side, or the bars of policies that are equally good hide each other.
            beside = x + _SIDE * gap * (k / max(len(keys) - 1, 1) - 0.5)
            axes.errorbar(beside, mean, yerr=_half_widths(rows), **_look(key, comparison), capsize=2)
        axes.set_xlabel("offered load")
        axes.set_ylabel("tasks that met their deadline")
        axes.set_xticks(x, [percent(value) for value in x])
        axes.yaxis.set_major_formatter(_PERCENT)
        # A share; a bar may reach beyond what is possible.
        axes.set_ylim(max(axes.get_ylim()[0], 0.0), min(axes.get_ylim()[1], 1.01))
        axes.legend(
            *_named(axes, keys, comparison), loc="center left", bbox_to_anchor=(1.01, 0.5), handlelength=3
        )

    def at_one(axes: Axes) -> None:
        rows = [_row(comparison, loads[0], key) for key in reversed(_keys(comparison, at=loads[0]))]
        for y, row in enumerate(rows):
            look = _look((row.queue, row.policy), comparison) | {"linestyle": "none"}
            half = _half_widths([row])
            axes.errorbar([row.figures["sla"].mean], [y], xerr=half, **look, capsize=2.5)
        axes.set_yticks(range(len(rows)), [_name((row.queue, row.policy), comparison) for row in rows])
        axes.set_xlabel("tasks that met their deadline")
        axes.xaxis.set_major_formatter(_PERCENT)
        axes.set_xlim(max(axes.get_xlim()[0], 0.0), min(axes.get_xlim()[1], 1.01))
        axes.grid(False, axis="y")

    n = len(comparison.seeds)
    bars = (
        f"mean of {n} seeds, bars are 95 % intervals" if _has_intervals(comparison) else "mean of the seeds"
    )
    return Plot(
        "deadlines",
        "Deadlines met" + (", by load" if against else f", {at_load(loads[0])}"),
        f"Share of tasks that finished by their deadline: {bars}. Further {'up' if against else 'right'} "
        "is better.",
        (7.2, 4.0),
        over_load if against else at_one,
    )


def _waits(comparison: Comparison, load: float | None) -> Plot:
    def draw(axes: Axes) -> None:
        keys = _keys(comparison, at=load)
        longest = 0.0
        for key in keys:
            waits = np.sort(comparison.waits[load, *key])
            ran = waits[np.isfinite(waits)]
            longest = max(longest, float(ran[-1]) if len(ran) else 0.0)
            at = np.geomspace(_NO_WAIT_S, max(longest, 2 * _NO_WAIT_S), 200)
            longer = 1.0 - np.searchsorted(waits, at, side="right") / len(waits)
            axes.plot(at, longer, **_look(key, comparison), markevery=(5, 24))
        if longest <= _NO_WAIT_S:
            axes.text(0.5, 0.5, "no task waited", transform=axes.transAxes, ha="center", fontsize=11)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda s, _: f"{s:g}"))
        axes.set_xlabel("wait from arrival to start, seconds")
        axes.set_ylabel("tasks that waited longer")
        axes.yaxis.set_major_formatter(_PERCENT)
        axes.set_ylim(bottom=0.0)
        axes.legend(
            *_named(axes, keys, comparison), loc="center left", bbox_to_anchor=(1.01, 0.5), handlelength=3
        )

    return Plot(
        "waits",
        f"Waits, {at_load(load)}",
        f"Share of tasks that waited longer than so many seconds, of all seeds, from {_NO_WAIT_S:g} s on. "
        "Further down is better; a task that never started waited for ever.",
        (7.2, 3.6),
        draw,
    )


def _affinities(comparison: Comparison) -> Plot:
    held = comparison.affinity
    assert held is not None

    def draw(axes: Axes) -> None:
        bound = max(float(np.abs(held.affinity_tw).max()), 1e-9)
        _heat(axes, held.affinity_tw[:, _by_affinity(held.affinity_tw)], "PuOr", -bound, bound, "affinity")

    return Plot(
        "affinity",
        "Learned affinity",
        "Per task type and worker, as learned at the first load and seed; a higher one attracts. Workers are "
        "in the order of their mean affinity.",
        (7.2, 2.2),
        draw,
    )


def _speeds(comparison: Comparison) -> Plot:
    held = comparison.affinity
    assert held is not None
    assert held.speed_tw is not None
    log_speed = np.log2(held.speed_tw)

    def draw(axes: Axes) -> None:
        bound = max(float(np.abs(log_speed).max()), 1e-9)
        order = _by_affinity(held.affinity_tw)
        _heat(axes, log_speed[:, order], "PuOr", -bound, bound, "true speed, log₂")

    return Plot(
        "speed",
        "True speed",
        "What is planted and nobody is told: 1 is twice as fast as an average worker, -1 half. The workers "
        "are in the order of the plot of affinities: where learning works the two look alike.",
        (7.2, 2.2),
        draw,
    )


def _fitness(comparison: Comparison) -> Plot:
    def draw(axes: Axes) -> None:
        for k, load in enumerate(dict.fromkeys(of.load for of in comparison.learned if of.generations)):
            courses = [of.generations for of in comparison.learned if of.load == load and of.generations]
            n = max(map(len, courses))
            # A search that stopped early keeps what it had.
            held = [course + course[-1:] * (n - len(course)) for course in courses]
            best = np.array([[g.best for g in course] for course in held])
            mean = np.array([[g.mean for g in course] for course in held]).mean(axis=0)
            color, marker = _SERIES[k % len(_SERIES)]
            x = np.arange(n)
            axes.fill_between(x, best.min(axis=0), best.max(axis=0), color=color, alpha=0.12, lw=0)
            label = f"best, {at_load(load)}"
            axes.plot(x, best.mean(axis=0), color=color, marker=marker, markersize=5, label=label)
            axes.plot(x, mean, color=color, ls=":", lw=1.2, label=f"mean, {at_load(load)}")
        axes.set_xlabel("generation")
        axes.set_ylabel("fitness on the older tasks")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), handlelength=3)

    return Plot(
        "fitness",
        "Fitness by generation",
        "The best and the mean of the population, mean of the seeds; the band is from the worst seed to the "
        "best. Generation 0 has the parameters in use, the defaults and variations of both.",
        (7.2, 3.4),
        draw,
    )


def _heat(axes: Axes, values: F64, colours: str, low: float, high: float, label: str) -> None:
    image = axes.imshow(values, aspect="auto", cmap=colours, vmin=low, vmax=high, interpolation="nearest")
    axes.grid(False)
    axes.set_yticks(range(len(TASK_TYPES)), [str(name) for name in TASK_TYPES])
    axes.set_xlabel(f"{values.shape[1]:,} workers")
    axes.set_xticks([])
    assert axes.figure is not None
    axes.figure.colorbar(image, ax=axes, label=label, pad=0.02)


def _by_affinity(affinity_tw: F64) -> Any:
    return np.argsort(-affinity_tw.mean(axis=0), kind="stable")


def _loads(comparison: Comparison) -> list[float | None]:
    loads = list(dict.fromkeys(row.load for row in comparison.rows))
    return sorted(loads, key=lambda load: -1.0 if load is None else load)


def _keys(comparison: Comparison, at: float | None) -> list[tuple[str, str]]:
    """Queue and policy of the rows of a load, the most deadlines met first."""
    rows = [row for row in comparison.rows if row.load == at]
    return [(row.queue, row.policy) for row in sorted(rows, key=lambda row: -row.figures["sla"].mean)]


def _row(comparison: Comparison, load: float | None, key: tuple[str, str]) -> Row:
    return next(row for row in comparison.rows if row.load == load and (row.queue, row.policy) == key)


def _half_widths(rows: Sequence[Row]) -> F64:
    return np.array([row.figures["sla"].half_width or 0.0 for row in rows])


def _has_intervals(comparison: Comparison) -> bool:
    return any(row.figures["sla"].half_width is not None for row in comparison.rows)


def _look(key: tuple[str, str], comparison: Comparison) -> dict[str, Any]:
    queue, policy = key
    color, marker = _LOOK[policy]
    strong = policy == RTS
    if _policies(comparison) == {policy}:
        # Of one policy under several orders the orders are told apart.
        color, marker = _SERIES[list(_DASH).index(queue)]
        strong = queue == "ours"
    return {
        "color": color,
        "marker": marker,
        "linestyle": _DASH[queue],
        "linewidth": 2.0 if strong else 1.1,
        "markersize": 6 if strong else 5,
        "zorder": 3 if strong else 2,
        "label": f"{queue}/{policy}",
    }


def _name(key: tuple[str, str], comparison: Comparison) -> str:
    several = len({row.queue for row in comparison.rows if row.queue != RECORDED}) > 1
    queue, policy = key
    return f"{policy}, {queue}" if several and queue != RECORDED else policy


def _policies(comparison: Comparison) -> set[str]:
    return {row.policy for row in comparison.rows if row.policy != RECORDED}


def _named(axes: Axes, keys: Sequence[tuple[str, str]], comparison: Comparison) -> tuple[Any, list[str]]:
    handles = axes.get_legend_handles_labels()[0]
    return handles, [_name(key, comparison) for key in keys]
