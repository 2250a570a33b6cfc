"""Who may talk to the dashboard: browsers that have its own pages open, and nobody through another site."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from rtscore.credentials import is_loopback

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

# Pages are templates that the browser compiles, hence 'unsafe-eval'; nothing may come from or go elsewhere.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; frame-ancestors 'none'; base-uri 'self'; form-action 'self'"
)
_HEADERS = (
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
)


class Guard:
    """Before everything else of the application, for pages and web sockets alike.

    A request that names another origin than the host it is sent to comes from a foreign page and is refused.
    With `local`, so is one to a host that is not this machine by name: a foreign name that was pointed here
    would be its own origin.
    """

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]], local: bool) -> None:
        self._app = app
        self._local = local

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        if not self._may(scope["headers"]):
            await _refuse(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_HEADERS]
            await send(message)

        await self._app(scope, receive, with_headers)

    def _may(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        said = {name: value.decode("latin-1") for name, value in headers if name in (b"host", b"origin")}
        host = said.get(b"host", "")
        if self._local and not _names_this_machine(host):
            return False
        origin = said.get(b"origin")
        return origin is None or urlsplit(origin).netloc.lower() == host.lower()


def _names_this_machine(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    return name == "localhost" or is_loopback(name)


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008})
        return
    text = b"The dashboard answers only to its own pages, under the address that it listens on.\n"
    await send(
        {
            "type": "http.response.start",
            "status": 403,
            "headers": [(b"content-type", b"text/plain; charset=utf-8")],
        }
    )
    await send({"type": "http.response.body", "body": text})
