"""From the options of `rts simulate` to what they name: files read, and every error in them a sentence."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from master.cli import output
from master.cli.failure import CommandError

if TYPE_CHECKING:
    from aod.genetic import GAConfig
    from aod.history import History
    from aod.replay import Machines
    from master.cli.simulate.sources import Source
    from rtscore.params import GAParams

T = TypeVar("T")

WORKERS = 100
"""Of a made-up cluster whose size is not given."""

_SQLITE = b"SQLite format 3\0"
_NEVER_S = 1e12


def params(path: Path) -> GAParams:
    from rtscore import load_ga_params
    from rtscore.errors import ParamsError

    try:
        return load_ga_params(path)
    except (OSError, ParamsError) as error:
        raise CommandError(f"--params: {_reason(path, error)}") from None


def search() -> GAConfig:
    """The configuration of the search, from the environment of the master's trainer."""
    from aod.errors import GAConfigError
    from aod.genetic import GAConfig

    try:
        return GAConfig.from_env(os.environ)
    except GAConfigError as error:
        raise CommandError(f"{error}.") from None


def generated(pattern: str, tasks: int, workers: int | None, identical: bool, cluster: Path | None) -> Source:
    from aod.workloads import Pattern
    from master.cli.simulate.sources import Generated

    if pattern not in list(Pattern):
        raise CommandError(f"--generate: {pattern!r} came; allowed are {', '.join(Pattern)}.")
    return Generated(Pattern(pattern), tasks, workers or WORKERS, identical, _cluster(cluster))


def workload(path: Path, workers: int | None, identical: bool, cluster: Path | None) -> Source:
    from aod.workloads import read_tasks
    from master.cli.simulate.sources import FromFile, check_tasks

    made = _read("--workload", path, read_tasks)
    if not len(made):
        raise CommandError(f"--workload: {path} holds no tasks. Write one JSON object a line.")
    _read("--workload", path, lambda _: check_tasks(made))
    return FromFile(path, made, workers or WORKERS, identical, _cluster(cluster))


def history(path: Path, cluster: Path | None, *, split: bool) -> Source:
    from master.cli.simulate.cluster import read_cluster
    from master.cli.simulate.recorded import Recorded

    recorded = _read("--history", path, _attempts)
    totals = None
    if cluster is not None:
        lines = _read("--cluster", cluster, read_cluster)
        if any(line.speed is not None for line in lines):
            raise CommandError("--cluster: a speed came; those of a recorded history are estimated from it.")
        totals = {line.worker_id: (line.cpu, line.memory, line.gpu, line.storage) for line in lines}
    source = _read("--history", path, lambda _: Recorded(path, recorded, totals, split=split))
    if source.left_out:
        why = ", ".join(f"{count} {reason}" for reason, count in source.left_out.items())
        output.say(f"Attempts that cannot be replayed: {why}.")
    return source


def _attempts(path: Path) -> History:
    """The attempts of a master's store, or of a file of JSON lines."""
    from aod.jsonlines import read_history

    with path.open("rb") as file:
        if file.read(len(_SQLITE)) == _SQLITE:
            return _of_store(path)
    found, bad = read_history(path)
    if bad:
        output.say(f"{len(bad)} lines are no attempt; the first is line {bad[0].number}: {bad[0].reason}.")
    return found


def _of_store(path: Path) -> History:
    from master.store.base import StoreOpenError
    from master.trainer import read_history

    try:
        return read_history(str(path), 0.0, _NEVER_S)
    except StoreOpenError as error:
        raise ValueError(str(error).rstrip(".")) from None


def openb(folder: Path, pods: int | None) -> Source:
    from aod.trace import NODES, PODS
    from master.cli.simulate.sources import Openb

    for name in (NODES, PODS):
        if not (folder / name).is_file():
            raise CommandError(f"--openb: {folder} holds no {name}.")
    return Openb(folder, pods)


def _cluster(path: Path | None) -> Machines | None:
    from master.cli.simulate.cluster import machines_of_lines, read_cluster

    return None if path is None else machines_of_lines(_read("--cluster", path, read_cluster))


def _read(option: str, path: Path, reader: Callable[[Path], T]) -> T:
    try:
        return reader(path)
    except (OSError, ValueError) as error:
        raise CommandError(f"{option}: {_reason(path, error)}") from None


def _reason(path: Path, error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{path} cannot be read: {error.strerror}."
    return f"{error}."
