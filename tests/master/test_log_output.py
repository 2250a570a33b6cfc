"""Where log lines go, what they look like, and what becomes of them when they cannot go there."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any, NoReturn

PROGRAM = """
import logging, structlog
from master.log_output import configure_logging
configure_logging("info", {style!r})
for _ in range(3):
    structlog.get_logger().error("store unavailable", reason="x" * 20_000)
    logging.getLogger("library").error("and the library")
print("went on")
"""

EVERYTHING = """
import logging, sys, threading, warnings, structlog
from master.log_output import configure_logging
configure_logging("debug", {style!r})
log = structlog.get_logger("master.part")
log.debug("odd values", nan=float("nan"), inf=float("inf"), surrogate="\\udcff", what=object, big=2**70)
log.info("two\\nlines", name="\\x1b[31mred\\x1b[0m")
logging.getLogger("pymongo.command").debug("insert secret-command")
logging.getLogger("grpc").info("of a library %s", "here")
warnings.warn("old")
class Bad:
    def __del__(self):
        raise ValueError("in a destructor")
Bad()
thread = threading.Thread(target=lambda: 1 / 0)
thread.start()
thread.join()
try:
    secret_local = "kept-secret"
    raise KeyError("x")
except KeyError:
    log.exception("went wrong")
try:
    raise ValueError("quoted:\\n2026-01-01T00:00:00Z [error] forged \\x1b[2J")
except ValueError:
    log.exception("sent by others")
raise RuntimeError("the end")
"""


def said(style: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", EVERYTHING.format(style=style)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert done.stdout == ""
    return done.stderr


def strict(line: str) -> Any:
    def no(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is not JSON")

    return json.loads(line, parse_constant=no)


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


def test_json_is_an_object_a_line_whoever_writes_it() -> None:
    lines = [strict(line) for line in said("json").splitlines()]
    for line in lines:
        assert {"timestamp", "level", "event", "logger"} <= line.keys()
    assert [(line["logger"], line["level"]) for line in lines] == [
        ("master.part", "debug"),
        ("master.part", "info"),
        ("grpc", "info"),
        ("py.warnings", "warning"),
        ("master.log_output", "error"),
        ("master.log_output", "error"),
        ("master.part", "error"),
        ("master.part", "error"),
        ("master.log_output", "critical"),
    ]
    assert lines[2]["event"] == "of a library here"
    for line, error in zip(
        lines[4:], ("ValueError", "ZeroDivisionError", "KeyError", "forged", "the end"), strict=True
    ):
        assert error in line["exception"]


def test_the_console_has_a_line_for_each_event_without_colours_or_what_drives_a_terminal() -> None:
    text = said("console")
    assert "\x1b" not in text
    assert "red" in text
    (line,) = [line for line in text.splitlines() if "two" in line]
    assert r"two\nlines" in line
    assert "[master.part]" in line
    (forged,) = [line for line in text.splitlines() if "forged" in line and "raise " not in line]
    assert forged == r"    2026-01-01T00:00:00Z [error] forged \x1b[2J"
    # A traceback has lines of its own, but no variables.
    assert "KeyError" in text
    assert "kept-secret'" not in text.replace('secret_local = "kept-secret"', "")


def test_debugging_lines_of_libraries_are_not_written() -> None:
    assert "secret-command" not in said("console") + said("json")
