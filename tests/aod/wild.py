"""Histories for the tests of aod: a builder of single records, and hypothesis strategies of broken ones."""

from __future__ import annotations

import math

from hypothesis import strategies as st

from aod.history import History, TaskHistory
from rtscore.tasks import TASK_TYPES


def attempt(**changes: object) -> TaskHistory:
    """A record with nothing remarkable about it: 10 s on w1 against τ 10, in time."""
    fields: dict[str, object] = {
        "task_id": "t1",
        "worker_id": "w1",
        "type": "mixed",
        "arrival": 100.0,
        "deadline": 120.0,
        "actual_start": 100.0,
        "actual_finish": 110.0,
        "actual_runtime_s": 10.0,
        "sla_success": True,
        "cpu_used": 1.0,
        "memory_used": 2.0,
        "gpu_used": 0.0,
        "load_at_start": 0.0,
        "tau": 10.0,
        "sla_multiplier": 2.0,
        "cpu_available": 8.0,
        "memory_available": 16.0,
        "gpu_available": 0.0,
    }
    return TaskHistory(**{**fields, **changes})  # type: ignore[arg-type]


broken_numbers = st.one_of(
    st.none(),
    st.floats(),
    st.floats(min_value=-1.0, max_value=100.0),
    st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -0.0, 1e300, -1e300, 5e-324, 1e12, 1e9]),
)
plain_numbers = st.floats(min_value=0.01, max_value=100.0)
types = st.sampled_from([*map(str, TASK_TYPES), "", "cpu", "unknown"])


def records(numbers: st.SearchStrategy[float | None]) -> st.SearchStrategy[TaskHistory]:
    """Records whose every number comes from `numbers`."""
    return st.builds(
        TaskHistory,
        task_id=st.sampled_from(["a", "b", "c", ""]),
        worker_id=st.sampled_from(["w1", "w2", "w3", ""]),
        type=types,
        arrival=numbers,
        deadline=numbers,
        actual_start=numbers,
        actual_finish=numbers,
        actual_runtime_s=numbers,
        sla_success=st.booleans(),
        cpu_used=numbers,
        memory_used=numbers,
        gpu_used=numbers,
        storage_used=numbers,
        load_at_start=numbers,
        tau=numbers,
        sla_multiplier=numbers,
        cpu_available=numbers,
        memory_available=numbers,
        gpu_available=numbers,
        succeeded=st.booleans(),
    )


rows = st.one_of(
    st.lists(records(st.one_of(plain_numbers, broken_numbers)), max_size=12),
    st.lists(records(plain_numbers), max_size=60),
    st.lists(
        plain_numbers.flatmap(
            lambda runtime: st.builds(
                attempt,
                worker_id=st.sampled_from(["w1", "w2", "w3"]),
                type=st.sampled_from(list(map(str, TASK_TYPES))),
                actual_runtime_s=st.just(runtime),
                load_at_start=st.floats(0.0, 2.0),
                cpu_used=st.floats(0.0, 8.0),
                sla_success=st.booleans(),
                succeeded=st.booleans(),
            )
        ),
        max_size=60,
    ),
)
histories = rows.map(History.from_rows)
