"""A list that is moved in, sorted and filtered: which rows of it are on the screen, and how they look."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from rich.cells import cell_len

from master.cli.complete import LONGEST_TEXT
from master.cli.output import STYLES
from master.cli.top.columns import Column
from master.cli.top.picture import FEW
from master.cli.top.text import GAP, Line, fit, one_line

R = TypeVar("R")

# An id is cut to so many cells before a column is left out: to fewer for the columns of a low rank.
_GOOD_ID, _LEAST_ID = 20, 10
_KEPT_RANK = 5

_COLOURS = {"green": "good", "red": "bad", "yellow": "warn", "cyan": "busy"}


class Pane(Generic[R]):
    """Rows under headings, one of them selected; the selection stays with its row while rows come and go.

    Parameters
    ----------
    columns : sequence of Column
        The first one identifies a row and takes the width that the others leave.
    searched : callable
        What the filter finds of a row beside its cells.
    """

    def __init__(self, columns: Sequence[Column[R]], searched: Callable[[R], str]) -> None:
        self.sorted_by: int | None = None
        self.reversed = False
        self.filter = ""
        self.rows: list[R] = []
        self.cursor = 0
        self._columns = columns
        self._also_searched = searched
        self._selected = ""
        self._top = 0
        self._height = 1
        # What each column has needed so far: columns that shrink and grow again are hard to read.
        self._needed = [len(column.heading) for column in columns]

    @property
    def selected(self) -> R | None:
        """The row under the cursor."""
        return self.rows[self.cursor] if self.rows else None

    @property
    def looked_into(self) -> bool:
        """Whether someone sorts, filters or scrolls, so that more rows would be of use."""
        return bool(self.filter or self.reversed) or self.sorted_by is not None or self.cursor >= FEW // 2

    @property
    def text(self) -> str:
        """The longest word of the filter, as much of it as the master searches for."""
        return max(self.filter.split(), key=len, default="")[:LONGEST_TEXT]

    @property
    def order(self) -> str:
        """The heading that the rows are sorted by; empty when they stand as the master gave them."""
        return "" if self.sorted_by is None else self._columns[self.sorted_by].heading

    def take(self, rows: Sequence[R], now: float) -> None:
        """Show these rows, as far as they pass the filter, in the order that was asked for."""
        words = self.filter.lower().split()
        kept = [row for row in rows if all(word in self._searched(row, now) for word in words)]
        if self.sorted_by is not None:
            key = self._columns[self.sorted_by].key
            known = [row for row in kept if key(row, now) is not None]
            known.sort(key=lambda row: key(row, now), reverse=self.reversed)
            kept = known + [row for row in kept if key(row, now) is None]
        elif self.reversed:
            kept.reverse()
        self.rows = kept
        for number, column in enumerate(self._columns):
            needed = max((cell_len(one_line(column.text(row, now))) for row in rows), default=0)
            self._needed[number] = max(self._needed[number], min(needed, column.width or needed))
        ids = [self._identify(row) for row in kept]
        if self.cursor and self._selected in ids:
            self.cursor = ids.index(self._selected)
        self.move(0)

    def move(self, by: int) -> None:
        """Move the cursor; at either end it stays."""
        self.cursor = max(0, min(self.cursor + by, len(self.rows) - 1))
        self._selected = self._identify(self.rows[self.cursor]) if self.rows else ""

    def page(self, pages: int) -> None:
        """Move by what the screen holds."""
        self.move(pages * max(1, self._height - 1))

    def sort_next(self, step: int) -> None:
        """Sort by the column beside, or by none."""
        choices = [None, *range(len(self._columns))]
        self.sorted_by = choices[(choices.index(self.sorted_by) + step) % len(choices)]

    def lines(self, width: int, height: int, now: float) -> list[Line]:
        """The headings and the rows around the cursor, in at most `height` lines."""
        self._height = max(1, height - 1)
        self._top = max(self.cursor - self._height + 1, min(self._top, self.cursor))
        self._top = max(0, min(self._top, len(self.rows) - self._height))
        columns = self._fitting(width)
        lines: list[Line] = [self._headings(columns)]
        for number in range(self._top, min(self._top + self._height, len(self.rows))):
            cells = self._cells(self.rows[number], columns, now)
            if number == self.cursor:
                lines.append([(fit("".join(text for text, _ in cells), width), "reverse")])
            else:
                lines.append(cells)
        return lines

    def _searched(self, row: R, now: float) -> str:
        cells = (column.text(row, now) for column in self._columns)
        return " ".join((*cells, self._also_searched(row))).lower()

    def _identify(self, row: R) -> str:
        return self._columns[0].text(row, 0.0)

    def _fitting(self, width: int) -> list[tuple[Column[R], int]]:
        """The columns that fit, and how wide they are."""
        kept = list(zip(self._columns, self._needed, strict=True))
        (_, wanted), *_ = kept
        while True:
            left = width - sum(needed + len(GAP) for _, needed in kept[1:])
            last = max(column.rank for column, _ in kept)
            if left >= min(wanted, _GOOD_ID if last > _KEPT_RANK else _LEAST_ID) or len(kept) == 1:
                return [(kept[0][0], min(left, wanted)), *kept[1:]]
            kept.remove(next(pair for pair in kept if pair[0].rank == last))

    def _headings(self, columns: Sequence[tuple[Column[R], int]]) -> Line:
        line: Line = []
        for column, width in columns:
            text = fit(column.heading, width, right=column.right)
            by = column.heading == self.order
            line += [(text, "reverse" if by else "bold"), (GAP, "")]
        return line[:-1]

    def _cells(self, row: R, columns: Sequence[tuple[Column[R], int]], now: float) -> Line:
        line: Line = []
        for column, width in columns:
            said = one_line(column.text(row, now))
            style = _COLOURS.get(STYLES.get(said, ""), "")
            line += [(fit(said, width, right=column.right), style), (GAP, "")]
        return line[:-1]
