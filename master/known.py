"""Remembers which task ids the store may have, in two bytes each, so that a new id costs no read.

A submission with an id of the client's must be told from one that is stored already and no longer in memory.
Asked of the store, in groups too, that was a fifth of the CPU of a unary submission (90 of 490 µs with the
store's).
"""

from __future__ import annotations

_BITS_PER_ID = 16
_PROBES = 4
_FIRST = 1 << 16
_GROWTH = 4


class KnownIds:
    """A Bloom filter that grows by layers: "no" is certain, "maybe" is wrong for 2 ids in 1,000 a layer."""

    def __init__(self) -> None:
        self._layers: list[bytearray] = []
        self._room = 0

    def add(self, task_id: str) -> None:
        """Remember an id."""
        if self._room == 0:
            ids = _FIRST * _GROWTH ** len(self._layers)
            self._layers.append(bytearray(ids * _BITS_PER_ID // 8))
            self._room = ids
        self._room -= 1
        bits = self._layers[-1]
        mask = 8 * len(bits) - 1
        position, step = _hashes(task_id)
        for _ in range(_PROBES):
            position &= mask
            bits[position >> 3] |= 1 << (position & 7)
            position += step

    def __contains__(self, task_id: str) -> bool:
        """Whether the id may have been added."""
        first, step = _hashes(task_id)
        for bits in self._layers:
            mask = 8 * len(bits) - 1
            position = first
            for _ in range(_PROBES):
                position &= mask
                if not bits[position >> 3] >> (position & 7) & 1:
                    break
                position += step
            else:
                return True
        return False


def _hashes(task_id: str) -> tuple[int, int]:
    # The halves of Python's keyed 64-bit hash: nobody can make ids that collide. An odd step visits all bits.
    value = hash(task_id)
    return value & 0xFFFFFFFF, (value >> 32) | 1
