"""The processes around a measured master: a bare echo server, clients, workers that complete at once.

Run by `benchmarks.master` as `python -m benchmarks.master_load ROLE ...`; each prints one line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import grpc

from rtscore.rpc import cluster_pb2, scheduler_pb2, scheduler_pb2_grpc

SHAPES = ((0.5, 1.0, 0.0), (1.0, 2.0, 0.0), (2.0, 4.0, 0.0), (1.0, 1.0, 0.25))


def spec(number: int, run: str) -> scheduler_pb2.TaskSpec:
    """A task as a client sends it: with an id, so that it may be repeated."""
    cpu, memory, gpu = SHAPES[number % len(SHAPES)]
    return scheduler_pb2.TaskSpec(
        task_id=f"{run}-{number:08d}", user_id="bench", command="true", cpu=cpu, memory=memory, gpu=gpu
    )


def say(**facts: Any) -> None:
    """One line for the process that started this one."""
    print(json.dumps(facts), flush=True)


async def echo() -> None:
    """A server that answers a TaskSpec with itself and does nothing else, until its input ends."""

    async def answer(request: scheduler_pb2.TaskSpec, context: Any) -> scheduler_pb2.TaskSpec:
        return request

    message = scheduler_pb2.TaskSpec
    handler = grpc.unary_unary_rpc_method_handler(answer, message.FromString, message.SerializeToString)
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("bench.Echo", {"Echo": handler})])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    say(address=f"127.0.0.1:{port}")
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(None)


async def _drive(calls: list[Any], call: Any, concurrency: int) -> dict[str, float]:
    """Send all requests with so many under way at once; seconds, and latencies in milliseconds."""
    took: list[float] = []
    rest = iter(calls)

    async def one_after_another() -> None:
        for request in rest:
            begin = time.perf_counter()
            await call(request)
            took.append(time.perf_counter() - begin)

    begin = time.perf_counter()
    await asyncio.gather(*(one_after_another() for _ in range(concurrency)))
    seconds = time.perf_counter() - begin
    took.sort()
    return {
        "calls": len(took),
        "seconds": seconds,
        "p50_ms": took[len(took) // 2] * 1e3,
        "p99_ms": took[len(took) * 99 // 100] * 1e3,
    }


async def client(arguments: argparse.Namespace) -> None:
    """Call `echo`, or submit one by one or in batches, as fast as answers come."""
    run = uuid.uuid4().hex[:12]
    specs = [spec(number, run) for number in range(arguments.tasks)]
    async with grpc.aio.insecure_channel(
        arguments.address, options=(("grpc.max_receive_message_length", -1),)
    ) as channel:
        stub = scheduler_pb2_grpc.SchedulerServiceStub(channel)
        requests: list[Any] = specs
        if arguments.role == "echo-client":
            call: Any = channel.unary_unary(
                "/bench.Echo/Echo",
                request_serializer=scheduler_pb2.TaskSpec.SerializeToString,
                response_deserializer=scheduler_pb2.TaskSpec.FromString,
            )
        elif arguments.batch == 1:
            call = stub.SubmitTask
        else:
            requests = [
                scheduler_pb2.SubmitTasksRequest(tasks=specs[begin : begin + arguments.batch])
                for begin in range(0, len(specs), arguments.batch)
            ]

            async def call(request: scheduler_pb2.SubmitTasksRequest) -> None:
                reply = await stub.SubmitTasks(request)
                refused = [o.error.message for o in reply.outcomes if o.HasField("error")]
                if refused:
                    raise RuntimeError(refused[0])

        await call(requests.pop())
        say(**await _drive(requests, call, arguments.concurrency))


async def workers(arguments: argparse.Namespace) -> None:
    """Workers whose tasks complete at once, until the master ends their sessions."""

    async def one(number: int) -> None:
        worker_id = f"w{number:03d}"
        ready: asyncio.Queue[cluster_pb2.Task | None] = asyncio.Queue()

        async def upward() -> AsyncIterator[scheduler_pb2.WorkerUpdate]:
            info = cluster_pb2.WorkerInfo(
                worker_id=worker_id, total_cpu=4096, total_memory=16384, total_gpu=1024, total_storage=1024
            )
            yield scheduler_pb2.WorkerUpdate(hello=scheduler_pb2.WorkerHello(info=info))
            while True:
                tasks = [await ready.get()]
                while not ready.empty():
                    tasks.append(ready.get_nowait())
                now = time.time()
                update = scheduler_pb2.WorkerUpdate()
                for task in tasks:
                    if task is None:
                        update.heartbeat.worker_id = worker_id
                        continue
                    ref = scheduler_pb2.AttemptRef(task_id=task.task_id, attempt=task.attempt)
                    update.started.append(scheduler_pb2.AttemptStarted(attempt=ref, started_at=now))
                    update.finished.append(
                        cluster_pb2.TaskResult(
                            task_id=task.task_id,
                            worker_id=worker_id,
                            status="success",
                            attempt=task.attempt,
                            started_at=now,
                            finished_at=now,
                            runtime_s=0.001,
                        )
                    )
                yield update

        async def beat() -> None:
            while True:
                await asyncio.sleep(1.0)
                ready.put_nowait(None)

        async with grpc.aio.insecure_channel(arguments.address) as channel:
            stream = scheduler_pb2_grpc.WorkerServiceStub(channel).WorkerSession(upward())
            beating = asyncio.create_task(beat())
            async for update in stream:
                if update.HasField("welcome"):
                    say(welcome=worker_id)
                for task in update.assignments:
                    ready.put_nowait(task)
            beating.cancel()

    await asyncio.gather(*(one(number) for number in range(arguments.workers)))


def main() -> None:
    """Take the role of the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=("echo", "echo-client", "client", "workers"))
    parser.add_argument("--address", default="")
    parser.add_argument("--tasks", type=int, default=0)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--concurrency", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.role == "echo":
        asyncio.run(echo())
    elif arguments.role == "workers":
        asyncio.run(workers(arguments))
    else:
        asyncio.run(client(arguments))


if __name__ == "__main__":
    main()
