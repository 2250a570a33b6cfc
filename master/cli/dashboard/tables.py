"""Tables of pages: columns with a kind each; cells are data in fixed templates, so text stays text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal
from urllib.parse import quote

import msgspec
from nicegui import ui

Kind = Literal["text", "number", "link", "mono", "long", "chip", "bar", "time", "action"]

# `props.value` is what the row has under the column's name: for most kinds text, for the others a dict.
# Vue writes text, never markup, and addresses are made by us.
_TEMPLATES: dict[str, str] = {
    "link": '<a class="cut id mono" v-if="props.value" :href="props.value.href" :title="props.value.text">'
    "{{ props.value.text }}</a>",
    "mono": '<span class="cut mono" :title="props.value">{{ props.value }}</span>',
    "chip": '<span :class="\'chip \' + props.value" v-if="props.value">{{ props.value }}</span>',
    "bar": '<span class="cellbar" v-if="props.value">'
    "<span :class=\"props.value.percent > 90 ? 'bar high' : 'bar'\">"
    "<i :style=\"{width: props.value.percent + '%'}\"></i></span><span>{{ props.value.text }}</span></span>",
    "time": '<span v-if="props.value" :title="props.value.exact">{{ props.value.text }}</span>',
    "action": '<button type="button" class="cellbutton" v-if="props.value" '
    "@click.stop=\"$parent.$emit('act', props.row.key)\">{{ props.value }}</button>",
    "long": '<span class="long">{{ props.value }}</span>',
    "text": '<span class="cut" :title="props.value">{{ props.value }}</span>',
}


class Column(msgspec.Struct, frozen=True):
    """One column; `wide` hides it on narrow screens."""

    name: str
    label: str
    kind: Kind = "text"
    wide: bool = False


def table(columns: Sequence[Column], act: Callable[[str], Any] | None = None) -> ui.table:
    """An empty table; each of its rows needs "key", which `act` is called with when its button is pressed."""
    made = ui.table(
        rows=[],
        row_key="key",
        columns=[
            {
                "name": each.name,
                "label": each.label,
                "field": each.name,
                "align": "right" if each.kind in ("number", "action") else "left",
                "classes": "wide" if each.wide else "",
                "headerClasses": "wide" if each.wide else "",
            }
            for each in columns
        ],
    )
    made.classes("grid").props("flat dense hide-bottom separator=horizontal")
    for each in columns:
        if template := _TEMPLATES.get(each.kind):
            made.add_slot(f"body-cell-{each.name}", f'<q-td :props="props">{template}</q-td>')
    if act is not None:
        made.on("act", lambda event: act(str(event.args)))
    return made


def fill(made: ui.table, rows: list[dict[str, Any]]) -> None:
    """Show these rows; nothing is sent when they are shown already."""
    if made.rows != rows:
        made.rows = rows


def link(text: str, href: str) -> dict[str, str]:
    """A cell of a "link" column."""
    return {"text": text, "href": href}


def bar(percent: float, text: str) -> dict[str, Any]:
    """A cell of a "bar" column."""
    return {"percent": percent, "text": text}


def instant(text: str, exact: str) -> dict[str, str] | None:
    """A cell of a "time" column."""
    return {"text": text, "exact": exact} if text else None


def task_href(task_id: str) -> str:
    """The address of a task's page."""
    return f"/task?id={quote(task_id, safe='')}"
