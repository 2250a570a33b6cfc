"""The client of a master: `MasterClient` and `AsyncMasterClient`; needs the extra `rpc`."""

from rtscore.client.aio import AsyncMasterClient
from rtscore.client.blocking import MasterClient
from rtscore.client.errors import CallTimeoutError, ClientError, MasterUnreachableError, RequestError
from rtscore.client.types import (
    ClusterStats,
    Explanation,
    ExplanationRow,
    PlacementRecord,
    SubmitError,
    TaskInfo,
    TaskSpec,
    WorkerInfo,
)

__all__ = [
    "AsyncMasterClient",
    "CallTimeoutError",
    "ClientError",
    "ClusterStats",
    "Explanation",
    "ExplanationRow",
    "MasterClient",
    "MasterUnreachableError",
    "PlacementRecord",
    "RequestError",
    "SubmitError",
    "TaskInfo",
    "TaskSpec",
    "WorkerInfo",
]
