"""Bytes per worker and the price of `import rtscore`, each measured in processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from statistics import median
from typing import Any

# -P: without it the current directory would shadow an installed rtscore.
_PYTHON = (sys.executable, "-P", "-c")

_WORKERS = """
import json, os, sys
from rtscore import RTSScheduler, Task, WorkerTable
size = int(sys.argv[1])
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
task = Task("t", cpu=1, memory=1)
def build(size):
    table = WorkerTable()
    scheduler = RTSScheduler(table)
    for i in range(size):
        table.add(f"worker-{i:07d}", cpu=16 + i % 7, memory=64 + i % 5, gpu=i % 3, storage=500)
    assert scheduler.select_worker(task).worker_id is not None
    return scheduler
build(10)
before = resident()
scheduler = build(size)
after = resident()
assert len(scheduler.table.ids()) == size
print(json.dumps((after - before) / size))
"""

_IMPORT = """
import sys, time
before = time.perf_counter()
__import__(sys.argv[1])
print(time.perf_counter() - before)
"""


def bytes_per_worker(size: int) -> float:
    """Growth of resident memory per worker when a table of this size is built and has decided once.

    The table, the ids as Python strings, the index of ids, the scheduler's block index, and whatever the
    allocator kept on the way; nothing learned, nothing reserved.
    """
    return float(_child(_WORKERS, str(size)))


def import_seconds(repeats: int) -> dict[str, float]:
    """Median seconds of `import numpy` and `import rtscore` in fresh processes, taken in turns."""
    taken: dict[str, list[float]] = {"numpy": [], "rtscore": []}
    for package in taken:
        _child(_IMPORT, package)  # the files are in the page cache, and compiled, from here on
    for _ in range(repeats):
        for package, kept in taken.items():
            kept.append(float(_child(_IMPORT, package)))
    return {package: median(kept) for package, kept in taken.items()}


def footprint(size: int, repeats: int) -> dict[str, Any]:
    """Both, for a report."""
    seconds = import_seconds(repeats)
    return {
        "bytes_per_worker": {"workers": size, "bytes": bytes_per_worker(size)},
        "import": {
            "numpy_ms": seconds["numpy"] * 1e3,
            "rtscore_ms": seconds["rtscore"] * 1e3,
            "ratio": seconds["rtscore"] / seconds["numpy"],
        },
    }


def _child(code: str, argument: str) -> Any:
    done = subprocess.run([*_PYTHON, code, argument], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(
            f"the measuring process ended with {done.returncode}: {done.stderr.strip()[-2000:]}"
        )
    return json.loads(done.stdout)
