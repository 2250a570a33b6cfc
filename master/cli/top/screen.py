"""The terminal under `rts top`, by curses: draws lines, names keys, and leaves the terminal as it was."""

from __future__ import annotations

import curses
import locale
import os
import signal
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from master.cli.failure import CommandError, Exit

if TYPE_CHECKING:
    from master.cli.top.text import Line
    from master.cli.top.view import View

# How soon an answer of the master is seen; keys are at once.
_STEP_MS = 100

_KEYS = {
    curses.KEY_UP: "up",
    curses.KEY_DOWN: "down",
    curses.KEY_LEFT: "left",
    curses.KEY_RIGHT: "right",
    curses.KEY_PPAGE: "pgup",
    curses.KEY_NPAGE: "pgdn",
    curses.KEY_HOME: "home",
    curses.KEY_END: "end",
    curses.KEY_ENTER: "enter",
    curses.KEY_BACKSPACE: "backspace",
    "\n": "enter",
    "\r": "enter",
    "\x1b": "esc",
    "\x7f": "backspace",
    "\b": "backspace",
}
_COLOURS = {
    "good": curses.COLOR_GREEN,
    "bad": curses.COLOR_RED,
    "warn": curses.COLOR_YELLOW,
    "busy": curses.COLOR_CYAN,
}


def show(view: View) -> None:
    """Show `view` until the user leaves; an interrupt leaves as well.

    Raises
    ------
    CommandError
        When this terminal cannot be drawn on.
    """
    locale.setlocale(locale.LC_ALL, "")
    # curses would believe these, also after the window has changed.
    for name in ("LINES", "COLUMNS"):
        os.environ.pop(name, None)
    try:
        curses.setupterm()
    except curses.error:
        _refuse(f"TERM={os.environ.get('TERM', '')} is not known here")
    if not curses.tigetstr("cup"):
        _refuse(f"TERM={os.environ.get('TERM', '')} cannot move its cursor")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        curses.wrapper(_run, view)
    except KeyboardInterrupt:
        return


def _refuse(why: str) -> NoReturn:
    raise CommandError(
        f"This terminal cannot show rts top ({why}). Set TERM to what it is, as in TERM=xterm or TERM=vt100, "
        "or use --once.",
        Exit.USAGE,
    )


def _run(window: curses.window, view: View) -> None:
    attributes = _attributes()
    _hide_cursor()
    curses.set_escdelay(100)
    window.timeout(_STEP_MS)
    changed = True
    while not view.done:
        changed |= view.take()
        if changed:
            _draw(window, view, attributes)
        changed = False
        # All keys that are there before the next drawing: a slow line shows where they lead.
        while (key := _key(window)) is not None:
            changed = True
            if key:
                view.key(key)
            window.timeout(0)
        window.timeout(_STEP_MS)


def _attributes() -> dict[str, int]:
    found = {"": curses.A_NORMAL, "bold": curses.A_BOLD, "dim": curses.A_DIM, "reverse": curses.A_REVERSE}
    # Without colours words and weight say all.
    plain = {"good": curses.A_NORMAL, "bad": curses.A_BOLD, "warn": curses.A_BOLD, "busy": curses.A_NORMAL}
    if curses.has_colors():
        # Also without colours: what is not told so draws white on black, whatever the terminal's own are.
        curses.use_default_colors()
    if os.environ.get("NO_COLOR") or not curses.has_colors():
        return found | plain
    for number, (name, colour) in enumerate(_COLOURS.items(), 1):
        curses.init_pair(number, colour, -1)
        found[name] = curses.color_pair(number)
    return found


def _hide_cursor() -> None:
    try:
        curses.curs_set(0)
    except curses.error:
        return


def _key(window: curses.window) -> str | None:
    """The next key's name, empty when it only asks for a new drawing; None when there is none."""
    try:
        key: Any = window.get_wch()
    except curses.error:
        return None
    if key == curses.KEY_RESIZE:
        # What the terminal has made of its lines is its own affair: the next drawing is a whole one.
        window.clear()
        return ""
    return _KEYS.get(key, key if isinstance(key, str) else "")


def _draw(window: curses.window, view: View, attributes: dict[str, int]) -> None:
    height, width = window.getmaxyx()
    window.erase()
    for y, line in enumerate(view.draw(width, height)):
        _draw_line(window, y, line, attributes)
    window.refresh()


def _draw_line(window: curses.window, y: int, line: Line, attributes: dict[str, int]) -> None:
    try:
        window.move(y, 0)
        for text, style in line:
            window.addstr(_drawable(text, window.encoding), attributes[style])
    except curses.error:
        # The last cell of the last line: it is drawn, only the cursor has nowhere to go.
        return


def _drawable(text: str, encoding: str) -> str:
    return text.encode(encoding, "replace").decode(encoding)
