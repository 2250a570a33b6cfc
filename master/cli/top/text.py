"""Lines of styled text for a terminal: cut, padded and joined by the cells that they take there."""

from __future__ import annotations

from collections.abc import Iterable

from rich.cells import cell_len, set_cell_size

from master.cli.output import clean

# Text and the name of its style: "", "bold", "dim", "reverse", "good", "bad", "warn", "busy".
Span = tuple[str, str]
Line = list[Span]

GAP = "  "


def one_line(text: str) -> str:
    """The text on one line, nothing of which can drive a terminal."""
    return clean(text).replace("\n", "\\n").replace("\t", " ")


def fit(text: str, width: int, *, right: bool = False) -> str:
    """Exactly `width` cells; what is too long loses its middle, which of an id tells the least."""
    size = cell_len(text)
    if size <= width:
        pad = " " * (width - size)
        return pad + text if right else text + pad
    if width < 5:
        return set_cell_size(text, width)
    head = (width - 1) // 2
    kept = set_cell_size(text, head) + "~"
    tail = text[len(text) - (width - head - 1) :]
    while cell_len(tail) > width - head - 1:
        tail = tail[1:]
    return set_cell_size(kept + tail, width)


def wrap(segments: Iterable[Line], width: int, indent: int) -> list[Line]:
    """Segments beside each other, two blanks between them; a further line begins after `indent` blanks."""
    lines: list[Line] = []
    at = 0
    for segment in segments:
        size = sum(cell_len(text) for text, _ in segment)
        if lines and at + len(GAP) + size <= width:
            lines[-1].append((GAP, ""))
            lines[-1] += segment
            at += len(GAP) + size
        else:
            blanks = indent if lines else 0
            lines.append(([(" " * blanks, "")] if blanks else []) + list(segment))
            at = blanks + size
    return lines
