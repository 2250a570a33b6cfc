"""Many at once, or one alone: reads of a store, and the moments in which it is neither old nor new."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """A lock that many may share or one may have alone, granted in the order of asking."""

    def __init__(self) -> None:
        self._gate = asyncio.Lock()
        self._sharing = 0
        self._unshared = asyncio.Event()
        self._unshared.set()

    @asynccontextmanager
    async def shared(self) -> AsyncIterator[None]:
        """Together with others that share."""
        async with self._gate:
            self._sharing += 1
            self._unshared.clear()
        try:
            yield
        finally:
            self._sharing -= 1
            if not self._sharing:
                self._unshared.set()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """With nobody else; those who ask later wait."""
        async with self._gate:
            await self._unshared.wait()
            yield
