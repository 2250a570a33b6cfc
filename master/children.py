"""Child processes that run modules of ours: their environment, and what they say when an error ends them."""

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


def tell_end(error: BaseException) -> None:
    """Log, in the child, the error that ends it, as its parent logs."""
    # Here: most children never need it, and starting one is felt.
    import structlog

    from master.log_output import configure_logging

    level, style = (os.environ.get(f"RTS_LOG_{name}", "") for name in ("LEVEL", "FORMAT"))
    configure_logging(level or "info", style or "console")
    structlog.get_logger(__name__).critical("ended by an error", process=sys.argv[0], exc_info=error)
