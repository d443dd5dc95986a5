"""One small service, served over the wire and in process: every test here runs over both."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue

from weir_kit.channel import OPTIONS, govern
from weir_kit.inbound import Inbound
from weir_kit.local import LocalChannel, LocalServer
from weir_kit.server import GrpcServer
from weir_kit.service import Servicer

TOKEN = "the-service-token"
ARITIES = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")


class Stub:
    """A stub with a method of every arity; messages are StringValue."""

    def __init__(self, channel: grpc.aio.Channel, full_name: str) -> None:
        self.channel = channel
        for arity in ARITIES:
            make = getattr(channel, arity)
            method = f"/{full_name}/{arity}"
            setattr(
                self, arity, make(method, StringValue.SerializeToString, StringValue.FromString)
            )


def servicer_of(full_name: str, behaviours: dict[str, Any]) -> Servicer:
    """A servicer whose methods are the given functions."""

    def add(implementation: dict[str, Any], server: grpc.aio.Server) -> None:
        handlers = {
            arity: getattr(grpc, f"{arity}_rpc_method_handler")(
                behaviour, StringValue.FromString, StringValue.SerializeToString
            )
            for arity, behaviour in implementation.items()
        }
        generic = grpc.method_handlers_generic_handler(full_name, handlers)
        server.add_generic_rpc_handlers((generic,))
        server.add_registered_method_handlers(full_name, handlers)

    return Servicer(full_name, behaviours, add)


Serve = Callable[..., Awaitable[Stub]]


@pytest.fixture(params=["local", "wire"])
async def serve(request: pytest.FixtureRequest) -> AsyncIterator[Serve]:
    """`await serve(unary_unary=handler)` → a stub to a server with that handler."""
    async with AsyncExitStack() as stack:

        async def start(
            *servicers: Servicer,
            full_name: str = "weir.contract.v1.ContractService",
            client_token: str | None = TOKEN,
            governed: bool = True,
            hosted: Collection[str] = (),
            call_s_max: float = 600.0,
            **behaviours: Any,
        ) -> Stub:
            inbound = Inbound(TOKEN, hosted=hosted, call_s_max=call_s_max)
            servicers = (*servicers, servicer_of(full_name, behaviours))
            if request.param == "local":
                channel = await _local(stack, inbound, servicers)
            else:
                channel = await _wire(stack, inbound, servicers)
            if governed:
                channel = govern(channel, service_token=client_token)
            return Stub(channel, full_name)

        yield start


async def _local(
    stack: AsyncExitStack, inbound: Inbound, servicers: tuple[Servicer, ...]
) -> grpc.aio.Channel:
    server = LocalServer(inbound)
    stack.push_async_callback(server.stop, 0)
    for servicer in servicers:
        server.add(servicer)
    return await stack.enter_async_context(LocalChannel(server))


async def _wire(
    stack: AsyncExitStack, inbound: Inbound, servicers: tuple[Servicer, ...]
) -> grpc.aio.Channel:
    server = GrpcServer(inbound)
    stack.push_async_callback(server.drain, 0)
    for servicer in servicers:
        server.add(servicer)
    address = await server.start("127.0.0.1:0")
    return await stack.enter_async_context(grpc.aio.insecure_channel(address, options=OPTIONS))
