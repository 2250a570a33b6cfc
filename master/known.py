"""Remembers which task ids the store may have, in four bytes each, so that a new id costs no read.

A submission with an id of the client's must be told from one that is stored already and no longer in memory.
Asked of the store, in groups too, that was a fifth of the CPU of a unary submission (90 of 490 µs with the
store's).
"""

from __future__ import annotations

_BITS_PER_ID = 32
_FIRST = 1 << 15
_GROWTH = 4


class KnownIds:
    """A Bloom filter that grows by layers: "no" is certain, "maybe" is wrong for 4 ids in 1,000 a layer.

    Two probes of 32 bits an id, not four of 16: about as often wrong, and half the time where each submission
    pays it. The probes are the halves of Python's keyed hash, so nobody can make ids that collide.
    """

    def __init__(self) -> None:
        self._layers: list[bytearray] = []
        self._room = 0

    def add(self, task_id: str) -> None:
        """Remember an id."""
        if self._room == 0:
            self._room = _FIRST * _GROWTH ** len(self._layers)
            self._layers.append(bytearray(self._room * _BITS_PER_ID // 8))
        self._room -= 1
        bits = self._layers[-1]
        mask = 8 * len(bits) - 1
        value = hash(task_id)
        one, other = value & mask, value >> 32 & mask
        bits[one >> 3] |= 1 << (one & 7)
        bits[other >> 3] |= 1 << (other & 7)

    def __contains__(self, task_id: str) -> bool:
        """Whether the id may have been added."""
        value = hash(task_id)
        for bits in self._layers:
            mask = 8 * len(bits) - 1
            one, other = value & mask, value >> 32 & mask
            if bits[one >> 3] >> (one & 7) & 1 and bits[other >> 3] >> (other & 7) & 1:
                return True
        return False
