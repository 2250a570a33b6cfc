"""Results on disk from the end of a command until the master says that they are recorded.

A file per result, named after its attempt: written beside its name, synced, renamed, and the directory
synced, so that what is there is whole. The files of one burst are written by one trip to a thread. When the
disk does not take a result it is still sent, and says so in the log: losing it would need a crash before the
master's answer.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import structlog
from google.protobuf.message import DecodeError

from rtscore.rpc import cluster_pb2
from worker.convert import result_key
from worker.executors.base import AttemptKey

_log = structlog.get_logger("worker.outbox")
_SUFFIX = ".result"


class Outbox:
    """The results that are not known to be recorded.

    Parameters
    ----------
    directory : Path
        Made when it does not exist; what an earlier agent left in it is pending.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._pending: dict[AttemptKey, cluster_pb2.TaskResult] = {}
        self._todo: list[tuple[AttemptKey, bytes | None]] = []
        self._waiting: list[asyncio.Future[None]] = []
        self._writer: asyncio.Task[None] | None = None
        self._idle = asyncio.Event()
        directory.mkdir(parents=True, exist_ok=True)
        self._load()
        self._note_idle()

    @property
    def pending(self) -> dict[AttemptKey, cluster_pb2.TaskResult]:
        """The results that are not known to be recorded, oldest first; not to be changed."""
        return self._pending

    async def put(self, result: cluster_pb2.TaskResult) -> None:
        """Keep a result; returns when it is on disk."""
        key = result_key(result)
        self._pending[key] = result
        self._note_idle()
        self._todo.append((key, result.SerializeToString()))
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(written)
        self._start_writing()
        await written

    def forget(self, keys: list[AttemptKey]) -> None:
        """Remove results, soon also from disk; an attempt that is not here is left alone."""
        known = [key for key in keys if self._pending.pop(key, None) is not None]
        if known:
            self._note_idle()
            self._todo.extend((key, None) for key in known)
            self._start_writing()

    async def wait_empty(self) -> None:
        """Return once every result is known to be recorded."""
        await self._idle.wait()

    async def close(self) -> None:
        """Return when the disk has everything."""
        if self._writer is not None:
            await self._writer

    def _start_writing(self) -> None:
        if self._writer is None:
            self._writer = asyncio.create_task(self._write_all())

    async def _write_all(self) -> None:
        # What arrives during one trip goes with the next.
        while self._todo:
            # Lets the rest of a burst join.
            await asyncio.sleep(0)
            batch, self._todo = self._todo, []
            waiting, self._waiting = self._waiting, []
            await asyncio.to_thread(self._apply, batch)
            for written in waiting:
                if not written.done():
                    written.set_result(None)
        self._writer = None

    def _apply(self, batch: list[tuple[AttemptKey, bytes | None]]) -> None:
        for key, data in batch:
            path = self._directory / (key.file_name + _SUFFIX)
            try:
                if data is None:
                    path.unlink(missing_ok=True)
                else:
                    _write_synced(path, data)
            except OSError as error:
                _log.error(
                    "result not kept on disk", task_id=key.task_id, attempt=key.attempt, error=str(error)
                )
        if any(data is not None for _, data in batch):
            try:
                _sync_directory(self._directory)
            except OSError as error:
                _log.error("directory of results not synced", path=str(self._directory), error=str(error))

    def _load(self) -> None:
        found = []
        for path in self._directory.iterdir():
            if path.suffix != _SUFFIX:
                # A crash came before its rename.
                path.unlink()
                continue
            try:
                result = cluster_pb2.TaskResult.FromString(path.read_bytes())
            except DecodeError:
                result = None
            # A damaged file may still be a message: of another attempt, or of none.
            if result is None or path.name != result_key(result).file_name + _SUFFIX:
                _log.error("file is not a result and is removed", path=str(path))
                path.unlink()
                continue
            found.append(result)
        found.sort(key=lambda result: result.finished_at)
        self._pending = {result_key(result): result for result in found}

    def _note_idle(self) -> None:
        if self._pending:
            self._idle.clear()
        else:
            self._idle.set()


def _write_synced(path: Path, data: bytes) -> None:
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
