"""A live master under messages that nobody should send: a status code for each, no crash, bounded memory.

`make fuzz` sends 100,000; RTS_FUZZ_MESSAGES and RTS_FUZZ_SEED say how many and which.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from google.protobuf.descriptor import MethodDescriptor
from wire_noise import noise, structured

from rtscore.client import MasterClient, MasterUnreachableError, TaskSpec
from rtscore.rpc import agent_pb2, cluster_pb2, scheduler_pb2

MESSAGES = int(os.environ.get("RTS_FUZZ_MESSAGES", "3000"))
SEED = int(os.environ.get("RTS_FUZZ_SEED", "1"))
# In the suite a slow machine sends fewer.
SECONDS = 12.0 if "RTS_FUZZ_MESSAGES" not in os.environ else float("inf")
# But so many that every method has had some of them.
LEAST = 600
AT_ONCE = 16
PATIENCE_S = 60.0
# A watch goes on until it is hung up.
WATCH_S = 0.05
# What the caches, the finished tasks that are remembered and the allocator may take; a leak of a kilobyte a
# message is more.
GROWTH_BYTES = 96 * 2**20

# What a client may be told; INTERNAL and UNKNOWN are bugs of ours.
ALLOWED = {
    *("OK", "INVALID_ARGUMENT", "NOT_FOUND", "ALREADY_EXISTS", "FAILED_PRECONDITION", "UNIMPLEMENTED"),
    *("RESOURCE_EXHAUSTED", "ABORTED"),
    # Of an agent that does not answer, asked for a task's output.
    "UNAVAILABLE",
}


def methods() -> list[MethodDescriptor]:
    """Every method of every service of ours."""
    files = (cluster_pb2.DESCRIPTOR, scheduler_pb2.DESCRIPTOR, agent_pb2.DESCRIPTOR)
    return [m for file in files for service in file.services_by_name.values() for m in service.methods]


class Sender:
    """Sends raw bytes, and keeps what came of them."""

    def __init__(self, channel: grpc.aio.Channel, seed: int) -> None:
        self.channel = channel
        self.rng = random.Random(seed)
        self.methods = methods()
        # An epoch takes a second of another process; a few of them will do.
        self.weights = [0.02 if m.name == "Train" else 1.0 for m in self.methods]
        self.sent = 0
        self.codes: Counter[tuple[str, str]] = Counter()
        self.wrong: list[str] = []

    async def run(self, messages: int, until: float) -> None:
        async def one_after_the_other() -> None:
            while self.sent < messages and (self.sent < LEAST or time.monotonic() < until):
                await self.send()

        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(one_after_the_other())

    async def send(self) -> None:
        (method,) = self.rng.choices(self.methods, self.weights)
        service = method.containing_service.full_name
        path, details = f"/{service}/{method.name}", ""
        count = self.rng.randint(1, 5) if method.client_streaming else 1
        raws = [noise(method.input_type, self.rng) for _ in range(count)]
        if method.client_streaming and self.rng.random() < 0.5:
            # Half of the sessions begin as one should.
            raws[0] = structured(method.input_type, self.rng)
        self.sent += count
        # They may have no end of their own: what is watched may never change, what is followed never end.
        endless = method.name in ("WatchTasks", "StreamTaskLogs")
        try:
            await self.call(method, path, raws, WATCH_S if endless else PATIENCE_S)
            code = "OK"
        except grpc.aio.AioRpcError as error:
            code, details = error.code().name, error.details() or ""
        if endless and code == "DEADLINE_EXCEEDED":
            code = "OK"
        self.codes[method.name, code] += 1
        # What grpc.aio says of itself when it is refused while it is still writing.
        if method.client_streaming and details == "Internal error from Core":
            return
        if code not in ALLOWED:
            self.wrong.append(f"{path} with {[raw[:300] for raw in raws]} got {code}: {details[:300]}")

    async def call(self, method: MethodDescriptor, path: str, raws: list[bytes], limit_s: float) -> None:
        async def requests() -> AsyncIterator[bytes]:
            for raw in raws:
                yield raw

        if method.client_streaming:
            call: Any = self.channel.stream_stream(path)(requests(), timeout=limit_s)
        elif method.server_streaming:
            call = self.channel.unary_stream(path)(raws[0], timeout=limit_s)
        else:
            await self.channel.unary_unary(path)(raws[0], timeout=limit_s)
            return
        async for _ in call:
            pass


@pytest.fixture
def master(tmp_path: Path) -> Iterator[tuple[str, psutil.Process, Path]]:
    """A master as a process, its address, and its log."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    log = tmp_path / "master.log"
    process = start(address, tmp_path)
    try:
        yield address, psutil.Process(process.pid), log
    finally:
        process.kill()
        process.wait()


def start(address: str, directory: Path) -> subprocess.Popen[bytes]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RTS_", "SCHED_", "GA_"))}
    command = [sys.executable, "-m", "master.cli.app", "master", "--listen", address]
    with (directory / "master.log").open("ab") as log:
        process = subprocess.Popen(
            [*command, "--store", str(directory / "m.db")],
            stdout=log,
            stderr=log,
            env={**kept, "NO_COLOR": "1"},
        )
    deadline = time.monotonic() + PATIENCE_S
    with MasterClient(address) as client:
        while True:
            try:
                client.stats()
                return process
            except MasterUnreachableError:
                assert process.poll() is None, (directory / "master.log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.1)


def rss(process: psutil.Process) -> int:
    """Bytes of memory of the master and the processes of its store and trainer."""
    return sum(each.memory_info().rss for each in (process, *process.children(recursive=True)))


@pytest.mark.timeout(3600)
def test_every_message_gets_a_status_and_the_master_goes_on(
    master: tuple[str, psutil.Process, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    address, process, log = master

    async def send() -> tuple[Sender, int, int]:
        options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
        async with grpc.aio.insecure_channel(address, options=options) as channel:
            sender = Sender(channel, SEED)
            # Pools, caches and the trainer come before the first look at the memory.
            await channel.unary_unary("/rtscore.v1.SchedulerService/Train")(b"")
            end = time.monotonic() + SECONDS
            await sender.run(MESSAGES // 10, end)
            before = rss(process)
            await sender.run(MESSAGES, end)
            return sender, before, rss(process)

    begun = time.monotonic()
    sender, before, after = asyncio.run(send())
    took_s = time.monotonic() - begun
    with capsys.disabled():
        if float("inf") == SECONDS:
            print(
                f"\n{sender.sent} messages (seed {SEED}) in {took_s:.0f} s;"
                f" memory {before >> 20} -> {after >> 20} MiB"
            )
            for (method, code), count in sorted(sender.codes.items()):
                print(f"  {method:22} {code:20} {count}")
    assert not sender.wrong, f"{len(sender.wrong)} of {sender.sent}:\n" + "\n".join(sender.wrong[:10])
    assert sender.sent >= min(MESSAGES, LEAST)
    assert {name for name, _ in sender.codes} >= {m.name for m in methods() if m.name != "Train"}
    assert after - before < GROWTH_BYTES, f"{before} bytes became {after}"
    said = log.read_text(errors="replace")
    assert "Traceback" not in said, said[said.index("Traceback") :][:3000]

    # It goes on as if nothing had been, stops in order, and its store is whole.
    with MasterClient(address) as client:
        assert client.submit(TaskSpec(task_id="after-all", command="true")).state == "queued"
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_S) == 0
    again = start(address, tmp_path)
    try:
        with MasterClient(address) as client:
            assert client.task("after-all").state == "queued"
    finally:
        again.kill()
        again.wait()
