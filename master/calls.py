"""Which call a log line is of: noted as the call begins, put into words only when a line is written."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from contextvars import ContextVar

import msgspec
import structlog

REQUEST_ID = "x-request-id"
_SANE = re.compile(r"[A-Za-z0-9._:-]{1,64}")


class Call(msgspec.Struct):
    """A call under way.

    `caller` is the name of its token, empty without one; `metadata` is never logged, it holds the token.
    """

    method: str
    metadata: Iterable[tuple[str, str | bytes]] | None
    caller: str = ""
    _request_id: str = ""

    @property
    def request_id(self) -> str:
        """What the caller says in `x-request-id`, if it looks like an id, or one that is made here."""
        if not self._request_id:
            given = [value for key, value in self.metadata or () if key == REQUEST_ID]
            one = given[0] if len(given) == 1 else None
            sane = isinstance(one, str) and _SANE.fullmatch(one)
            self._request_id = str(one) if sane else secrets.token_hex(8)
        return self._request_id


# The call that this code runs for; tasks that it starts have it too.
CALL: ContextVar[Call | None] = ContextVar("call", default=None)


def add_call(logger: object, method: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Add what is known of the call that writes a line."""
    if (call := CALL.get()) is not None:
        line.setdefault("request_id", call.request_id)
        line.setdefault("method", call.method)
        if call.caller:
            line.setdefault("caller", call.caller)
    return line
