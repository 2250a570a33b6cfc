"""The tables of the SQLite store, and the steps from each version to the next.

Decisions:

- Columns carry the names of the existing cluster's collections where those have one (`req_cpu`,
  `created_at`, `status`, `ass_id`, ...), in the units of the design. What a client left open is kept beside
  what became of it (`given_task_type` and `task_type`), because a repeated submission is compared with the
  first.
- Tables keep their rowid, so a row of 300 bytes is appended and only the small index entries go to random
  places. That is what inserting costs: 320,000 rows/s with ids in order of time, 70,000 with random ones.
- One index (status, created_at, task_id) answers restart, counts and listings; a listing of several states
  merges one ordered range of each.
- No foreign keys: the contract is the same for a backend that has none, and a commit is all or nothing.
"""

from __future__ import annotations

APPLICATION_ID = 0x52545343
"""Marks the file as ours, so that another program's database is refused and not filled with tables."""

TASK_COLUMNS = (
    "task_id, user_id, command, docker_image, req_cpu, req_memory, req_gpu, req_storage, given_task_type,"
    " given_sla_multiplier, given_deadline, time_limit_s, id_given, task_type, tau, sla_multiplier,"
    " created_at, deadline, status, attempt, worker_id, assigned_at, started_at, completed_at, runtime_s,"
    " exit_code, sla_success, reason"
)
ATTEMPT_COLUMNS = (
    "task_id, attempt, worker_id, assigned_at, load_at_start, cpu_avail, memory_avail, gpu_avail, source,"
    " risk, ended_at, outcome, decision"
)
RESULT_COLUMNS = (
    "task_id, attempt, worker_id, success, exit_code, started_at, completed_at, runtime_s, sla_success, logs,"
    " result_location, output_files, reason, logs_offset"
)
WORKER_COLUMNS = (
    "worker_id, total_cpu, total_memory, total_gpu, total_storage, address, executors, draining,"
    " registered_at"
)

PARAMS_COLUMNS = "version, created_at, replaced, reason, params, evidence"

# In the order of `master.store.base.HISTORY_FIELDS`.
HISTORY_COLUMNS = (
    "r.task_id, r.worker_id, t.task_type, t.created_at, t.deadline, r.started_at, r.completed_at,"
    " r.runtime_s, r.sla_success, t.req_cpu, t.req_memory, t.req_gpu, t.req_storage, a.load_at_start, t.tau,"
    " t.sla_multiplier, a.cpu_avail, a.memory_avail, a.gpu_avail, r.success"
)

_VERSION_1 = (
    """
    CREATE TABLE tasks (
        task_id TEXT NOT NULL UNIQUE,
        user_id TEXT NOT NULL,
        command TEXT NOT NULL,
        docker_image TEXT NOT NULL,
        req_cpu REAL NOT NULL,
        req_memory REAL NOT NULL,
        req_gpu REAL NOT NULL,
        req_storage REAL NOT NULL,
        given_task_type TEXT NOT NULL,
        given_sla_multiplier REAL NOT NULL,
        given_deadline REAL NOT NULL,
        time_limit_s REAL NOT NULL,
        id_given INTEGER NOT NULL,
        task_type TEXT NOT NULL,
        tau REAL NOT NULL,
        sla_multiplier REAL NOT NULL,
        created_at REAL NOT NULL,
        deadline REAL NOT NULL,
        status TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        worker_id TEXT NOT NULL,
        assigned_at REAL NOT NULL,
        started_at REAL NOT NULL,
        completed_at REAL NOT NULL,
        runtime_s REAL NOT NULL,
        exit_code INTEGER,
        sla_success INTEGER,
        reason TEXT NOT NULL
    )
    """,
    "CREATE INDEX tasks_by_status ON tasks (status, created_at, task_id)",
    "CREATE INDEX tasks_by_user ON tasks (user_id, created_at, task_id) WHERE user_id <> ''",
    """
    CREATE TABLE assignments (
        ass_id INTEGER PRIMARY KEY,
        task_id TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        worker_id TEXT NOT NULL,
        assigned_at REAL NOT NULL,
        load_at_start REAL NOT NULL,
        cpu_avail REAL NOT NULL,
        memory_avail REAL NOT NULL,
        gpu_avail REAL NOT NULL,
        source TEXT NOT NULL,
        risk REAL,
        ended_at REAL,
        outcome TEXT,
        UNIQUE (task_id, attempt)
    )
    """,
    "CREATE INDEX open_assignments ON assignments (task_id, attempt) WHERE ended_at IS NULL",
    """
    CREATE TABLE results (
        task_id TEXT NOT NULL UNIQUE,
        attempt INTEGER NOT NULL,
        worker_id TEXT NOT NULL,
        success INTEGER NOT NULL,
        exit_code INTEGER NOT NULL,
        started_at REAL NOT NULL,
        completed_at REAL NOT NULL,
        runtime_s REAL NOT NULL,
        sla_success INTEGER NOT NULL,
        logs TEXT NOT NULL,
        result_location TEXT NOT NULL,
        output_files TEXT NOT NULL,
        reason TEXT NOT NULL
    )
    """,
    """
    CREATE TABLE worker_registry (
        worker_id TEXT PRIMARY KEY,
        total_cpu REAL NOT NULL,
        total_memory REAL NOT NULL,
        total_gpu REAL NOT NULL,
        total_storage REAL NOT NULL,
        address TEXT NOT NULL,
        executors TEXT NOT NULL,
        draining INTEGER NOT NULL,
        registered_at REAL NOT NULL
    ) WITHOUT ROWID
    """,
    "CREATE TABLE tau_store (task_type TEXT PRIMARY KEY, tau REAL NOT NULL) WITHOUT ROWID",
    "CREATE TABLE commits (id INTEGER PRIMARY KEY CHECK (id = 1), number INTEGER NOT NULL)",
    "INSERT INTO commits VALUES (1, 0)",
)

_VERSION_2 = (
    """
    CREATE TABLE params_versions (
        version INTEGER PRIMARY KEY,
        created_at REAL NOT NULL,
        replaced INTEGER NOT NULL,
        reason TEXT NOT NULL,
        params TEXT NOT NULL,
        evidence TEXT NOT NULL
    )
    """,
    # For histories; results come nearly in this order, so it costs their insertion little.
    "CREATE INDEX results_by_completion ON results (completed_at, task_id)",
)

_VERSION_3 = ("ALTER TABLE results ADD COLUMN logs_offset INTEGER NOT NULL DEFAULT 0",)

# For timelines. Most updates of a task leave the instant alone, and the ends come nearly in this order.
_VERSION_4 = ("CREATE INDEX tasks_by_completion ON tasks (completed_at) WHERE completed_at > 0",)

# What a placement was chosen from; none of those before this version.
_VERSION_5 = ("ALTER TABLE assignments ADD COLUMN decision BLOB",)

MIGRATIONS: tuple[tuple[str, ...], ...] = (_VERSION_1, _VERSION_2, _VERSION_3, _VERSION_4, _VERSION_5)
"""`MIGRATIONS[i]` leads from version i to i + 1; a released step is never edited, only followed."""
