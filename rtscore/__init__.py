"""A deadline-aware task scheduler: exact least-risk placement in about a microsecond."""

from rtscore.candidate import Candidate, Fit
from rtscore.decision import Decision, Source
from rtscore.explain import Explanation
from rtscore.params import (
    AffinityWeights,
    GAParams,
    PenaltyWeights,
    Risk,
    Theta,
    load_ga_params,
    save_ga_params,
)
from rtscore.reload import ParamsReloader
from rtscore.round_robin import RoundRobinScheduler
from rtscore.scheduler import RTSScheduler, Scheduler
from rtscore.tasks import DEFAULT_TAU, TASK_TYPES, Task, TaskType, infer_task_type, is_valid_task_type
from rtscore.tau import InMemoryTauStore, TauStore
from rtscore.workers import WorkerTable, WorkerView

__all__ = [
    "DEFAULT_TAU",
    "TASK_TYPES",
    "AffinityWeights",
    "Candidate",
    "Decision",
    "Explanation",
    "Fit",
    "GAParams",
    "InMemoryTauStore",
    "ParamsReloader",
    "PenaltyWeights",
    "RTSScheduler",
    "Risk",
    "RoundRobinScheduler",
    "Scheduler",
    "Source",
    "Task",
    "TaskType",
    "TauStore",
    "Theta",
    "WorkerTable",
    "WorkerView",
    "infer_task_type",
    "is_valid_task_type",
    "load_ga_params",
    "save_ga_params",
]
