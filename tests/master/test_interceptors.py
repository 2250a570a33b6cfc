"""What becomes of calls that reach no handler, or leave it by an exception: a status with a sentence."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from peers import config, refusal, serving

from rtscore.rpc import scheduler_pb2

SERVICE = "/rtscore.v1.SchedulerService"


@pytest.mark.parametrize("raw", [b"\xff", b"\x0a\x05t", b"\x0a\x02\xff\xfe"])
async def test_bytes_that_are_no_message_are_an_invalid_request(tmp_path: Any, raw: bytes) -> None:
    async with serving(config(tmp_path)) as (server, _), grpc.aio.insecure_channel(server.address) as channel:
        unary = await refusal(channel.unary_unary(f"{SERVICE}/GetTask")(raw))
        stream = await refusal(channel.unary_stream(f"{SERVICE}/StreamTaskLogs")(raw).read())
        for error in (unary, stream):
            assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert "TaskRef" in error.details() or "TaskLogRequest" in error.details()
        status = rpc_status.from_call(unary)
        assert status is not None
        bad = error_details_pb2.BadRequest()
        status.details[0].Unpack(bad)
        assert bad.field_violations[0].field == "request"


async def test_a_session_of_bytes_that_are_no_message_is_refused(tmp_path: Any) -> None:
    async def requests() -> AsyncIterator[bytes]:
        yield b"\xff"

    async with serving(config(tmp_path)) as (server, _), grpc.aio.insecure_channel(server.address) as channel:
        session = channel.stream_stream("/rtscore.v1.WorkerService/WorkerSession")
        error = await refusal(session(requests()).read())
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "WorkerUpdate" in error.details()


async def test_a_sentence_that_repeats_something_long_fits_into_a_status(tmp_path: Any) -> None:
    async with serving(config(tmp_path)) as (_, stub):
        unknown = await refusal(stub.GetTask(scheduler_pb2.TaskRef(task_id="x" * 100_000)))
        assert unknown.code() is grpc.StatusCode.NOT_FOUND
        assert len(unknown.details()) < 1000
        bad = await refusal(stub.SubmitTask(scheduler_pb2.TaskSpec(task_type="é" * 100_000, command="true")))
        assert bad.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "task_type" in bad.details()
