"""Blocking calls off the event loop, in threads that neither wait for each other nor hold up an exit."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


def in_thread(call: Callable[[], T], name: str) -> asyncio.Future[T]:
    """Run `call` in a daemon thread of its own and return its result or error as a future of this loop.

    Not `asyncio.to_thread`: its few threads also write results and measure usage, an engine that does not
    answer would take them all, and the interpreter waits for them before it exits. Cancelling the future
    leaves the call running; what it then returns is dropped.

    Raises
    ------
    OSError
        When there is no thread left.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(set_it: Callable[[], None]) -> None:
        if not future.done():
            set_it()

    def run() -> None:
        set_it: Callable[[], None]
        try:
            result = call()
        except BaseException as caught:
            error = caught
            set_it = lambda: future.set_exception(error)  # noqa: E731
        else:
            set_it = lambda: future.set_result(result)  # noqa: E731
        # The loop is closed when the agent has ended without waiting for this.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, set_it)

    try:
        # With what is bound to log lines here.
        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(run,), name=name, daemon=True).start()
    except RuntimeError as error:
        raise OSError(f"no thread for {name!r}: {error}") from error
    return future
