"""The server in process: looks like grpc.aio's to the generated `add_…Servicer_to_server`."""

import asyncio
from collections.abc import Iterable, Mapping
from contextvars import Context
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc

from weir_kit.inbound import Inbound, whereabouts
from weir_kit.local.context import LocalContext
from weir_kit.local.rpc import LocalRpc, Pairs
from weir_kit.service import Servicer

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


@dataclass
class CallDetails:
    """What a generic handler is asked with."""

    method: str
    invocation_metadata: Any


class LocalServer(grpc.aio.Server):
    """Runs every call's handler in a task and context of its own, as the server on the wire does.

    Messages cross as bytes, so neither side can see the other change one, and no field that the
    contract lacks gets through; at a microsecond or two that costs less than copying them.
    """

    def __init__(self, inbound: Inbound) -> None:
        self._inbound = inbound
        self._handlers: dict[str, Handler] = {}
        self._generic: list[grpc.GenericRpcHandler] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopped = False

    def add(self, servicer: Servicer) -> None:
        """Serve it, at once."""
        servicer.add(servicer.implementation, self)

    def add_generic_rpc_handlers(
        self, generic_rpc_handlers: Iterable[grpc.GenericRpcHandler]
    ) -> None:
        self._generic.extend(generic_rpc_handlers)

    def add_registered_method_handlers(
        self, service_name: str, method_handlers: Mapping[str, Handler]
    ) -> None:
        for name, handler in method_handlers.items():
            method = f"/{service_name}/{name}"
            self._handlers[method] = self._inbound.wrap(method, handler)

    def start_call(self, method: str, metadata: Pairs, timeout_s: float | None) -> LocalRpc:
        """A call whose handler runs from now on."""
        rpc = LocalRpc(metadata, timeout_s)
        handler = self._handlers.get(method) or self._generic_handler(method, metadata)
        if self._stopped:
            rpc.finish(grpc.StatusCode.UNAVAILABLE, "the server has stopped")
        elif handler is None:
            rpc.finish(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
        else:
            # An empty context: only metadata travels, as over the wire.
            work = _handle(rpc, handler)
            rpc.task = asyncio.get_running_loop().create_task(work, context=Context())
            self._tasks.add(rpc.task)
            rpc.task.add_done_callback(self._tasks.discard)
        return rpc

    async def stop(self, grace: float | None) -> None:
        """Take no new calls; wait `grace` seconds for those that run, then cancel them."""
        self._stopped = True
        if self._tasks and grace:
            await asyncio.wait(self._tasks, timeout=grace)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _generic_handler(self, method: str, metadata: Pairs) -> "Handler | None":
        for generic in self._generic:
            handler = generic.service(CallDetails(method, metadata))
            if handler is not None:
                return self._inbound.wrap(method, handler)
        return None

    def add_insecure_port(self, address: str) -> int:
        raise grpc.aio.UsageError("a local server has no port")

    def add_secure_port(self, address: str, server_credentials: grpc.ServerCredentials) -> int:
        raise grpc.aio.UsageError("a local server has no port")

    async def start(self) -> None:
        """It serves as soon as it is made."""

    async def wait_for_termination(self, timeout: float | None = None) -> bool:
        raise grpc.aio.UsageError("a local server ends by `stop`")


async def _handle(rpc: LocalRpc, handler: Handler) -> None:
    context = LocalContext(rpc, handler)
    try:
        request: Any = context
        if not handler.request_streaming:
            request = await context.read()
            if request is grpc.aio.EOF:
                return  # the client was gone before it sent anything
        if handler.response_streaming:
            await _behaviour(handler)(request, context)
        else:
            response = await _behaviour(handler)(request, context)
            if context.code() in (None, grpc.StatusCode.OK):
                await context.write(response)
        context.finish()
    except grpc.aio.AbortError:
        pass  # the call has its status
    except asyncio.CancelledError:
        rpc.finish(grpc.StatusCode.CANCELLED, "the handler was cancelled")
        raise
    except Exception as error:
        # Not the handler's own, which are statuses by now: an answer of the wrong type, perhaps.
        rpc.finish(grpc.StatusCode.UNKNOWN, whereabouts(error))


def _behaviour(handler: Handler) -> Any:
    if handler.request_streaming:
        return handler.stream_stream if handler.response_streaming else handler.stream_unary
    return handler.unary_stream if handler.response_streaming else handler.unary_unary
