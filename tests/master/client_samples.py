"""A task and a cluster as a client is told of them; a test replaces what it is about."""

from __future__ import annotations

from rtscore.client import ClusterStats, TaskInfo

TASK = TaskInfo(
    task_id="t",
    user_id="",
    command="true",
    docker_image="",
    cpu=1.0,
    memory=0.0,
    gpu=0.0,
    storage=0.0,
    task_type="cpu-light",
    sla_multiplier=2.0,
    deadline=110.0,
    time_limit_s=0.0,
    state="queued",
    attempt=0,
    worker_id="",
    tau=5.0,
    submitted_at=100.0,
    assigned_at=0.0,
    started_at=0.0,
    finished_at=0.0,
    runtime_s=0.0,
    exit_code=None,
    sla_success=None,
    reason="",
)
STATS = ClusterStats(
    scheduler="rts",
    queued=0,
    assigned=0,
    running=0,
    completed=0,
    failed=0,
    cancelled=0,
    decisions=0,
    fallbacks=0,
    decision_p50_us=0.0,
    decision_p99_us=0.0,
    tau={},
    started_at=1.0,
)
