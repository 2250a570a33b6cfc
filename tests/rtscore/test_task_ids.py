"""New task ids are unique and sort by the time at which they were made."""

from __future__ import annotations

import time

from rtscore.task_ids import new_task_id


def test_ids_of_one_moment_differ() -> None:
    ids = {new_task_id() for _ in range(10_000)}
    assert len(ids) == 10_000
    assert all(len(i) == 32 and set(i) <= set("0123456789abcdef") for i in ids)


def test_a_later_id_sorts_behind_an_earlier_one() -> None:
    earlier = new_task_id()
    made_in = time.time_ns() // 1_000_000
    while time.time_ns() // 1_000_000 == made_in:
        pass
    assert earlier < new_task_id()
