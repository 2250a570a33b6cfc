"""Turns exceptions into status codes with a sentence; the only place that knows which is which."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any, NoReturn, TypeAlias

import grpc
import structlog
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]

from master.calls import CALL
from master.errors import (
    InvalidRequestError,
    LimitReachedError,
    MasterError,
    NotAllowedError,
    PermissionDeniedError,
    ReplacedError,
    StoppingError,
    StoreUnavailableError,
    TaskExistsError,
    TooSlowError,
    UnauthenticatedError,
    UnknownTaskError,
    UnknownWorkerIdError,
    UnsupportedError,
    WorkerIdTakenError,
    WorkerUnreachableError,
)
from master.metrics.counters import Calls

log = structlog.get_logger(__name__)

_CODES: dict[type[MasterError], grpc.StatusCode] = {
    InvalidRequestError: grpc.StatusCode.INVALID_ARGUMENT,
    TaskExistsError: grpc.StatusCode.ALREADY_EXISTS,
    UnknownTaskError: grpc.StatusCode.NOT_FOUND,
    UnknownWorkerIdError: grpc.StatusCode.NOT_FOUND,
    UnauthenticatedError: grpc.StatusCode.UNAUTHENTICATED,
    PermissionDeniedError: grpc.StatusCode.PERMISSION_DENIED,
    NotAllowedError: grpc.StatusCode.FAILED_PRECONDITION,
    StoreUnavailableError: grpc.StatusCode.UNAVAILABLE,
    WorkerUnreachableError: grpc.StatusCode.UNAVAILABLE,
    StoppingError: grpc.StatusCode.UNAVAILABLE,
    LimitReachedError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    TooSlowError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    WorkerIdTakenError: grpc.StatusCode.ALREADY_EXISTS,
    ReplacedError: grpc.StatusCode.ABORTED,
    UnsupportedError: grpc.StatusCode.UNIMPLEMENTED,
}

# What clearly passes by itself, and after how many seconds it is worth another try: the journal tries at most
# two seconds apart, and a restart takes about one; a worker comes back, or its tasks go elsewhere. It also
# tells a client that the master is there.
_RETRY_AFTER_S: dict[type[MasterError], int] = {
    StoreUnavailableError: 1,
    StoppingError: 1,
    WorkerUnreachableError: 1,
}

# A status travels in headers, and a client refuses those of more than 8 KiB: it would read of that instead.
SENTENCE = 500
# Calls of methods that do not exist are counted together: their names are whatever somebody sends.
UNKNOWN = "other"
REFUSAL_PATIENCE_S = 1.0

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


def wire_code(error: MasterError) -> int:
    """The number that clients see for an error of the master, a google.rpc.Code."""
    return int(_CODES[type(error)].value[0])


def code_name(kind: type[MasterError]) -> str:
    """The name of the status code of an error of the master."""
    return _CODES[kind].name


def _short(error: MasterError) -> str:
    """The error's sentence, cut where it repeats something long that came."""
    sentence = str(error)
    return sentence if len(sentence) <= SENTENCE else f"{sentence[:SENTENCE]} [...]"


def _details(error: MasterError, code: grpc.StatusCode) -> tuple[tuple[str, bytes], ...]:
    """The metadata in which clients of google.rpc.Status find which field is wrong, or when to try again."""
    detail: Message
    if isinstance(error, InvalidRequestError):
        violation = error_details_pb2.BadRequest.FieldViolation(field=error.field, description=_short(error))
        detail = error_details_pb2.BadRequest(field_violations=[violation])
    elif (seconds := _RETRY_AFTER_S.get(type(error))) is not None:
        detail = error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=seconds))
    else:
        return ()
    packed = any_pb2.Any()
    packed.Pack(detail)
    status = status_pb2.Status(code=code.value[0], message=_short(error), details=[packed])
    return (("grpc-status-details-bin", status.SerializeToString()),)


async def _refuse(context: Context, error: Exception, method: str) -> NoReturn:
    """Abort the call; what is not ours to tell is logged and stays here."""
    if isinstance(error, MasterError):
        code = _CODES[type(error)]
        if isinstance(error, (UnauthenticatedError, PermissionDeniedError)):
            log.warning("call refused", method=method, peer=context.peer(), reason=_short(error))
        await _abort(context, code, _short(error), _details(error, code))
    if isinstance(error, (grpc.RpcError, grpc.aio.AbortError)):
        raise error
    if isinstance(error, grpc.aio.InternalError):
        # What gRPC raises from a write amid which the other side hung up.
        raise asyncio.CancelledError from None
    log.error("request failed", method=method, exc_info=error)
    call = CALL.get()
    under = "" if call is None else f" under request_id {call.request_id}"
    await _abort(context, grpc.StatusCode.INTERNAL, f"internal error; the master's log says more{under}")


def tells_no_hang_up(record: logging.LogRecord) -> bool:
    """Whether a record of gRPC's logger is more than a client that hung up while its call's end was written.

    No handler sees that, and gRPC writes a traceback of it.
    """
    return record.exc_info is None or not isinstance(record.exc_info[1], grpc.aio.InternalError)


async def _abort(
    context: Context, code: grpc.StatusCode, sentence: str, details: tuple[tuple[str, bytes], ...] = ()
) -> NoReturn:
    try:
        await context.abort(code, sentence, details)
    except grpc.aio.AbortError:
        raise
    except Exception:
        # The client has hung up; what gRPC raises then has no public name and ends in a traceback in the log.
        raise asyncio.CancelledError from None


class _Malformed:
    """What came in the place of a message; gRPC would answer UNKNOWN, and write a traceback to the log."""

    def __init__(self, error: Exception) -> None:
        self.why = str(error)


def _lenient(deserialize: Callable[[bytes], Any] | None) -> Callable[[bytes], Any] | None:
    if deserialize is None:
        return None

    def read(raw: bytes) -> Any:
        try:
            return deserialize(raw)
        except Exception as error:
            return _Malformed(error)

    return read


def _checked(request: Any) -> Any:
    if isinstance(request, _Malformed):
        raise InvalidRequestError("request", f"{request.why}; a message of this method is allowed")
    return request


async def _checked_stream(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        yield _checked(request)


def refusing(error: MasterError, method: str, *, streams: bool) -> Handler:
    """A handler in the place of any other that refuses, and decodes nothing of the request.

    With `streams` it waits a moment for the first message: a client of grpc.aio that is still writing one
    when it is refused may report an internal error of its own instead.
    """

    async def refuse(requests: Any, context: Context) -> None:
        if streams:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(anext(requests, None), REFUSAL_PATIENCE_S)
        await _refuse(context, error, method)

    return grpc.stream_stream_rpc_method_handler(refuse)


def _single(
    behaviour: Callable[[Any, Context], Awaitable[Any]], method: str, check: Callable[[Any], Any]
) -> Callable[..., Awaitable[Any]]:
    async def call(request: Any, context: Context) -> Any:
        try:
            return await behaviour(check(request), context)
        except Exception as error:
            await _refuse(context, error, method)

    return call


def _stream(
    behaviour: Callable[[Any, Context], AsyncGenerator[Any, None]], method: str, check: Callable[[Any], Any]
) -> Callable[..., Awaitable[None]]:
    # Not a generator itself: gRPC would write for it, and log a traceback when a client hangs up meanwhile.
    async def call(request: Any, context: Context) -> None:
        try:
            async with contextlib.aclosing(behaviour(check(request), context)) as messages:
                async for message in messages:
                    await context.write(message)
        except Exception as error:
            await _refuse(context, error, method)

    return call


def _counted(
    answered: Callable[..., Awaitable[Any]], method: str, calls: Calls, *, timed: bool
) -> Callable[..., Awaitable[Any]]:
    async def call(request: Any, context: Context) -> Any:
        begin = time.perf_counter()
        try:
            answer = await answered(request, context)
        except BaseException as error:
            calls.ended(method, _code_of_end(error, context))
            raise
        calls.ended(method, "OK")
        if timed:
            calls.took(method, time.perf_counter() - begin)
        return answer

    return call


def _code_of_end(error: BaseException, context: Context) -> str:
    if isinstance(error, asyncio.CancelledError):
        return "CANCELLED"
    return context.code().name if isinstance(error, grpc.aio.AbortError) else "UNKNOWN"


class Errors(grpc.aio.ServerInterceptor):
    """Wraps each method once, at its first call; `calls` counts how they end."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._wrapped: dict[str, Handler] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """The method's handler, which raises nothing but aborts."""
        method = handler_call_details.method
        if (wrapped := self._wrapped.get(method)) is not None:
            return wrapped
        handler = await continuation(handler_call_details)
        if handler is None:
            # An unknown method; gRPC answers UNIMPLEMENTED.
            self._calls.ended(UNKNOWN, "UNIMPLEMENTED")
            return None
        self._wrapped[method] = wrapped = self._wrap(handler, method)
        return wrapped

    def _wrap(self, handler: Any, method: str) -> Handler:
        kind = ("stream" if handler.request_streaming else "unary") + (
            "_stream" if handler.response_streaming else "_unary"
        )
        behaviour = getattr(handler, kind)
        # A streaming handler is an async generator, or writes to the context and returns nothing.
        wrap = _stream if inspect.isasyncgenfunction(behaviour) else _single
        answered = wrap(behaviour, method, _checked_stream if handler.request_streaming else _checked)
        make = getattr(grpc, f"{kind}_rpc_method_handler")
        return make(  # type: ignore[no-any-return]
            _counted(answered, method, self._calls, timed=kind == "unary_unary"),
            _lenient(handler.request_deserializer),
            handler.response_serializer,
        )
