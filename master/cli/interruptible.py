"""Streaming calls that an interrupt ends at once: made in a thread of their own, awaited in the main one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from queue import Empty, Queue
from threading import Thread
from typing import TypeVar

T = TypeVar("T")

_AHEAD = 16
"""Items between the thread that makes them and the one that takes them: beyond it the former waits."""

_STEP_S = 0.2


def from_thread(make: Callable[[], Iterable[T]], name: str) -> Iterator[T]:
    """Iterate over what `make` returns, which is called and iterated over in a daemon thread.

    Interrupts come to the main thread. One amid the start of a gRPC stream leaves a call that nobody serves,
    and closing or freeing its channel waits for that for ever; so gRPC is kept out of the main thread.
    """
    items: Queue[T] = Queue(_AHEAD)
    failed: list[BaseException] = []

    def run() -> None:
        try:
            for item in make():
                items.put(item)
        except BaseException as error:
            failed.append(error)

    thread = Thread(target=run, name=name, daemon=True)
    thread.start()
    while True:
        ended = not thread.is_alive()
        try:
            # In steps, since an interrupt just before the main thread blocks is seen only when it wakes.
            yield items.get(timeout=0.0 if ended else _STEP_S)
        except Empty:
            if ended:
                break
    if failed:
        raise failed[0]
