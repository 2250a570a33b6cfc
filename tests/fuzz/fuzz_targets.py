"""What reads bytes of strangers: each target raises only when a reader breaks its promise.

A reader may refuse, with the error that it documents; any other exception is a bug. Where something was read,
what must hold of it is asserted. `SAMPLES` are inputs that each target takes, for mutation.
"""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType

import msgspec
from google.protobuf.message import DecodeError

from aod.jsonlines import parse
from master import convert, convert_planner
from master.cli.failure import CommandError
from master.cli.simulate.cluster import machines_of_lines, read_cluster
from master.cli.values import parse_deadline, read_task_lines
from master.cluster import Cluster
from master.config import ConfigError, load_config
from master.errors import MasterError
from master.events import Event, Place, RegisterWorker, Submit, Tick
from master.records import WorkerRecord
from rtscore import InMemoryTauStore, RTSScheduler, WorkerTable, load_ga_params, save_ga_params
from rtscore.errors import ParamsError
from rtscore.rpc import agent_pb2, cluster_pb2, scheduler_pb2
from rtscore.runtime_model import RuntimeModel, RuntimeModelError
from worker.outbox import Outbox

PLACE = Path(tempfile.mkdtemp(prefix="rts-fuzz-"))


def _file(name: str, data: bytes) -> Path:
    path = PLACE / name
    path.write_bytes(data)
    return path


def _names(error: Exception, what: str) -> None:
    assert what in str(error), f"{what} is not named: {error}"


def params_file(data: bytes) -> None:
    """What is read is in bounds and survives being saved."""
    path = _file("params.json", data)
    try:
        params = load_ga_params(path)
    except ParamsError as error:
        _names(error, str(path))
        return
    save_ga_params(params, path)
    assert load_ga_params(path) == params


def history_lines(data: bytes) -> None:
    """Good and bad lines, and numbers for whatever learns."""
    lines = data.splitlines(keepends=True)
    history, bad = parse(lines)
    assert len(history) + len(bad) <= len(lines)
    history.usable()


def cluster_file(data: bytes) -> None:
    """Amounts that a table takes."""
    path = _file("cluster.jsonl", data)
    try:
        lines = read_cluster(path)
    except ValueError as error:
        _names(error, str(path))
        return
    table = WorkerTable()
    for line in lines:
        table.add(line.worker_id, cpu=line.cpu, memory=line.memory, gpu=line.gpu, storage=line.storage)
    assert (machines_of_lines(lines).slowdown_tw > 0.0).all()


def task_lines(data: bytes) -> None:
    """Tasks to submit, or a sentence with the line."""
    try:
        read_task_lines(data.splitlines(keepends=True), "tasks.jsonl")
    except CommandError as error:
        _names(error, "tasks.jsonl")


def config_file(data: bytes) -> None:
    """Settings that can be."""
    path = _file("rts.toml", data)
    try:
        config = load_config({}, MappingProxyType({}), path)
    except ConfigError:
        return
    assert config.heartbeat_interval_s > 0.0
    assert config.max_attempts >= 1


def runtime_model(data: bytes) -> None:
    """A model that predicts finite seconds."""
    try:
        document = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return
    try:
        model = RuntimeModel.from_document(document)
    except RuntimeModelError:
        return
    assert RuntimeModel.from_document(model.to_document()) == model


def deadline(data: bytes) -> None:
    """Unix seconds."""
    try:
        at = parse_deadline(data.decode(errors="surrogateescape"), 1e9)
    except CommandError:
        return
    assert not math.isnan(at)


def page_token(data: bytes) -> None:
    """Where a page begins, or a refusal that names the field."""
    request = scheduler_pb2.ListTasksRequest(page_token=data.decode(errors="replace"))
    try:
        query = convert.task_query(request)
    except MasterError as error:
        _names(error, "page_token")
        return
    assert query.after is None or isinstance(query.after[1], str)


def outbox_file(data: bytes) -> None:
    """What an outbox keeps is found again under the name of its file, or is removed."""
    directory = PLACE / "outbox"
    directory.mkdir(exist_ok=True)
    for left in directory.iterdir():
        left.unlink()
    (directory / "t1-1.result").write_bytes(data)
    pending = Outbox(directory).pending
    names = {f"{key.file_name}.result" for key in pending}
    assert names == {path.name for path in directory.iterdir()}


def core(data: bytes) -> None:
    """Whatever messages say, the core takes it or refuses it, and its invariants hold."""
    table = WorkerTable()
    cluster = Cluster(table, RTSScheduler(table), InMemoryTauStore())
    cluster.handle(RegisterWorker(WorkerRecord("w1", 4.0, 8.0, 1.0, 10.0), ()), 1000.0)
    now = 1000.0
    for piece in data.split(b"\xff\xff"):
        now += 1.0
        for event in (*_events(piece), Place(), Tick()):
            with contextlib.suppress(MasterError):
                cluster.handle(event, now)
    cluster.check()


def _events(piece: bytes) -> list[Event]:
    """The events of one message, of the kind that its first byte says."""
    raw = piece[1:]
    try:
        match piece[0] % 7 if piece else 7:
            case 0:
                return [Submit(convert.submission(scheduler_pb2.TaskSpec.FromString(raw)))]
            case 1:
                info = cluster_pb2.WorkerInfo.FromString(raw)
                worker = convert.worker_record(info, address=info.worker_ip, executors=())
                return [RegisterWorker(worker, None)]
            case 2:
                beat = cluster_pb2.Heartbeat.FromString(raw)
                return [convert.heartbeat("w1", beat, claims=True)]
            case 3:
                return [convert.finished("w1", cluster_pb2.TaskResult.FromString(raw))]
            case 4:
                return [convert.started("w1", scheduler_pb2.AttemptStarted.FromString(raw))]
            case 5:
                return [convert.refused("w1", scheduler_pb2.AttemptRefused.FromString(raw))]
            case 6:
                return list(convert_planner.proposals(agent_pb2.TaskAssignments.FromString(raw)))
    except (DecodeError, MasterError):
        pass
    return []


def _sample_core() -> bytes:
    spec = scheduler_pb2.TaskSpec(task_id="t1", command="true", cpu=1.0)
    info = cluster_pb2.WorkerInfo(worker_id="w2", worker_ip="h:1", total_cpu=2.0)
    beat = cluster_pb2.Heartbeat(cpu_usage=0.5, running_tasks=[cluster_pb2.RunningTask(task_id="t1")])
    result = cluster_pb2.TaskResult(task_id="t1", status="success", attempt=1, runtime_s=1.0)
    ref = scheduler_pb2.AttemptRef(task_id="t1", attempt=1)
    messages = (
        spec,
        info,
        beat,
        result,
        scheduler_pb2.AttemptStarted(attempt=ref, started_at=1001.0),
        scheduler_pb2.AttemptRefused(attempt=ref, reason="no"),
        agent_pb2.TaskAssignments(
            assignments=[agent_pb2.TaskAssignment(task_id="t1", worker_id="w1")], state_version=1
        ),
    )
    pieces = [bytes([kind]) + message.SerializeToString() for kind, message in enumerate(messages)]
    return b"\xff\xff".join((pieces[0], pieces[4], pieces[2], pieces[3], *pieces))


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target
    for target in (
        params_file,
        history_lines,
        cluster_file,
        task_lines,
        config_file,
        runtime_model,
        deadline,
        page_token,
        outbox_file,
        core,
    )
}

_QUANTILES = b"[" + b",".join(b"%d" % n for n in range(99)) + b"]"
SAMPLES: dict[str, bytes] = {
    "params_file": b'{"Theta":{"Theta1":0.1,"Theta2":0.1,"Theta3":0.3,"Theta4":0.2},'
    b'"Risk":{"Alpha":10,"Beta":1},"AffinityMatrix":{"cpu-light":{"w1":1.5}},"PenaltyVector":{"w1":0.5},"Meta":{"a":[1]}}',
    "history_lines": b'{"task_id":"t1","worker_id":"w1","type":"mixed","arrival":100,"deadline":120,'
    b'"actual_start":100,"actual_finish":110,"actual_runtime_s":10,"sla_success":true,"cpu_used":1,'
    b'"memory_used":2,"gpu_used":0,"load_at_start":0,"tau":10,"sla_multiplier":2,"cpu_available":8,'
    b'"memory_available":16,"gpu_available":0}\n{}\n',
    "cluster_file": b'{"worker_id":"w1","cpu":4,"memory":8}\n'
    b'{"worker_id":"w2","cpu":4,"memory":8,"gpu":1,"storage":2,"speed":{"cpu-light":2}}\n',
    "task_lines": b'{"command":"true","cpu":1,"task_type":"mixed","deadline":2000000000}\n\n'
    b'{"command":"x"}\n',
    "config_file": b'listen = "127.0.0.1:0"\nstore = "x.db"\nheartbeat_interval_s = "2s"\n'
    b"ga_generations = 5\nmax_attempts = 3\ninsecure = false\n",
    "runtime_model": b'{"theta":[0.1,0.1,0.3,0.2],"types":{"mixed":{"base_s":1.0,"success":0.9,"quantiles":'
    + _QUANTILES
    + b',"anywhere":'
    + _QUANTILES
    + b',"slowdown":{"w1":1.5},"records":10}}}',
    "deadline": b"2030-01-31T12:00:00",
    "page_token": b"WzEwMDAuMCwidDEiXQ==",
    "outbox_file": cluster_pb2.TaskResult(task_id="t1", attempt=1, status="success").SerializeToString(),
    "core": _sample_core(),
}
