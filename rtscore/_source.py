"""Who made a decision."""

from __future__ import annotations

from enum import StrEnum


class Source(StrEnum):
    """Who made a decision: the risk model, the fallback, or nobody because nothing fits."""

    RTS = "rts"
    ROUND_ROBIN = "round-robin"
    NONE = "none"
