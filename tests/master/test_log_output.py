"""Where log lines go, and what becomes of them when they cannot go there."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import logging, structlog
from master.log_output import configure_logging
configure_logging("info", {style!r})
for _ in range(3):
    structlog.get_logger().error("store unavailable", reason="x" * 20_000)
    logging.getLogger("library").error("and the library")
print("went on")
"""


def test_a_log_that_cannot_be_written_ends_nobody() -> None:
    for style in ("console", "json"):
        with open("/dev/full", "w") as full:
            done = subprocess.run(
                [sys.executable, "-c", PROGRAM.format(style=style)],
                stdout=subprocess.PIPE,
                stderr=full,
                text=True,
                timeout=60,
            )
        assert (done.returncode, done.stdout) == (0, "went on\n")
