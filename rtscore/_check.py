"""The table's invariants, recomputed from nothing but totals, reservations and reported loads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rtscore.reference import RESOURCES, promised_load

if TYPE_CHECKING:
    from rtscore.workers import WorkerTable


def check_table(table: WorkerTable) -> None:
    """Raise AssertionError, saying which, when an invariant of the table or of an index of it is broken.

    Available is total - allocated and never negative; load is max(reported, promised); what is allocated is
    the sum of what is remembered (unless a C caller reserved); ids and slots are each other's inverse; free
    slots are zero; the index of every policy bound to the table has the copies, summaries and routes that a
    full scan gives.
    """
    columns = table.columns()
    state = np.array(table._states(), dtype=np.int8)
    total = np.array([columns[f"{name}_total"] for name in RESOURCES])
    allocated = np.array([columns[f"{name}_allocated"] for name in RESOURCES])
    available = np.array([columns[f"{name}_avail"] for name in RESOURCES])

    live = np.flatnonzero(state != 0)
    assert live.size == len(table), f"{live.size} slots have a worker, len is {len(table)}"
    ids = table.ids()
    assert len(set(ids)) == live.size, f"{len(set(ids))} distinct ids for {live.size} workers"
    for slot, worker_id in zip(live.tolist(), ids, strict=True):
        assert table.slot(worker_id) == slot, (
            f"{worker_id!r} is in slot {slot}, found in {table.slot(worker_id)}"
        )

    assert np.array_equal(available, np.maximum(total - allocated, 0.0)), "available is not total - allocated"
    assert (allocated >= 0.0).all(), "an allocated amount is negative"
    load = np.maximum(columns["reported_load"], promised_load(total[:3], allocated[:3]))
    assert np.array_equal(columns["load"], load), "load is not max(reported, promised)"
    free = state == 0
    assert not total[:, free].any(), "a free slot has totals"
    assert not allocated[:, free].any(), "a free slot has allocations"

    if not table._anonymous():
        held = np.zeros_like(allocated)
        for slot, tasks in table._held().items():
            for requests in tasks.values():
                for task in requests:
                    held[:, slot] += [getattr(task, name) for name in RESOURCES]
        assert np.array_equal(allocated, held), "what is allocated is not the sum of the reservations"
    for policy in table._policies():
        assert policy.verify(), "an index is not what the table says"
