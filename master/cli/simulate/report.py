"""The report of a comparison: a page that needs nothing else, one picture, or a folder of pictures."""

from __future__ import annotations

import base64
import html
import io
import os
import shlex
import sys
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from master.cli.simulate.comparison import Comparison
from master.cli.simulate.plots import STYLE, Plot, plots
from master.cli.simulate.table import COLUMNS, cells, heading, learned_lines, rows_by_load

_DPI = 150

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>rts simulate</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; color: #222; }}
body {{ max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }}
h1 {{ font-size: 1.5rem; }} h2 {{ font-size: 1.15rem; margin-top: 2.5rem; }}
code {{ background: #f3f3f3; padding: .1em .3em; }}
figure {{ margin: 0; }} img {{ max-width: 100%; }} figcaption, caption, .note {{ color: #555; }}
.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-size: .85rem; white-space: nowrap; margin-bottom: 1.5rem; }}
caption {{ text-align: left; padding-bottom: .3rem; }}
th, td {{ padding: .2rem .6rem; border-bottom: 1px solid #e4e4e4; text-align: right; }}
th:first-child, td:first-child {{ text-align: left; }}
@media print {{ body {{ margin: 0; max-width: none; }} figure, table {{ break-inside: avoid; }} }}
</style>
</head>
<body>
<h1>Placement policies compared</h1>
<p>Made by <code>{command}</code> of rtscore {version}. {source}</p>
{body}
</body>
</html>
"""


def write_report(path: Path, comparison: Comparison, source: dict[str, Any]) -> None:
    """Write it: a page when the name ends in .html, a picture when in .png, else a folder of pictures.

    Raises
    ------
    OSError
        When it cannot be written; what was there before stays.
    """
    with mpl.rc_context(STYLE):
        found = plots(comparison)
        suffix = path.suffix.lower()
        if path.is_dir() or suffix not in (".html", ".png"):
            path.mkdir(exist_ok=True)
            for plot in found:
                _replace(path / f"{plot.name}.png", _drawn(plot, "png"))
        elif suffix == ".html":
            _replace(path, _page(found, comparison, source).encode())
        else:
            _replace(path, _together(found))


def _page(found: list[Plot], comparison: Comparison, source: dict[str, Any]) -> str:
    parts = [_figure(plot) for plot in found]
    parts.append("<h2>Figures</h2>")
    parts += [_table(comparison, load) for load, _ in rows_by_load(comparison)]
    parts += [f'<p class="note">{html.escape(line)}</p>' for line in learned_lines(comparison.learned)]
    said = ", ".join(f"{name.replace('_', ' ')}: {value}" for name, value in source.items())
    command = shlex.join(["rts", *sys.argv[1:]])
    return _PAGE.format(
        command=html.escape(command),
        version=html.escape(version("rtscore")),
        source=html.escape(said[:1].upper() + said[1:] + "."),
        body="\n".join(parts),
    )


def _figure(plot: Plot) -> str:
    # An image of its own, not SVG in the page: the ids of one plot would be those of the next.
    data = base64.b64encode(_drawn(plot, "svg")).decode()
    return (
        f"<h2>{html.escape(plot.title)}</h2>\n<figure>"
        f'<img alt="{html.escape(plot.title)}" src="data:image/svg+xml;base64,{data}">'
        f"<figcaption>{html.escape(plot.caption)}</figcaption></figure>"
    )


def _table(comparison: Comparison, load: float | None) -> str:
    rows = dict(rows_by_load(comparison))[load]

    def line(tag: str, of: Iterable[str]) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in of) + "</tr>"

    lines = [line("th", COLUMNS), *(line("td", cells(row, wide=True)) for row in rows)]
    caption = html.escape(heading(comparison, load))
    return f'<div class="wide"><table><caption>{caption}</caption>\n' + "\n".join(lines) + "</table></div>"


def _drawn(plot: Plot, kind: str) -> bytes:
    figure = Figure(figsize=plot.size, layout="constrained")
    axes = figure.add_subplot()
    plot.draw(axes)
    if kind == "png":
        # The page has a heading above each; a file has to say for itself what it is.
        axes.set_title(plot.title)
    return _saved(figure, kind)


def _together(found: list[Plot]) -> bytes:
    heights = [plot.size[1] for plot in found]
    figure = Figure(figsize=(max(plot.size[0] for plot in found), sum(heights)), layout="constrained")
    parts = figure.subfigures(len(found), 1, height_ratios=heights, squeeze=False)[:, 0]
    for plot, part in zip(found, parts, strict=True):
        axes = part.add_subplot()
        plot.draw(axes)
        axes.set_title(plot.title)
    return _saved(figure, "png")


def _saved(figure: Figure, kind: str) -> bytes:
    out = io.BytesIO()
    nothing = {"svg": dict.fromkeys(("Date", "Creator", "Format", "Type")), "png": {"Software": None}}
    figure.savefig(out, format=kind, dpi=_DPI, metadata=nothing[kind])
    return out.getvalue()


def _replace(path: Path, content: bytes) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
