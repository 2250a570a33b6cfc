"""Where log lines go and how they look: stderr, for people or as JSON, ours and those of libraries alike."""

from __future__ import annotations

import io
import json
import logging
import sys
import threading
from contextlib import suppress
from types import TracebackType
from typing import Any, TextIO, cast

import msgspec
import structlog

from master.calls import add_call

log = structlog.get_logger(__name__)


class _Lossy:
    """A stream that drops what it cannot write: a log on a full disk must not end what it tells of."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()


class _Named(structlog.PrintLogger):
    """Prints a line, and knows which module's it is."""

    def __init__(self, file: TextIO, name: str) -> None:
        super().__init__(file)
        self.name = name


def configure_logging(level: str, style: str) -> None:
    """Send every log line of this process to stderr.

    Libraries log from "info" on, whatever the level: the MongoDB driver's debugging lines would show what
    users submitted.

    Parameters
    ----------
    level : {"debug", "info", "warning", "error"}
    style : {"console", "json"}
        With "json" each line is one object, also a warning of Python's, and the exception that ends the
        process.
    """
    stderr = cast(TextIO, _Lossy(sys.stderr))
    least = logging.getLevelNamesMapping()[level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        add_call,
        structlog.stdlib.add_logger_name,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor
    if style == "json":
        shared.append(structlog.processors.format_exc_info)
        renderer = structlog.processors.JSONRenderer(serializer=_to_json)
        sys.excepthook = _log_uncaught
        threading.excepthook = _log_uncaught_in_thread
        sys.unraisablehook = _log_unraisable
    else:
        shared.append(_printable)
        renderer = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=_indented_traceback
        )
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=lambda name="rts": _Named(stderr, name),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(level=max(least, logging.INFO), handlers=[handler], force=True)
    logging.captureWarnings(True)


def _to_json(line: dict[str, Any], **_: Any) -> str:
    try:
        # Infinity and NaN, which a risk may be, become null; the standard library would write no JSON.
        return msgspec.json.encode(line, enc_hook=repr).decode()
    except (ValueError, OverflowError):
        # The name of a file may be no UTF-8, a number may have any size.
        text = json.dumps(line, default=repr)
        return json.dumps(json.loads(text, parse_constant=lambda _: None))


def _printable(logger: Any, method: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Escape what would drive a terminal, or look like another line: names come from others."""
    for key, value in line.items():
        if isinstance(value, str) and key not in ("exception", "stack"):
            line[key] = _escaped(value)
    return line


def _escaped(text: str) -> str:
    return text if text.isprintable() else text.encode("unicode_escape").decode()


def _indented_traceback(out: TextIO, exc_info: structlog.typing.ExcInfo) -> None:
    """A traceback none of whose lines looks like an event; its error may quote what others sent.

    Without local variables, which rich ones print: among them is what users submitted.
    """
    plain = io.StringIO()
    structlog.dev.plain_traceback(plain, exc_info)
    out.write("\n".join("    " + _escaped(line) for line in plain.getvalue().splitlines()))


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if not issubclass(kind, KeyboardInterrupt):
        log.critical("ended by an error", exc_info=(kind, error, trace))


def _log_uncaught_in_thread(of: threading.ExceptHookArgs) -> None:
    if of.exc_value is not None and not issubclass(of.exc_type, SystemExit):
        trace = (of.exc_type, of.exc_value, of.exc_traceback)
        log.error("a thread ended by an error", exc_info=trace)


def _log_unraisable(of: sys.UnraisableHookArgs) -> None:
    if of.exc_value is not None:
        log.error("error ignored", exc_info=(of.exc_type, of.exc_value, of.exc_traceback))
