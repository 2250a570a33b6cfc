"""Reloads a scheduler's parameters when their file changes; a bad file changes nothing."""

from __future__ import annotations

import logging
import os
import threading
from types import TracebackType
from typing import Protocol

from rtscore.errors import ParamsError
from rtscore.params import GAParams, load_ga_params

log = logging.getLogger(__name__)


class HasParams(Protocol):
    """What a reloader needs of a scheduler: parameters that can be assigned atomically."""

    params: GAParams


class ParamsReloader:
    """Watches a parameter file from a daemon thread.

    A file that cannot be read or is not valid is reported once per version of the file, and the parameters
    in use stay. A missing file is not an error: it may appear later.

    Parameters
    ----------
    path : path-like
        The parameter file (`load_ga_params`).
    scheduler : object with a `params` attribute
        Receives each new set.
    interval_s : float
        Seconds between two looks at the file.
    """

    def __init__(self, path: str | os.PathLike[str], scheduler: HasParams, interval_s: float = 30.0) -> None:
        if not interval_s > 0.0:
            raise ValueError(f"interval_s is {interval_s!r}; a positive number of seconds is allowed")
        self._path = os.fspath(path)
        self._scheduler = scheduler
        self._interval_s = interval_s
        self._seen: tuple[int, int, int] | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def check(self) -> bool:
        """Look at the file now; True when a new set went live."""
        version = self._version()
        if version is None or version == self._seen:
            return False
        self._seen = version
        try:
            params = load_ga_params(self._path)
        except (OSError, ParamsError) as error:
            log.warning("parameters not reloaded, the ones in use stay: %s", error)
            return False
        self._scheduler.params = params
        log.info("parameters reloaded from %s", self._path)
        return True

    def start(self) -> None:
        """Look once now, then every `interval_s` until `stop`."""
        if self._thread is not None:
            raise RuntimeError("the reloader is running already")
        self._stop.clear()
        self.check()
        self._thread = threading.Thread(target=self._run, name="rtscore-params-reloader", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop watching and wait for the thread; calling it again does nothing."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def __enter__(self) -> ParamsReloader:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self) -> None:
        while not self._stop.wait(self._interval_s):
            self.check()

    def _version(self) -> tuple[int, int, int] | None:
        # The inode changes with every atomic replacement, also within one tick of the clock.
        try:
            stat = os.stat(self._path)
        except FileNotFoundError:
            return None
        except OSError as error:
            log.warning("parameters not reloaded, the ones in use stay: %s", error)
            return None
        return stat.st_mtime_ns, stat.st_size, stat.st_ino
