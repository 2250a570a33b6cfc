"""The last bytes of a command's output, however much it prints."""

from __future__ import annotations

from collections.abc import Callable


class OutputTail:
    """Keeps at least the last `limit` bytes that were added, and knows where in the whole they stand.

    Attributes
    ----------
    on_add : callable
        Called after bytes were added.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        # Trimmed to half of it when it is full, so that each byte is moved at most once.
        self._room = 2 * limit
        self._kept = bytearray()
        self.on_add: Callable[[], None] = _nobody
        # How many bytes were added in all.
        self.end = 0

    def add(self, data: bytes) -> None:
        """Append what was printed."""
        self._kept += data
        self.end += len(data)
        if len(self._kept) > self._room:
            del self._kept[: -(self._room // 2)]
        self.on_add()

    def widen(self, room: int) -> None:
        """Keep more from now on, up to so many bytes: for a reader between two of its reads."""
        self._room = max(self._room, room)

    def last(self) -> tuple[int, bytes]:
        """Return the last bytes, at most `limit`, after how many were added before them."""
        kept = bytes(self._kept[-self._limit :])
        return self.end - len(kept), kept

    def read(self, offset: int, most: int) -> tuple[int, bytes]:
        """Return bytes from `offset` on, or from where they are kept, after how many stand before them."""
        start = self.end - len(self._kept)
        begin = min(max(offset, start), self.end)
        return begin, bytes(self._kept[begin - start : begin - start + most])


def _nobody() -> None:
    return
