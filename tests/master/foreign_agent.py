"""An agent of the existing cluster as a process, written against the field numbers alone: no stub of ours.

`python foreign_agent.py MASTER ID PORT [--beat S] [--refuse WHY] [--drop]`: registers, serves AssignTask,
CancelTask and StreamTaskLogs on PORT, runs what it is given with /bin/sh, and reports it. `--refuse` answers
every assignment with no; `--drop` takes every task, names it in one heartbeat, and forgets it.
"""

from __future__ import annotations

import argparse
import os
import signal
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

SERVICE = "cluster.MasterWorker"
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def text(number: int, value: str | bytes) -> bytes:
    """A string, bytes or message field."""
    raw = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | BYTES) + _varint(len(raw)) + raw


def real(number: int, value: float) -> bytes:
    """A double field."""
    return _varint(number << 3 | FIXED64) + struct.pack("<d", value)


def whole(number: int, value: int) -> bytes:
    """A bool or unsigned integer field."""
    return _varint(number << 3 | VARINT) + _varint(value)


def fields(message: bytes) -> dict[int, list[Any]]:
    """The values of a message by field number: int, float or bytes."""
    found: dict[int, list[Any]] = {}
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        number, kind = divmod(varint(), 8)
        if kind == VARINT:
            value: Any = varint()
        elif kind == FIXED64:
            (value,) = struct.unpack_from("<d", message, at)
            at += 8
        elif kind == BYTES:
            length = varint()
            value = message[at : at + length]
            at += length
        else:
            raise ValueError(f"wire type {kind} of field {number}")
        found.setdefault(number, []).append(value)
    return found


def first(message: bytes, number: int, default: Any = b"") -> Any:
    """The first value of a field."""
    return fields(message).get(number, [default])[0]


def method(name: str) -> str:
    """The full name of a call."""
    return f"/{SERVICE}/{name}"


class Task:
    """A command that runs in its own process group."""

    def __init__(self, message: bytes) -> None:
        self.task_id = first(message, 1).decode()
        self.cpu = first(message, 4, 0.0)
        self.output = tempfile.NamedTemporaryFile()  # noqa: SIM115 - as long as the task
        self.process = subprocess.Popen(
            ["/bin/sh", "-c", first(message, 3).decode()],
            stdin=subprocess.DEVNULL,
            stdout=self.output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.cancelled = False

    def printed(self) -> bytes:
        with open(self.output.name, "rb") as file:
            return file.read()


class Agent:
    """Serves the master and calls it."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.tasks: dict[str, Task] = {}
        self.dropped: list[str] = []
        self.channel = grpc.insecure_channel(
            arguments.master, options=[("grpc.max_reconnect_backoff_ms", 200)]
        )

    def call(self, name: str, message: bytes) -> bytes:
        answer: bytes = self.channel.unary_unary(method(name))(message, timeout=5)
        return answer

    def run(self) -> None:
        server = grpc.server(ThreadPoolExecutor(8))
        unary: dict[str, Callable[[bytes, Any], bytes]] = {
            "AssignTask": self.assign,
            "CancelTask": self.cancel,
        }
        handlers = {name: grpc.unary_unary_rpc_method_handler(call) for name, call in unary.items()}
        handlers["StreamTaskLogs"] = grpc.unary_stream_rpc_method_handler(self.logs)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        server.add_insecure_port(f"127.0.0.1:{self.arguments.port}")
        server.start()
        registered = False
        while True:
            try:
                registered = registered or self.register()
                # False to a worker that the master does not know.
                registered = registered and bool(first(self.call("SendHeartbeat", self.heartbeat()), 1, 0))
            except grpc.RpcError:
                registered = False
            time.sleep(self.arguments.beat)

    def register(self) -> bool:
        port = self.arguments.port
        info = text(1, self.arguments.id) + text(2, f"127.0.0.1:{port}") + real(3, 4.0) + real(4, 8.0)
        return bool(first(self.call("RegisterWorker", info + real(5, 10.0) + real(6, 0.0)), 1, 0))

    def heartbeat(self) -> bytes:
        beat = text(1, self.arguments.id) + real(2, 0.1) + real(3, 0.1) + real(4, 0.1)
        for task_id, task in list(self.tasks.items()):
            beat += text(5, text(1, task_id) + real(2, task.cpu) + text(4, "running"))
        for task_id in self.dropped:
            beat += text(5, text(1, task_id))
        self.dropped.clear()
        return beat + real(6, 0.0)

    def assign(self, message: bytes, context: Any) -> bytes:
        if self.arguments.refuse:
            return text(2, self.arguments.refuse)
        if self.arguments.drop:
            self.dropped.append(first(message, 1).decode())
        else:
            task = Task(message)
            self.tasks[task.task_id] = task
            threading.Thread(target=self.wait, args=(task,), daemon=True).start()
        return whole(1, 1) + text(2, "taken")

    def cancel(self, message: bytes, context: Any) -> bytes:
        task = self.tasks.get(first(message, 1).decode())
        if task is None:
            return text(2, "no such task here")
        task.cancelled = True
        os.killpg(task.process.pid, signal.SIGKILL)
        return whole(1, 1)

    def logs(self, message: bytes, context: Any) -> Iterator[bytes]:
        task_id = first(message, 1)
        task = self.tasks.get(task_id.decode())
        if task is not None:
            yield text(1, task_id) + text(2, task.printed()) + whole(3, int(time.time()))
        yield text(1, task_id) + whole(4, 1) + text(5, "running")

    def wait(self, task: Task) -> None:
        """Report a task's end until the master has answered; name it in heartbeats until then."""
        status = "success" if task.process.wait() == 0 else "failed"
        report = (
            text(1, task.task_id) + text(2, self.arguments.id) + text(3, status) + text(4, task.printed())
        )
        while not task.cancelled:
            try:
                self.call(
                    "ReportTaskCompletion", report + text(5, "/results/here") + text(6, "a") + text(6, "b")
                )
                break
            except grpc.RpcError:
                time.sleep(self.arguments.beat)
        del self.tasks[task.task_id]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for name in ("master", "id", "port"):
        parser.add_argument(name)
    parser.add_argument("--beat", type=float, default=0.1)
    parser.add_argument("--refuse", default="")
    parser.add_argument("--drop", action="store_true")
    Agent(parser.parse_args()).run()
