"""The client of a master: `MasterClient` and `AsyncMasterClient`; needs the extra `rpc`."""

from rtscore.client.aio import AsyncMasterClient
from rtscore.client.blocking import MasterClient
from rtscore.client.errors import CallTimeoutError, ClientError, MasterUnreachableError, RequestError
from rtscore.client.types import (
    Candidate,
    ClusterStats,
    Decision,
    EpochOutcome,
    Explanation,
    ExplanationRow,
    LogPiece,
    ParamsVersion,
    PlacementRecord,
    Plan,
    SubmitError,
    TaskInfo,
    TaskSpec,
    Waiting,
    WorkerInfo,
    WorkerLack,
)
from rtscore.credentials import Tls
from rtscore.errors import CredentialsError

__all__ = [
    "AsyncMasterClient",
    "CallTimeoutError",
    "Candidate",
    "ClientError",
    "ClusterStats",
    "CredentialsError",
    "Decision",
    "EpochOutcome",
    "Explanation",
    "ExplanationRow",
    "LogPiece",
    "MasterClient",
    "MasterUnreachableError",
    "ParamsVersion",
    "PlacementRecord",
    "Plan",
    "RequestError",
    "SubmitError",
    "TaskInfo",
    "TaskSpec",
    "Tls",
    "Waiting",
    "WorkerInfo",
    "WorkerLack",
]
