"""The client of a master: `MasterClient` and `AsyncMasterClient`; needs the extra `rpc`."""

from rtscore.client.aio import AsyncMasterClient
from rtscore.client.blocking import MasterClient
from rtscore.client.errors import CallTimeoutError, ClientError, MasterUnreachableError, RequestError
from rtscore.client.types import (
    ClusterStats,
    EpochOutcome,
    Explanation,
    ExplanationRow,
    LogPiece,
    ParamsVersion,
    PlacementRecord,
    SubmitError,
    TaskInfo,
    TaskSpec,
    WorkerInfo,
)
from rtscore.credentials import Tls
from rtscore.errors import CredentialsError

__all__ = [
    "AsyncMasterClient",
    "CallTimeoutError",
    "ClientError",
    "ClusterStats",
    "CredentialsError",
    "EpochOutcome",
    "Explanation",
    "ExplanationRow",
    "LogPiece",
    "MasterClient",
    "MasterUnreachableError",
    "ParamsVersion",
    "PlacementRecord",
    "RequestError",
    "SubmitError",
    "TaskInfo",
    "TaskSpec",
    "Tls",
    "WorkerInfo",
]
