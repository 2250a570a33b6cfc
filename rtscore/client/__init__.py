"""The client of a master: `MasterClient` and `AsyncMasterClient`; needs the extra `rpc`."""

from rtscore.client.aio import AsyncMasterClient
from rtscore.client.blocking import MasterClient
from rtscore.client.errors import CallTimeoutError, ClientError, MasterUnreachableError, RequestError
from rtscore.client.types import (
    ClusterStats,
    EpochOutcome,
    Explanation,
    ExplanationRow,
    Generation,
    LearningState,
    LogPiece,
    ModelType,
    ParamsVersion,
    PastEpoch,
    PlacementRecord,
    Probation,
    RunningEpoch,
    SubmitError,
    TaskInfo,
    TaskPage,
    TaskSpec,
    Timeline,
    TimelineBucket,
    WorkerInfo,
    WorkerPage,
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
    "Generation",
    "LearningState",
    "LogPiece",
    "MasterClient",
    "MasterUnreachableError",
    "ModelType",
    "ParamsVersion",
    "PastEpoch",
    "PlacementRecord",
    "Probation",
    "RequestError",
    "RunningEpoch",
    "SubmitError",
    "TaskInfo",
    "TaskPage",
    "TaskSpec",
    "Timeline",
    "TimelineBucket",
    "Tls",
    "WorkerInfo",
    "WorkerPage",
]
