"""Which role may call what: every RPC that a master serves has its line here, or is refused."""

from __future__ import annotations

from collections.abc import Mapping

from master.access import Role

_USERS = frozenset({Role.SUBMIT, Role.ADMIN})
_WORKERS = frozenset({Role.WORKER})
_ADMINS = frozenset({Role.ADMIN})
_EVERYONE = frozenset(Role)
# Without a token, too: whoever watches over processes has none.
OPEN: frozenset[Role] = frozenset()

_SERVICES: Mapping[str, Mapping[str, frozenset[Role]]] = {
    "rtscore.v1.SchedulerService": {
        "SubmitTask": _USERS,
        "SubmitTasks": _USERS,
        "GetTask": _USERS,
        "ListTasks": _USERS,
        "WatchTasks": _USERS,
        "CancelTask": _USERS,
        "StreamTaskLogs": _USERS,
        "ListWorkers": _USERS,
        "DrainWorker": _ADMINS,
        "Explain": _USERS,
        "Plan": _USERS,
        "GetClusterStats": _USERS,
        "GetParams": _USERS,
        "ListParamsVersions": _USERS,
        "RollbackParams": _ADMINS,
        "Train": _ADMINS,
        "GetLearning": _USERS,
        "GetTimeline": _USERS,
    },
    # Admins are no workers: a token that may do everything has no business on every machine.
    "rtscore.v1.WorkerService": {"WorkerSession": _WORKERS},
    "cluster.MasterWorker": {
        "RegisterWorker": _WORKERS,
        "SendHeartbeat": _WORKERS,
        "ReportTaskCompletion": _WORKERS,
        "MasterRegister": _WORKERS,
        "AssignTask": _WORKERS,
        "CancelTask": _WORKERS,
        "StreamTaskLogs": _WORKERS,
    },
    # A planner sees everyone's tasks, and decides over them.
    "agent.MasterAgent": {"FetchClusterState": _ADMINS, "SubmitAssignments": _ADMINS},
    "grpc.health.v1.Health": {"Check": OPEN, "List": OPEN, "Watch": OPEN},
    "grpc.reflection.v1alpha.ServerReflection": {"ServerReflectionInfo": _EVERYONE},
}

NEEDED: Mapping[str, frozenset[Role]] = {
    f"/{service}/{method}": roles
    for service, methods in _SERVICES.items()
    for method, roles in methods.items()
}
