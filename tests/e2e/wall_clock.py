"""The wall clock of one process and its children, set by a test; every other clock goes on."""

from __future__ import annotations

import atexit
import functools
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path

SOURCE = Path(__file__).with_suffix(".c")


@functools.cache
def library() -> Path | None:
    """The compiled `wall_clock.c`; None where there is no C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return None
    directory = tempfile.mkdtemp(prefix="rts-wall-clock-")
    atexit.register(shutil.rmtree, directory)
    built = Path(directory) / "wall_clock.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", built, SOURCE], check=True)
    return built


class WallClock:
    """Seconds between the clock that a process sees and the true one.

    Parameters
    ----------
    file : Path
        Where they are kept.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        file.write_bytes(struct.pack("=q", 0))

    def set(self, seconds: int) -> None:
        """Let the process be so far ahead, from now on."""
        with self._file.open("r+b", buffering=0) as file:
            file.write(struct.pack("=q", seconds))

    def environment(self) -> dict[str, str]:
        """What the process is started with; nothing where there is no compiler: its clock is the true one."""
        preloaded = library()
        if preloaded is None:
            return {}
        return {"LD_PRELOAD": str(preloaded), "RTS_TEST_CLOCK": str(self._file)}
