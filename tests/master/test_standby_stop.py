"""A standby that is told to stop does, also when the driver takes the cancellation for itself."""

from __future__ import annotations

import asyncio
import contextlib

import grpc
import pytest

from master.standby import Standby
from master.store.base import StoreInUseError, StoreOpenError, StoreUnreachableError


class Deaf:
    """A store whose driver turns a cancellation into an outcome of its own."""

    def __init__(self, outcome: StoreOpenError | None) -> None:
        self.outcome = outcome
        self.asked = asyncio.Event()

    async def open(self) -> None:
        self.asked.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        if self.outcome is not None:
            raise self.outcome


@pytest.mark.parametrize(
    "outcome", [StoreInUseError("in use", "127.0.0.1:1"), StoreUnreachableError("away"), None]
)
async def test_a_stop_that_the_driver_swallows_ends_the_waiting(outcome: StoreOpenError | None) -> None:
    store = Deaf(outcome)
    server = grpc.aio.server()
    async with Standby(server, "127.0.0.1:0", None, ()) as standby:
        waiting = asyncio.create_task(standby.open(store, StoreInUseError("in use", "")))  # type: ignore[arg-type]
        await store.asked.wait()
        waiting.cancel()
        await asyncio.wait([waiting], timeout=10.0)
        assert waiting.cancelled()
