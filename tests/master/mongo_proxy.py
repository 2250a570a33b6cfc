"""A TCP proxy before a MongoDB server that can lose an answer, or a request."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from pymongo.uri_parser import parse_uri


class Proxy:
    """Between a client and the server of a URI; an async context manager, whose `uri` leads through it."""

    def __init__(self, uri: str) -> None:
        self._target = parse_uri(uri)["nodelist"][0]
        self._parts = urlsplit(uri)
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self.lose_answers_to: bytes | None = None
        self.cut_before: bytes | None = None
        self.port = 0

    @property
    def uri(self) -> str:
        user, at, _ = self._parts.netloc.rpartition("@")
        query = f"?{self._parts.query}" if self._parts.query else ""
        return f"mongodb://{user}{at}127.0.0.1:{self.port}{self._parts.path}{query}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._open:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_reader, to_writer = await asyncio.open_connection(*self._target)
        self._open |= {writer, to_writer}
        lost = [False]

        async def forward() -> None:
            while data := await reader.read(1 << 16):
                if self.cut_before is not None and self.cut_before in data:
                    self.cut_before = None
                    writer.close()
                    break
                if self.lose_answers_to is not None and self.lose_answers_to in data:
                    self.lose_answers_to, lost[0] = None, True
                to_writer.write(data)
                await to_writer.drain()
            to_writer.close()

        async def back() -> None:
            while data := await to_reader.read(1 << 16):
                if lost[0]:
                    writer.close()
                    break
                writer.write(data)
                await writer.drain()
            writer.close()

        with contextlib.suppress(OSError):
            await asyncio.gather(forward(), back())
        self._open -= {writer, to_writer}
