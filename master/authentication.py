"""Finds out who calls and whether their role may, before anything of the request is read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

import grpc

from master.access import CALLER, Identity
from master.calls import CALL, Call
from master.errors import PermissionDeniedError, UnauthenticatedError
from master.interceptors import Handler, code_name, refusing
from master.metrics.counters import Calls
from master.permissions import NEEDED, OPEN
from master.tokens import Tokens


class Authentication(grpc.aio.ServerInterceptor):
    """The outermost interceptor: the rest of the call runs with its caller in `CALLER`.

    Parameters
    ----------
    tokens : Tokens or None
        None: whoever connects is `anyone`.
    anyone : Identity
    calls : Calls
        Counts those that are refused here.
    """

    def __init__(self, tokens: Tokens | None, anyone: Identity, calls: Calls) -> None:
        self._tokens = tokens
        self._anyone = anyone
        self._calls = calls

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """The method's handler, or one that refuses."""
        # gRPC runs interceptors and handler as one task, so what is set here holds for this call alone.
        call = Call(handler_call_details.method, handler_call_details.invocation_metadata)
        CALL.set(call)
        if self._tokens is None:
            CALLER.set(self._anyone)
            return await continuation(handler_call_details)
        handler = await continuation(handler_call_details)
        if handler is None:
            # There is no such method; gRPC answers UNIMPLEMENTED.
            return None
        method = str(handler_call_details.method)
        needed = NEEDED.get(method)
        if needed is OPEN:
            return handler
        try:
            caller = identify(self._tokens, handler_call_details.invocation_metadata)
            call.caller = caller.name
            if needed is None or caller.role not in needed:
                allowed = " or ".join(sorted(needed or ())) or "of nobody"
                raise PermissionDeniedError(
                    f"{method.rpartition('/')[2]} is for the role {allowed}; the token of {caller.name} has "
                    f"the role {caller.role}"
                )
        except (UnauthenticatedError, PermissionDeniedError) as error:
            self._calls.ended(method, code_name(type(error)))
            return refusing(error, method, streams=bool(handler.request_streaming))
        CALLER.set(caller)
        return handler


def identify(tokens: Tokens, metadata: Iterable[tuple[str, str | bytes]] | None) -> Identity:
    """Whose token is in a call's metadata, as `authorization: Bearer TOKEN`.

    Raises
    ------
    UnauthenticatedError
        When there is none, more than one, or one that is nobody's; never tells what came.
    """
    given = [value for key, value in metadata or () if key == "authorization"]
    if not given:
        raise UnauthenticatedError("this master asks for a token, and none came (token file, RTS_TOKEN)")
    if len(given) > 1 or not isinstance(given[0], str):
        raise UnauthenticatedError("authorization: one `Bearer TOKEN` is allowed")
    scheme, _, token = given[0].partition(" ")
    if scheme.lower() != "bearer":
        raise UnauthenticatedError("authorization: one `Bearer TOKEN` is allowed")
    caller = tokens.find(token.strip())
    if caller is None:
        raise UnauthenticatedError("the token that came is none of this master's")
    return caller
