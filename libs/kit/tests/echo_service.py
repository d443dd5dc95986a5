"""Two small services for tests of the host: `echo`, and `shout`, which asks `echo`.

Run as a program it hosts the services named on its command line.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.wrappers_pb2 import StringValue

from weir_kit.condition import Condition
from weir_kit.config import setting
from weir_kit.host import main
from weir_kit.service import Peers, Service, Servicer, ServiceSpec


@dataclass(frozen=True)
class Config:
    """How long an answer takes."""

    delay_s: float = setting("ECHO_DELAY_S", 0.0, "Seconds before an answer.")


def servicer_of(name: str, behaviour: Any) -> Servicer:
    full_name = f"weir.{name}.v1.{name.title()}Service"
    handler = grpc.unary_unary_rpc_method_handler(
        behaviour, StringValue.FromString, StringValue.SerializeToString
    )

    def add(implementation: Any, server: grpc.aio.Server) -> None:
        server.add_registered_method_handlers(full_name, {"Say": handler})
        generic = grpc.method_handlers_generic_handler(full_name, {"Say": handler})
        server.add_generic_rpc_handlers((generic,))

    return Servicer(full_name, behaviour, add)


def say(channel: grpc.aio.Channel, name: str) -> Any:
    method = f"/weir.{name}.v1.{name.title()}Service/Say"
    return channel.unary_unary(method, StringValue.SerializeToString, StringValue.FromString)


@asynccontextmanager
async def open_echo(config: Config, peers: Peers) -> AsyncIterator[Service]:
    condition = Condition.WELL

    async def answer(request: StringValue, context: Any) -> StringValue:
        nonlocal condition
        print("asked", flush=True)
        if request.value == "break":
            condition = Condition.BROKEN
            await asyncio.Event().wait()
        await asyncio.sleep(config.delay_s)
        return request

    print("echo opened", flush=True)
    try:
        yield Service("echo", (servicer_of("echo", answer),), lambda: condition)
    finally:
        print("echo closed", flush=True)


@asynccontextmanager
async def open_shout(config: Config, peers: Peers) -> AsyncIterator[Service]:
    echo = say(peers.channel("echo"), "echo")

    async def answer(request: StringValue, context: Any) -> StringValue:
        answered = await echo(request)
        return StringValue(value=f"{answered.value.upper()} from {context.peer()[:5]}")

    print("shout opened", flush=True)
    try:
        yield Service("shout", (servicer_of("shout", answer),))
    finally:
        print("shout closed", flush=True)


ECHO = ServiceSpec("echo", Config, open_echo)
SHOUT = ServiceSpec("shout", Config, open_shout)

if __name__ == "__main__":
    main(*({"echo": ECHO, "shout": SHOUT}[name] for name in sys.argv[1:]))
