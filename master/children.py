"""The environment of child processes that run modules of ours, from an installation or a source tree."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import master


def environment() -> dict[str, str]:
    """This process's environment with its search path, the place of our packages first."""
    root = str(Path(master.__file__).resolve().parent.parent)
    path = os.pathsep.join([root, *(entry for entry in sys.path if entry and entry != root)])
    return {**os.environ, "PYTHONPATH": path}
