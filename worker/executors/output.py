"""The last bytes of a command's output, however much it prints."""

from __future__ import annotations


class OutputTail:
    """Keeps the last `limit` bytes that were added, and counts the others."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept = bytearray()
        self._dropped = 0

    def add(self, data: bytes) -> None:
        """Append what was printed."""
        self._kept += data
        # Trimmed at twice the limit, so that each byte is moved at most once.
        if len(self._kept) > 2 * self._limit:
            self._trim()

    def bytes(self) -> bytes:
        """Return what is kept, after a line that says how much is missing before it."""
        self._trim()
        if not self._dropped:
            return bytes(self._kept)
        return b"[%d bytes before this were not kept]\n" % self._dropped + bytes(self._kept)

    def _trim(self) -> None:
        excess = len(self._kept) - self._limit
        if excess > 0:
            del self._kept[:excess]
            self._dropped += excess
