"""Every metric: its name, its kind, its labels, and what it says."""

from __future__ import annotations

from typing import Literal

import msgspec

Kind = Literal["counter", "gauge", "histogram"]


class Metric(msgspec.Struct, frozen=True):
    """A metric as it is declared; a counter's name ends in `_total`."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    help: str


def _metric(name: str, kind: Kind, help: str, *labels: str) -> Metric:
    return Metric(name, kind, labels, help)


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        # The master.
        _metric("rts_build_info", "gauge", "Always 1; the label tells the release.", "version"),
        _metric("rts_master_active", "gauge", "1 for the master in office, 0 for one that stands by."),
        _metric("rts_master_start_time_seconds", "gauge", "When it took office, in Unix seconds."),
        _metric(
            "rts_event_loop_lag_seconds",
            "histogram",
            "How much later than asked the master's event loop came to its regular tick.",
        ),
        # Decisions.
        _metric(
            "rts_decisions_total",
            "counter",
            "Decisions by who made them; none: no worker had room.",
            "source",
        ),
        _metric("rts_decision_duration_seconds", "histogram", "Time that a decision took."),
        _metric(
            "rts_decision_fallbacks_total",
            "counter",
            "Decisions that the risk model left to round-robin, since no worker had a finite risk.",
        ),
        _metric("rts_placements_total", "counter", "Tasks that were given to a worker.", "source"),
        # Tasks.
        _metric("rts_submissions_total", "counter", "Tasks that were submitted, by outcome.", "outcome"),
        _metric(
            "rts_submission_refusals_total", "counter", "Submitted tasks that were refused, by code.", "code"
        ),
        _metric("rts_tasks", "gauge", "Tasks by state, those of earlier runs included.", "state"),
        _metric(
            "rts_queue_tasks",
            "gauge",
            "Tasks that wait, by reason: for room, for a worker that is reserved for them, for workers that "
            "refused them, or impossible, because no registered worker is that large.",
            "reason",
        ),
        _metric(
            "rts_queue_hopeless_tasks", "gauge", "Tasks that wait and can no longer meet their deadline."
        ),
        _metric(
            "rts_queue_limit_tasks", "gauge", "Tasks that may wait before more are refused; 0: no limit."
        ),
        _metric("rts_live_attempts", "gauge", "Placed tasks that hold a worker."),
        _metric(
            "rts_attempts_ended_total", "counter", "Attempts that let go of their worker, by how.", "end"
        ),
        _metric(
            "rts_sla_met_total", "counter", "Tasks that completed by their deadline, by type.", "task_type"
        ),
        _metric(
            "rts_sla_missed_total",
            "counter",
            "Tasks that completed after their deadline, or failed, by type.",
            "task_type",
        ),
        _metric(
            "rts_task_wait_seconds",
            "histogram",
            "From a task's submission to the start of an attempt, by type.",
            "task_type",
        ),
        _metric("rts_task_runtime_seconds", "histogram", "How long commands ran, by type.", "task_type"),
        _metric(
            "rts_task_lateness_seconds",
            "histogram",
            "By how much tasks missed their deadline, those alone that did; by type.",
            "task_type",
        ),
        _metric("rts_tau_seconds", "gauge", "The expected runtime of each task type.", "task_type"),
        # Workers.
        _metric("rts_workers", "gauge", "Registered workers by state.", "state"),
        _metric("rts_workers_removed_total", "counter", "Workers that left, or were lost.", "how"),
        _metric("rts_worker_sessions", "gauge", "Workers that are connected by a session."),
        _metric(
            "rts_resource_capacity", "gauge", "What the workers have that are not silent.", "resource", "unit"
        ),
        _metric("rts_resource_allocated", "gauge", "What placed tasks hold of it.", "resource", "unit"),
        _metric("rts_worker_placements_total", "counter", "Tasks that a worker was given.", "worker"),
        _metric(
            "rts_worker_sla_met_total", "counter", "Results of a worker that met their deadline.", "worker"
        ),
        _metric(
            "rts_worker_sla_missed_total",
            "counter",
            "Results of a worker that missed their deadline.",
            "worker",
        ),
        _metric("rts_worker_live_attempts", "gauge", "Placed tasks that hold a worker.", "worker"),
        _metric("rts_worker_load", "gauge", "A worker's load; under other the mean of all others.", "worker"),
        _metric(
            "rts_worker_last_heartbeat_timestamp_seconds",
            "gauge",
            "When a worker was heard last, in Unix seconds; 0 before the first time.",
            "worker",
        ),
        # The store.
        _metric(
            "rts_journal_stalled",
            "gauge",
            "1 while the store takes no writes: nothing is acknowledged and nothing is placed.",
        ),
        _metric("rts_journal_commit_duration_seconds", "histogram", "Time that a commit took."),
        _metric("rts_journal_commit_failures_total", "counter", "Commits that the store did not take."),
        _metric("rts_journal_group_writes", "histogram", "Writes that shared a commit."),
        _metric("rts_store_disk_free_bytes", "gauge", "Room left where the embedded store has its file."),
        _metric("rts_store_disk_size_bytes", "gauge", "Size of the file system that it is on."),
        # Calls.
        _metric(
            "rts_grpc_calls_total",
            "counter",
            "Calls that ended, by method and status code.",
            "method",
            "code",
        ),
        _metric(
            "rts_grpc_call_duration_seconds",
            "histogram",
            "Time that calls took which are answered once and were not refused.",
            "method",
        ),
        _metric("rts_watchers", "gauge", "Callers of WatchTasks."),
        _metric("rts_log_readers", "gauge", "Callers that read the output of tasks."),
        # Parameters and learning.
        _metric("rts_params_version", "gauge", "The version of the parameters in use."),
        _metric(
            "rts_params_changes_total", "counter", "Parameters that were put to use, by reason.", "reason"
        ),
        _metric(
            "rts_params_on_probation",
            "gauge",
            "1 while the parameters in use have yet to keep what their replay promised.",
        ),
        _metric("rts_aod_epoch_interval_seconds", "gauge", "How often parameters are learned; 0: never."),
        _metric("rts_aod_epochs_total", "counter", "Epochs of learning by what became of them.", "verdict"),
        _metric(
            "rts_aod_epoch_duration_seconds",
            "histogram",
            "Time that an epoch took, its wait for the trainer included.",
        ),
        _metric(
            "rts_aod_last_epoch_timestamp_seconds", "gauge", "When the last epoch ended, in Unix seconds."
        ),
        _metric("rts_aod_trainer_failures_total", "counter", "Epochs that ended with the trainer's process."),
        _metric("rts_aod_best_fitness", "gauge", "The best fitness that the last search found."),
        _metric("rts_aod_samples", "gauge", "Records that the last epoch could use, by type.", "task_type"),
        _metric(
            "rts_aod_samples_sufficient",
            "gauge",
            "1 where these were enough to learn the spread of the type's runtimes.",
            "task_type",
        ),
        _metric(
            "rts_aod_theta", "gauge", "What the last epoch found for each component of theta.", "component"
        ),
        _metric("rts_aod_theta_converged", "gauge", "1 when that estimate converged."),
        _metric("rts_aod_r_squared", "gauge", "How much of the runtimes' differences it explains; 1: all."),
        _metric("rts_aod_affinity_rows", "gauge", "Task types with affinities, in the parameters in use."),
        _metric("rts_aod_affinity_entries", "gauge", "Workers with an affinity, by type.", "task_type"),
        _metric("rts_aod_penalty_entries", "gauge", "Workers with a penalty in the parameters in use."),
    )
}
