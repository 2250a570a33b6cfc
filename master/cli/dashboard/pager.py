"""The pages of a listing that the master cuts: on by its tokens, back by those that are remembered."""

from __future__ import annotations

from collections.abc import Callable

from nicegui import ui

from master.cli.dashboard import words
from master.cli.dashboard.frame import button

PAGE = 50


class Pager:
    """The line below a listing; `turn` is called when another page is wanted, which begins at `token`."""

    def __init__(self, noun: str, turn: Callable[[], None]) -> None:
        self.token = ""
        self._noun = noun
        self._turn = turn
        self._before: list[str] = []
        self._next = ""
        with ui.element("div").classes("pager"):
            self._back = button("Previous", self._go_back)
            self._on = button("Next", self._go_on)
            self._label = ui.label("")

    def reset(self) -> None:
        """Begin at the first page again: another listing is wanted."""
        self.token, self._before = "", []

    def show(self, shown: int, next_token: str, total: int | None, note: str = "") -> None:
        """Say what is shown, of how many, and offer the pages before and after."""
        self._next = next_token
        self._back.set_enabled(bool(self._before))
        self._on.set_enabled(bool(next_token))
        first = len(self._before) * PAGE + 1
        of = "" if total is None else f" of {words.count(total)}"
        page = f"page {len(self._before) + 1}"
        text = (
            f"{words.count(first)} to {words.count(first + shown - 1)}{of} {self._noun}, {page}"
            if shown
            else page
        )
        self._label.text = f"{text}{note}"

    def _go_on(self) -> None:
        if self._next:
            self._before.append(self.token)
            self.token = self._next
            self._turn()

    def _go_back(self) -> None:
        if self._before:
            self.token = self._before.pop()
            self._turn()
