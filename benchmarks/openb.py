"""The openb trace: a production GPU cluster's nodes and pods as workers and tasks."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import NamedTuple

from rtscore import Task, WorkerTable

_FOLDER = "RTS_OPENB_DIR"


class Pod(NamedTuple):
    """One pod: its task (arrival is its creation) and when it ends, in seconds from the trace's start."""

    task: Task
    end: float


def folder() -> Path | None:
    """Return where the trace is (``RTS_OPENB_DIR``, or beside the repository), or None."""
    given = os.environ.get(_FOLDER)
    path = Path(given) if given else Path(__file__).resolve().parents[2] / "shared" / "data" / "openb"
    return path if (path / "openb_node_list_all_node.csv").is_file() else None


def load_nodes(path: Path) -> WorkerTable:
    """Return the 1,523 nodes as an idle table; memory MiB becomes GiB, milli-cores become cores."""
    table = WorkerTable()
    with (path / "openb_node_list_all_node.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            table.add(
                row["sn"],
                cpu=int(row["cpu_milli"]) / 1000,
                memory=int(row["memory_mib"]) / 1024,
                gpu=int(row["gpu"]),
            )
    return table


def load_pods(path: Path) -> list[Pod]:
    """Return the 8,152 pods in creation order.

    A pod that asks one device asks ``gpu_milli`` thousandths of it. Its τ is its recorded runtime (deletion -
    scheduled, at least a second), for a pod that never ran deletion - creation.
    """
    pods = []
    with (path / "openb_pod_list_default.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            created, deleted = float(row["creation_time"]), float(row["deletion_time"])
            scheduled = float(row["scheduled_time"] or created)
            task = Task(
                row["name"],
                cpu=int(row["cpu_milli"]) / 1000,
                memory=int(row["memory_mib"]) / 1024,
                gpu=int(row["num_gpu"]) * int(row["gpu_milli"]) / 1000,
                tau=max(deleted - scheduled, 1.0),
                arrival_time=created,
            )
            pods.append(Pod(task, deleted))
    return sorted(pods, key=lambda pod: pod.task.arrival_time)
