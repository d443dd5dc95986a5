"""What every call goes through on its way into a servicer: token, deadline, errors, tracing.

One wrapper around a method's handler, used by the server on the wire and by the local one alike.
"""

import asyncio
import hmac
import inspect
import logging
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import aclosing
from typing import Any, TypeAlias

import grpc

from weir_kit import deadline, telemetry
from weir_kit.errors import DeadlineExceeded, Internal, Unauthenticated, WeirError
from weir_kit.metadata import SERVICE_TOKEN_KEY, STATUS_DETAILS_KEY, TRACEPARENT_KEY, value_of
from weir_kit.status import code_of, to_status

logger = logging.getLogger(__name__)

CALL_S_MAX = 600.0  # for calls whose client set no deadline
PLAIN = ("/grpc.health.v1.Health/", "/grpc.reflection.")  # served as they are
# The public API needs no token: the gateway asks for keys of its own. It and inference both serve
# the Open Inference Protocol, and only the gateway's is public.
PUBLIC = ("/weir.gateway.v1.",)
OPEN_INFERENCE = "/inference.GRPCInferenceService/"
UNTRACED = ("/weir.telemetry.",)  # looking at traces should not make more of them

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Context = grpc.aio.ServicerContext[Any, Any]
Run = Callable[[Any, Context], Awaitable[Any]]


class Inbound:
    """Wraps handlers of the `hosted` services. Without a `service_token` none is asked for."""

    def __init__(
        self,
        service_token: str | None,
        *,
        hosted: Collection[str] = (),
        call_s_max: float = CALL_S_MAX,
    ) -> None:
        self._token = service_token.encode() if service_token is not None else None
        self._public = (*PUBLIC, OPEN_INFERENCE) if "gateway" in hosted else PUBLIC
        self._call_s_max = call_s_max
        self._wrapped: dict[str, Handler] = {}  # by full method; never more than there are methods

    def wrap(self, method: str, handler: Handler) -> Handler:
        """The handler of `/package.Service/Method`, governed.

        Handlers of streams come out as coroutines that write by `context.write`.
        """
        if method.startswith(PLAIN):
            return handler
        found = self._wrapped.get(method)
        if found is None:
            found = self._wrapped[method] = self._made(method, handler)
        return found

    def _made(self, method: str, handler: Handler) -> Handler:
        behaviour, make = _arity(handler)
        work = _streaming(behaviour) if handler.response_streaming else _unary(behaviour)
        public = method.startswith(self._public)
        service = "gateway" if public else service_of(method)
        traced = not method.startswith(UNTRACED)
        token = None if public else self._token
        name = method[1:]

        async def governed(request: Any, context: Any) -> Any:
            metadata = context.invocation_metadata()
            telemetry.enter_service(service)
            if not traced:
                return await self._answered(work, request, context, metadata, token)
            parent = telemetry.parse_traceparent(value_of(metadata, TRACEPARENT_KEY))
            with telemetry.OpenSpan(name, "server", parent, service, {}) as span:
                try:
                    answer = await self._answered(work, request, context, metadata, token)
                except asyncio.CancelledError:
                    span.end("DEADLINE_EXCEEDED" if deadline.has_passed() else "CANCELLED")
                    raise
                except Exception:
                    span.end(_status_name(context, "INTERNAL"))
                    raise
                span.end(_status_name(context, "OK"))
                return answer

        return make(governed, handler.request_deserializer, handler.response_serializer)

    async def _answered(
        self, work: Run, request: Any, context: Any, metadata: Any, token: bytes | None
    ) -> Any:
        """Run the handler; what it raises becomes the call's status."""
        try:
            if token is not None:
                _check_token(metadata, token)
            left_s = context.time_remaining()
            if left_s is not None:
                deadline.set_remaining(left_s)
                return await work(request, context)
            deadline.set_remaining(self._call_s_max)
            return await _within(self._call_s_max, work(request, context))
        except WeirError as error:
            failure = error
        except grpc.aio.InternalError:
            # A write failed because the client is gone; that we are cancelled was about to be told.
            raise asyncio.CancelledError from None
        except grpc.aio.BaseError:
            raise  # grpc's own: the handler aborted
        except NotImplementedError:
            return await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not implemented!")
        except Exception as error:
            logger.error("%s failed: %s", name_of(work), whereabouts(error))
            failure = Internal("internal error")
        status = to_status(failure)
        details = (STATUS_DETAILS_KEY, status.SerializeToString())
        trailers = (*(context.trailing_metadata() or ()), details)
        return await context.abort(code_of(failure), status.message, trailers)


def service_of(method: str) -> str:
    """The service that a method belongs to: `/weir.policy.v1.PolicyService/Admit` → `policy`."""
    parts = method[1:].split(".")
    return parts[1] if parts[0] == "weir" else parts[0]


def whereabouts(error: BaseException) -> str:
    """An error's type and where it was raised; not its message, which may hold a client's text."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    path = " < ".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in reversed(frames))
    return f"{type(error).__name__} at {path}"


def name_of(behaviour: Callable[..., Any]) -> str:
    """A servicer's method, for the log."""
    return getattr(behaviour, "__qualname__", type(behaviour).__name__)


def _arity(handler: Handler) -> tuple[Callable[..., Any], Callable[..., Handler]]:
    """The handler's behaviour, and the function that makes a handler of the same arity."""
    made: dict[tuple[bool, bool], tuple[Any, Any]] = {
        (False, False): (handler.unary_unary, grpc.unary_unary_rpc_method_handler),
        (False, True): (handler.unary_stream, grpc.unary_stream_rpc_method_handler),
        (True, False): (handler.stream_unary, grpc.stream_unary_rpc_method_handler),
        (True, True): (handler.stream_stream, grpc.stream_stream_rpc_method_handler),
    }
    return made[handler.request_streaming, handler.response_streaming]


def _unary(behaviour: Callable[..., Any]) -> Run:
    if inspect.iscoroutinefunction(behaviour):
        return behaviour

    async def work(request: Any, context: Context) -> Any:
        answer = behaviour(request, context)
        return await answer if inspect.isawaitable(answer) else answer

    work.__qualname__ = name_of(behaviour)
    return work


def _streaming(behaviour: Callable[..., Any]) -> Run:
    if inspect.iscoroutinefunction(behaviour):
        return behaviour  # it writes by `context.write` itself

    async def work(request: Any, context: Context) -> None:
        messages = behaviour(request, context)
        if inspect.isawaitable(messages):
            await messages
        elif inspect.isasyncgen(messages):
            async with aclosing(messages):  # its `finally` runs here and now, however the call ends
                await _pump(messages, context)
        else:
            await _pump(messages, context)

    work.__qualname__ = name_of(behaviour)
    return work


async def _pump(messages: AsyncIterator[Any], context: Context) -> None:
    async for message in messages:
        await context.write(message)


async def _within(seconds: float, work: Awaitable[Any]) -> Any:
    """`work`, cancelled after `seconds`. Raises DeadlineExceeded."""
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            return await work
    except TimeoutError as error:
        if limit.expired():
            raise DeadlineExceeded("the call took too long") from error
        raise


def _check_token(metadata: Any, token: bytes) -> None:
    given = value_of(metadata, SERVICE_TOKEN_KEY).encode()
    if not hmac.compare_digest(given, token):
        raise Unauthenticated(f"calls between services carry the metadata {SERVICE_TOKEN_KEY}")


def _status_name(context: Any, otherwise: str) -> str:
    """What the handler set or aborted with, as a gRPC status name."""
    code = context.code()
    return code.name if isinstance(code, grpc.StatusCode) else otherwise
