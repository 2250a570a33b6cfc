"""A process that owns one connection to the SQLite file and answers requests over a socket, in their order.

Run by the channel as `python -m master.store.sqlite_process FD ROLE PATH`. A frame is its length (4 bytes,
little endian) and a msgpack array: requests `[operation, *arguments]`, answers `[outcome, *payload]`; after a
`part` come other answers. The first answer is that of opening.
"""

from __future__ import annotations

import gc
import signal
import socket
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from master.children import tell_end
from master.store.base import StoreConflictError, StoreOpenError
from master.store.database import Database, Part


def answers(database: Database, operation: str, arguments: list[Any]) -> Iterator[tuple[Any, ...]]:
    """Carry out one request; an error that the caller must hear of is an answer, any other ends us."""
    try:
        if operation == "commit":
            database.commit(*arguments)
        else:
            parts: Iterator[Part] = getattr(database, operation)(*arguments)
            for part in parts:
                yield ("part", *part)
    except StoreConflictError as error:
        yield "conflict", str(error)
    except ValueError as error:
        yield "value", str(error)
    except sqlite3.Error as error:
        yield "unavailable", str(error)
    else:
        yield ("done",)


def serve(connection: socket.socket, role: str, path: Path) -> None:
    """Open the file, then answer until the other end closes; the request at hand is always finished."""
    encoder, decoder = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder()
    requests, replies = connection.makefile("rb"), connection.makefile("wb")

    def reply(*answer: Any) -> None:
        body = encoder.encode(answer)
        replies.write(len(body).to_bytes(4, "little"))
        replies.write(body)
        replies.flush()

    try:
        database = Database(path, write=role == "write")
    except StoreOpenError as error:
        reply("refused", str(error))
        return
    try:
        reply("opened", database.number)
        while len(header := requests.read(4)) == 4:
            size = int.from_bytes(header, "little")
            body = requests.read(size)
            if len(body) < size:
                break
            operation, *arguments = decoder.decode(body)
            for answer in answers(database, operation, arguments):
                reply(*answer)
    finally:
        database.close()


def main() -> None:
    """Serve the socket that was inherited; only its closing ends us, so that a commit is never cut off."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    gc.disable()  # there are no cycles here, and looking for them in decoded rows is 3 of 11 µs a row
    descriptor, role, path = sys.argv[1:]
    try:
        serve(socket.socket(fileno=int(descriptor)), role, Path(path))
    except (BrokenPipeError, ConnectionResetError):
        sys.exit(1)
    except Exception as error:
        tell_end(error)
        sys.exit(1)


if __name__ == "__main__":
    main()
