"""Reads all metrics in one go, on the event loop, so that they are of one moment and fit each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from master.config import MasterConfig
from master.interceptors import code_name
from master.learning import Learning
from master.members import NAMES, STATES
from master.metrics.counters import Calls, Histogram
from master.metrics.named_workers import OTHER, NamedWorkers
from master.overview import Overview
from master.proposals import SOURCE as PLANNER
from master.records import AttemptEnd, ParamsReason
from master.runner import Master
from master.sessions import Sessions
from rtscore import TASK_TYPES, Source, TauStore

Values = Mapping[tuple[str, ...], float | Histogram]

VERDICTS = ("accepted", "kept", "not enough data", "cancelled", "failed")
_TYPES = tuple(str(name) for name in TASK_TYPES)
_ALONE = ()
# The labels of amounts.
_RESOURCES = tuple(zip(NAMES, ("cores", "gibibytes", "devices", "gibibytes"), strict=True))


class Readings:
    """What the metrics of a master are at a moment.

    Parameters
    ----------
    config : MasterConfig
    master, tau, sessions, calls, learning
        Those of the master; `learning` is None where nothing is learned.

    Attributes
    ----------
    active : bool
        Whether the master is in office; before that there is nothing to read but that.
    """

    def __init__(
        self,
        config: MasterConfig,
        master: Master,
        tau: TauStore,
        sessions: Sessions,
        calls: Calls,
        learning: Learning | None,
    ) -> None:
        self._config = config
        self._master = master
        self._tau = tau
        self._sessions = sessions
        self._calls = calls
        self._learning = learning
        self._named = NamedWorkers(config.metrics_workers)
        self._build: Values = {(_release(),): 1.0}
        self.active = False

    async def read(self) -> dict[str, Values]:
        """The values of each metric by its labels; a coroutine, since another thread wants it run here."""
        values: dict[str, Values] = {
            "rts_build_info": self._build,
            "rts_master_active": _one(self.active),
        }
        if self.active:
            overview = self._master.cluster.overview(self._master.clock())
            values |= self._decisions() | self._tasks(overview) | self._workers(overview)
            values |= self._journal() | self._wire()
            if self._learning is not None:
                values |= _parameters(self._learning) | self._epochs(self._learning)
        return values

    def _decisions(self) -> dict[str, Values]:
        master, scheduler = self._master, self._master.scheduler
        return {
            "rts_master_start_time_seconds": _one(master.started_at),
            "rts_event_loop_lag_seconds": _one(master.lags.copy()),
            "rts_decisions_total": _counted(scheduler.by_source()),
            "rts_decision_duration_seconds": _one(scheduler.histogram()),
            "rts_decision_fallbacks_total": _one(scheduler.fallbacks),
            "rts_placements_total": _counted(
                master.cluster.tally.placed, (Source.RTS, Source.ROUND_ROBIN, PLANNER)
            ),
        }

    def _tasks(self, overview: Overview) -> dict[str, Values]:
        master, tally = self._master, self._master.cluster.tally
        refusals = dict[str, float]()
        for kind, count in master.refusals.items():
            refusals[code_name(kind)] = refusals.get(code_name(kind), 0) + count
        outcomes = {
            "accepted": tally.accepted,
            "repeated": tally.repeated,
            "refused": master.refusals.total(),
        }
        return {
            "rts_submissions_total": _counted(outcomes),
            "rts_submission_refusals_total": _counted(refusals),
            "rts_tasks": _counted(master.counts()),
            "rts_queue_tasks": _counted(overview.waiting),
            "rts_queue_hopeless_tasks": _one(overview.hopeless),
            "rts_queue_limit_tasks": _one(self._config.max_queued),
            "rts_live_attempts": _one(master.cluster.members.live),
            "rts_attempts_ended_total": _counted(tally.ended, AttemptEnd),
            "rts_sla_met_total": _counted(tally.met, _TYPES),
            "rts_sla_missed_total": _counted(tally.missed, _TYPES),
            "rts_task_wait_seconds": _copies(tally.waits),
            "rts_task_runtime_seconds": _copies(tally.runtimes),
            "rts_task_lateness_seconds": _copies(tally.lateness),
            "rts_tau_seconds": {(name,): self._tau.get_tau(name) for name in _TYPES},
        }

    def _workers(self, overview: Overview) -> dict[str, Values]:
        tally, members = self._master.cluster.tally, self._master.cluster.members
        total = tally.placed.total(), tally.results_met, tally.results - tally.results_met
        did = self._named.read(members.by_id, total)
        named = [members.by_id[worker_id] for worker_id in did if worker_id != OTHER]
        attempts: dict[tuple[str, ...], float] = {(m.id,): len(m.attempts) for m in named}
        loads: dict[tuple[str, ...], float] = {(m.id,): members.table.view(m.id).load for m in named}
        attempts[OTHER,] = members.live - sum(attempts.values())
        if others := len(members) - len(named):
            every = float(members.table.columns()["load"].sum())
            loads[OTHER,] = max(0.0, every - sum(loads.values())) / others
        return {
            "rts_workers": _counted(overview.workers, STATES),
            "rts_workers_removed_total": _counted(tally.removed, ("left", "lost")),
            "rts_worker_sessions": _one(self._sessions.count),
            "rts_resource_capacity": dict(zip(_RESOURCES, overview.total, strict=True)),
            "rts_resource_allocated": {
                labels: total - free
                for labels, total, free in zip(_RESOURCES, overview.total, overview.free, strict=True)
            },
            "rts_worker_placements_total": {(w,): counts[0] for w, counts in did.items()},
            "rts_worker_sla_met_total": {(w,): counts[1] for w, counts in did.items()},
            "rts_worker_sla_missed_total": {(w,): counts[2] for w, counts in did.items()},
            "rts_worker_live_attempts": attempts,
            "rts_worker_load": loads,
            "rts_worker_last_heartbeat_timestamp_seconds": {(m.id,): m.last_heartbeat_at for m in named},
        }

    def _journal(self) -> dict[str, Values]:
        journal = self._master.journal
        return {
            "rts_journal_stalled": _one(journal.stalled is not None),
            "rts_journal_commit_duration_seconds": _one(journal.commits.copy()),
            "rts_journal_commit_failures_total": _one(journal.failures),
            "rts_journal_group_writes": _one(journal.groups.copy()),
        }

    def _wire(self) -> dict[str, Values]:
        calls = self._calls
        return {
            "rts_grpc_calls_total": {
                (method.lstrip("/"), code): count for (method, code), count in calls.counts.items()
            },
            "rts_grpc_call_duration_seconds": {
                (method.lstrip("/"),): histogram.copy() for method, histogram in calls.durations.items()
            },
            "rts_watchers": _one(self._master.watchers.count),
            "rts_log_readers": _one(self._sessions.logs.readers),
        }

    def _epochs(self, learning: Learning) -> dict[str, Values]:
        epochs = learning.epochs
        evidence = next((e.evidence for e in reversed(epochs.past) if e.evidence), {})
        values: dict[str, Values] = {
            "rts_aod_epoch_interval_seconds": _one(self._config.ga_epoch_interval_s),
            "rts_aod_epochs_total": _counted(epochs.verdicts, VERDICTS),
            "rts_aod_epoch_duration_seconds": _one(epochs.durations.copy()),
            "rts_aod_trainer_failures_total": _one(epochs.trainer_failures),
        }
        if epochs.past:
            last = epochs.past[-1]
            values["rts_aod_last_epoch_timestamp_seconds"] = _one(last.started_at + last.duration_s)
        # Of a generation in which nobody could be judged there is none.
        best = [each["best"] for each in evidence.get("generations", ()) if each["best"] is not None]
        if best:
            values["rts_aod_best_fitness"] = _one(max(best))
        if regression := evidence.get("regression"):
            types = regression["types"]
            values |= {
                "rts_aod_samples": {(name,): found["used"] for name, found in types.items()},
                "rts_aod_samples_sufficient": {(name,): found["enough"] for name, found in types.items()},
                "rts_aod_theta": {
                    (f"theta{k}",): value for k, value in enumerate(regression["theta"], start=1)
                },
                "rts_aod_theta_converged": _one(regression["converged"]),
                "rts_aod_r_squared": _one(regression["r2"]),
            }
        return values


def _parameters(learning: Learning) -> dict[str, Values]:
    params = learning.versions.params
    return {
        "rts_params_version": _one(learning.versions.number),
        "rts_params_changes_total": _counted(learning.versions.changes, ParamsReason),
        "rts_params_on_probation": _one(learning.probation is not None),
        "rts_aod_affinity_rows": _one(len(params.affinity)),
        "rts_aod_affinity_entries": {(name,): len(params.affinity.get(name, ())) for name in _TYPES},
        "rts_aod_penalty_entries": _one(len(params.penalty)),
    }


def _one(value: float | Histogram) -> Values:
    return {_ALONE: value}


def _counted(counts: Mapping[Any, float], known: Iterable[str] = ()) -> Values:
    """The counts, and 0 for what has not happened yet: Prometheus misses the first of a new series."""
    return {(str(name),): value for name, value in {**dict.fromkeys(known, 0), **counts}.items()}


def _copies(histograms: Mapping[str, Histogram]) -> Values:
    return {(name,): histogram.copy() for name, histogram in histograms.items()}


def _release() -> str:
    try:
        return version("rtscore")
    except PackageNotFoundError:
        # From a source tree that was not installed.
        return "unknown"
