"""The committed stubs are what the schemas generate."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
RPC = ROOT / "rtscore" / "rpc"


def _generated(into: Path) -> dict[str, str]:
    """The stubs by name, made as `make proto` makes them."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I", f"rtscore/rpc={ROOT / 'proto'}"]
    command += [f"--{kind}_out={into}" for kind in ("python", "grpc_python", "mypy", "mypy_grpc")]
    command += [f"rtscore/rpc/{name}.proto" for name in ("agent", "cluster", "scheduler")]
    done = subprocess.run(command, env={**os.environ, "PATH": path}, capture_output=True, text=True, cwd=into)
    assert done.returncode == 0, done.stderr
    return {file.name: file.read_text() for file in (into / "rtscore" / "rpc").iterdir()}


def test_the_stubs_are_those_of_the_schemas(tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools", reason="grpcio-tools, of the extra dev, is not installed")
    wanted = _generated(tmp_path)
    found = {file.name: file.read_text() for file in RPC.glob("*_pb2*")}
    assert sorted(found) == sorted(wanted)
    stale = [name for name in wanted if found[name] != wanted[name]]
    assert not stale, f"stale: {stale}; `make proto` renews them"


def test_the_existing_agents_field_numbers_never_change() -> None:
    from rtscore.rpc import cluster_pb2

    wanted = {
        "Task": (
            "task_id docker_image command req_cpu req_memory req_storage req_gpu target_worker_id user_id "
            "task_type"
        ),
        "TaskID": "task_id",
        "WorkerInfo": "worker_id worker_ip total_cpu total_memory total_storage total_gpu",
        "MasterInfo": "master_id master_address",
        "RegisterAck": "success message",
        "TaskAck": "success message",
        "Ack": "success message",
        "RunningTask": "task_id cpu_allocated memory_allocated status gpu_allocated",
        "Heartbeat": "worker_id cpu_usage memory_usage storage_usage running_tasks gpu_usage",
        "HeartbeatAck": "success",
        "TaskResult": "task_id worker_id status logs result_location output_files",
        "TaskLogRequest": "task_id user_id follow",
        "LogChunk": "task_id content timestamp is_complete status",
    }
    for message, names in wanted.items():
        fields = cluster_pb2.DESCRIPTOR.message_types_by_name[message].fields_by_number
        assert [fields[number + 1].name for number in range(len(names.split()))] == names.split(), message
