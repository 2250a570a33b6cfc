"""Charts of pages: lines and bars over time, and the heat map; legible on light and on dark ground."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from nicegui import ui

BLUE, ORANGE, GREEN, RED, GREY = "#4c82fb", "#e08a1e", "#2e9e6b", "#e0565b", "#8590a0"

_TEXT = {"color": "#76818e", "fontSize": 11}
_LINE = {"lineStyle": {"color": "rgba(128, 140, 155, .35)"}}
_GRID = {"lineStyle": {"color": "rgba(128, 140, 155, .16)"}}


class Series(msgspec.Struct, frozen=True):
    """One line, or the bars of one colour; None where there is no value."""

    name: str
    colour: str
    values: Sequence[float | None]
    bars: bool = False


def chart(label: str, height: str = "") -> ui.echart:
    """An empty chart; `label` is what a screen reader says of it."""
    made = ui.echart({"animation": False, "series": []}).classes("chart")
    made.props(f'role="img" aria-label="{label}"')
    if height:
        made.style(f"height: {height}")
    return made


def draw(made: ui.echart, options: dict[str, Any]) -> None:
    """Show these options; nothing is sent when they are shown already."""
    if made.options != options:
        made.options.clear()
        made.options.update(options)
        made.update()


def over(
    names: Sequence[str],
    series: Sequence[Series],
    unit: str,
    *,
    most: float | None = None,
    least: float | None = 0.0,
) -> dict[str, Any]:
    """Options of a chart over named positions: times of day, generations; `unit` is that of its values."""
    return {
        "animation": False,
        "textStyle": {"fontFamily": "Roboto, sans-serif"},
        "tooltip": {"trigger": "axis", "confine": True, "axisPointer": {"type": "line"}},
        "legend": {"right": 8, "top": 0, "itemWidth": 14, "itemHeight": 8, "textStyle": _TEXT},
        "grid": {"left": 8, "right": 14, "top": 34, "bottom": 10, "containLabel": True},
        "xAxis": {
            "type": "category",
            "data": list(names),
            "boundaryGap": any(each.bars for each in series),
            "axisLabel": {**_TEXT, "hideOverlap": True},
            "axisLine": _LINE,
            "axisTick": {"show": False},
        },
        "yAxis": {
            "type": "value",
            "name": unit,
            "nameTextStyle": {**_TEXT, "align": "left", "padding": [0, 0, 0, -20]},
            "min": least,
            "max": most,
            "scale": least is None,
            "axisLabel": _TEXT,
            "splitLine": _GRID,
            "splitNumber": 4,
            "interval": 25 if most == 100.0 else None,
        },
        "series": [_series(each) for each in series],
    }


def _series(each: Series) -> dict[str, Any]:
    shared = {"name": each.name, "data": list(each.values), "itemStyle": {"color": each.colour}}
    if each.bars:
        return {**shared, "type": "bar", "stack": "all", "barMaxWidth": 18}
    return {
        **shared,
        "type": "line",
        # A value between two that are missing is no line.
        "showSymbol": any(value is None for value in each.values) or len(each.values) < 3,
        "symbol": "circle",
        "symbolSize": 5,
        "lineStyle": {"width": 2, "color": each.colour},
        "connectNulls": False,
    }


def heat_map(
    columns: Sequence[str], rows: Sequence[str], values: Sequence[Sequence[float]], bound: float
) -> dict[str, Any]:
    """Options of a heat map of numbers between -`bound` and `bound`, given row by row."""
    return {
        "animation": False,
        "textStyle": {"fontFamily": "Roboto, sans-serif"},
        "tooltip": {"confine": True},
        "grid": {"left": 8, "right": 14, "top": 8, "bottom": 42, "containLabel": True},
        "xAxis": {
            "type": "category",
            "data": list(columns),
            "axisLabel": {
                **_TEXT,
                "rotate": 40 if len(columns) > 12 else 0,
                "width": 110,
                "overflow": "truncate",
            },
            "axisLine": {"show": False},
            "axisTick": {"show": False},
        },
        "yAxis": {
            "type": "category",
            "data": list(rows),
            "inverse": True,
            "axisLabel": _TEXT,
            "axisLine": {"show": False},
            "axisTick": {"show": False},
        },
        "visualMap": {
            "min": -bound,
            "max": bound,
            "calculable": False,
            "orient": "horizontal",
            "left": "center",
            "bottom": 0,
            "itemHeight": 140,
            "itemWidth": 10,
            "text": [f"+{bound:g}", f"-{bound:g}"],
            "textStyle": _TEXT,
            "inRange": {"color": ["#e08a1e", "#d3b083", "#b0b8c3", "#93b0ea", "#5b8df5"]},
        },
        "series": [
            {
                "name": "affinity",
                "type": "heatmap",
                "data": [
                    [x, y, round(value, 2)] for y, row in enumerate(values) for x, value in enumerate(row)
                ],
                "label": {
                    "show": len(columns) <= 16,
                    "fontSize": 11,
                    "color": "#101419",
                },
                "labelLayout": {"hideOverlap": True},
                "itemStyle": {"borderColor": "rgba(128, 140, 155, .18)", "borderWidth": 1},
            }
        ],
    }
