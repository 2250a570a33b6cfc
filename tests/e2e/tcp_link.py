"""A TCP proxy that a test can cut, slow down, half-close and strand: the network between two processes."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Self

from rts_processes import free_port

CHUNK = 64 * 1024


class _Connection:
    """Both directions of one accepted connection."""

    def __init__(self, near: asyncio.StreamWriter, far: asyncio.StreamWriter) -> None:
        self.near = near
        self.far = far
        # Set for ever: nothing passes in either direction, and neither end is told.
        self.stranded = False

    def abort(self) -> None:
        for writer in (self.near, self.far):
            writer.transport.abort()


class TcpLink:
    """Listens at `address` and passes everything on to `target`, as well as it is allowed to.

    It runs in a thread of its own; every method may be called from any other and acts before it returns.
    """

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = host, int(port)
        self._port = free_port()
        self.address = f"127.0.0.1:{self._port}"
        self._delay_s = 0.0
        self._connections: set[_Connection] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="link", daemon=True)
        self._thread.start()
        self._passable = asyncio.Event()
        self._passable.set()
        self._server: asyncio.Server | None = None
        self._call(self._listen())

    def cut(self) -> None:
        """Lose every packet, of old and new connections; `heal` lets them through, as TCP sends again."""
        self._call(self._set(passable=False))

    def refuse(self) -> None:
        """Reset every connection and refuse new ones."""
        self._call(self._refuse())

    def strand(self) -> None:
        """Lose every packet of the present connections for ever; new ones work."""
        self._call(self._each(lambda c: setattr(c, "stranded", True)))

    def half_close(self) -> None:
        """Tell the target that nothing more comes on the present connections; the other direction goes on."""
        self._call(self._each(lambda c: c.far.write_eof()))

    def delay(self, seconds: float) -> None:
        """Hold each piece of up to 64 KiB back for so long: latency and little bandwidth at once."""
        self._call(self._set(delay_s=seconds))

    def heal(self) -> None:
        """Pass everything at once again, except what was stranded."""
        self._call(self._heal())

    def close(self) -> None:
        """Reset every connection and end the thread."""
        self._call(self._refuse())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # ---- in the thread ----

    def _call(self, action: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(action, self._loop).result(10.0)

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._port)

    async def _set(self, *, passable: bool = True, delay_s: float = 0.0) -> None:
        self._delay_s = delay_s
        (self._passable.set if passable else self._passable.clear)()

    async def _each(self, action: Any) -> None:
        for connection in self._connections:
            with contextlib.suppress(OSError, RuntimeError):
                action(connection)

    async def _refuse(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for connection in list(self._connections):
            connection.abort()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _heal(self) -> None:
        await self._set()
        await self._listen()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            # Without a network there is nobody to refuse: the caller only hears nothing.
            await self._passable.wait()
            far_reader, far_writer = await asyncio.open_connection(*self._target)
        except (OSError, asyncio.CancelledError):
            writer.transport.abort()
            return
        connection = _Connection(writer, far_writer)
        self._connections.add(connection)
        try:
            await asyncio.gather(
                self._pump(connection, reader, far_writer), self._pump(connection, far_reader, writer)
            )
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            connection.abort()
            self._connections.discard(connection)

    async def _pump(
        self, connection: _Connection, source: asyncio.StreamReader, sink: asyncio.StreamWriter
    ) -> None:
        while True:
            data = await source.read(CHUNK)
            if connection.stranded:
                await asyncio.Event().wait()
            await self._passable.wait()
            if self._delay_s:
                await asyncio.sleep(self._delay_s)
            if not data:
                break
            sink.write(data)
            await sink.drain()
        if sink.can_write_eof():
            sink.write_eof()


class TcpLinks:
    """A link to each of several targets, which fare alike; `address` names all, with commas between."""

    def __init__(self, targets: str) -> None:
        self._links = [TcpLink(target) for target in targets.split(",")]
        self.address = ",".join(link.address for link in self._links)

    def cut(self) -> None:
        """Lose every packet until `heal`."""
        self._each(TcpLink.cut)

    def refuse(self) -> None:
        """Reset every connection and refuse new ones."""
        self._each(TcpLink.refuse)

    def strand(self) -> None:
        """Lose every packet of the present connections for ever."""
        self._each(TcpLink.strand)

    def half_close(self) -> None:
        """Tell the targets that nothing more comes on the present connections."""
        self._each(TcpLink.half_close)

    def delay(self, seconds: float) -> None:
        """Hold each piece back for so long."""
        self._each(lambda link: link.delay(seconds))

    def heal(self) -> None:
        """Pass everything at once again, except what was stranded."""
        self._each(TcpLink.heal)

    def close(self) -> None:
        """Reset every connection and end the threads."""
        self._each(TcpLink.close)

    def _each(self, action: Callable[[TcpLink], None]) -> None:
        for link in self._links:
            action(link)
