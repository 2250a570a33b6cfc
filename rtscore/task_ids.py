"""New task ids: unique, and in the order of time."""

from __future__ import annotations

import secrets
import time


def new_task_id() -> str:
    """Return 32 hexadecimal digits: 12 of the time in milliseconds, then 80 random bits.

    A store appends ids that grow with time to its index; random ones cost it 2.6 times as much
    (93,000 against 36,000 rows per second, `python -m benchmarks.store`).
    """
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"
