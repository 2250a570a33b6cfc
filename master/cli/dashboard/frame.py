"""What is around every page: the way to the others, whether the master answers, light or dark."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from nicegui import app, ui
from starlette.requests import Request
from starlette.responses import RedirectResponse

from master.cli.dashboard import words
from master.cli.dashboard.desk import Desk
from master.cli.dashboard.picture import Topic
from rtscore.client import ClientError, ClusterStats

_PAGES = (("/", "Cluster"), ("/tasks", "Tasks"), ("/learning", "Learning"), ("/trends", "Trends"))
_THEMES = {"auto": None, "light": False, "dark": True}
_COOKIE = "rts_theme"

ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><rect width="16" height="16" rx="4" '
    'fill="#2563eb"/><path d="M4 11V5m4 6V7m4 4V4" stroke="#fff" stroke-width="2" stroke-linecap="round"/>'
    "</svg>"
)


def install() -> None:
    """The style of all pages, and the route that remembers a choice of light or dark in a cookie."""
    style = (Path(__file__).parent / "style.css").read_text(encoding="utf-8")
    ui.add_head_html(f"<style>{style}</style>", shared=True)

    @app.get("/theme")
    def theme(to: str, back: str = "/") -> RedirectResponse:
        # Only to pages of our own: "//host" and "/\host" would lead elsewhere.
        own = back if back.startswith("/") and back[1:2] not in ("/", "\\") else "/"
        answer = RedirectResponse(own, status_code=303)
        answer.set_cookie(_COOKIE, to if to in _THEMES else "auto", samesite="strict", max_age=31_536_000)
        return answer


@contextlib.contextmanager
def frame(desk: Desk, request: Request, here: str) -> Iterator[None]:
    """Draw what is around a page; the page is drawn inside the block."""
    theme = request.cookies.get(_COOKIE, "auto")
    theme = theme if theme in _THEMES else "auto"
    ui.dark_mode(_THEMES[theme])
    ui.colors(primary="#2563eb")
    with ui.element("header").classes("top"):
        ui.link("rts", "/").classes("brand")
        with ui.element("nav").classes("nav").props('aria-label="Pages"'):
            for path, name in _PAGES:
                link = ui.link(name, path)
                if path == here:
                    link.classes("here").props('aria-current="page"')
        ui.element("div").classes("grow")
        if desk.read_only:
            ui.label("read-only").classes("tag")
        with ui.element("div").classes("state-of-master"):
            ui.label(desk.address).classes("mono wide")
            state = ui.label("").classes("chip")
        back = quote(str(request.url.path) + (f"?{request.url.query}" if request.url.query else ""), safe="")
        with ui.element("div").classes("switch").props('role="group" aria-label="Theme"'):
            for name in _THEMES:
                link = ui.link(name, f"/theme?to={name}&back={back}")
                if name == theme:
                    link.classes("here").props('aria-current="true"')
    banner = ui.label("").classes("banner").props('role="alert"')

    def show(topic: Topic[ClusterStats]) -> None:
        since = desk.picture.silent_since
        set_chip(state, "silent" if since else "answers")
        if since:
            banner.text = (
                f"No master answers at {desk.address} since {words.clock(since)} "
                f"({words.span(time.time() - since)}). What is shown is the last that was heard; this page "
                "goes on by itself when one answers."
            )
        else:
            banner.text = f"The master refuses: {topic.refused}" if topic.refused else ""
        banner.set_visibility(bool(banner.text))

    banner.set_visibility(False)
    desk.look("stats", desk.client.stats, show)
    with ui.element("div").classes("page"):
        yield


def set_chip(label: ui.label, word: str) -> None:
    """Make a label the chip of a state."""
    label.classes(remove=label.text, add=word)
    label.text = word


class Panel(NamedTuple):
    """A titled box: the whole of it, and the line of its title."""

    whole: ui.element
    head: ui.element


@contextlib.contextmanager
def panel(title: str, note: str = "") -> Iterator[Panel]:
    """Draw a titled box; the block draws below the title."""
    with ui.element("section").classes("panel") as whole:
        with ui.element("div").classes("head") as head:
            heading(title, 2)
            if note:
                ui.label(note).classes("quiet")
        yield Panel(whole, head)


def heading(text: str, level: int) -> ui.label:
    """A heading that is one to a screen reader, too."""
    label = ui.label(text)
    label.tag = f"h{level}"
    return label


def button(text: str, act: Callable[[], Any], kind: str = "") -> ui.button:
    """A button; `kind` is "main", "danger" or nothing."""
    return ui.button(text, on_click=act, color=None).props("unelevated no-caps").classes(f"b {kind}")


async def confirm(question: str, consequence: str, verb: str, act: Callable[[], Awaitable[str]]) -> None:
    """Ask, then act and show the sentence that `act` returns, or the master's refusal."""
    with ui.dialog() as dialog, ui.element("div").classes("dialog"):
        heading(question, 3)
        ui.label(consequence).classes("quiet")
        with ui.element("div").classes("buttons"):
            button("Keep", lambda: dialog.submit(False))
            button(verb, lambda: dialog.submit(True), "danger")
    agreed = await dialog
    dialog.clear()
    if agreed:
        await attempt(act)


async def attempt(act: Callable[[], Awaitable[str]]) -> None:
    """Show what came of an action."""
    client = ui.context.client
    try:
        said, done = await act(), True
    except ClientError as error:
        said, done = str(error), False
    if not client.is_deleted:
        with client:
            ui.notify(said, type="positive" if done else "negative", position="bottom", multi_line=True)


def tile(name: str) -> Callable[[str, str], None]:
    """A number with its name; what this returns shows another number, and a note below it."""
    with ui.element("div").classes("tile"):
        ui.label(name).classes("name")
        value, note = ui.label("-").classes("value"), ui.label("").classes("note")

    def show(text: str, more: str) -> None:
        value.text, note.text = text, more

    return show
