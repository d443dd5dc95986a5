"""A call that is silent for long is not cut off: the server bears the pings of its clients."""

import asyncio
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from weir_kit.channel import OPTIONS
from weir_kit.health import Health
from weir_kit.inbound import Inbound
from weir_kit.server import GrpcServer

PING_MS = 1_100  # a little above what the server allows; gRPC's default would allow one in 300 s
SILENT_S = 7.0  # long enough for the fourth ping, at which such a server sends the client away


async def test_a_silent_stream_outlives_its_keepalive_pings() -> None:
    server = GrpcServer(Inbound(None), Health())
    address = await server.start("127.0.0.1:0")
    options: dict[str, Any] = dict(OPTIONS) | {"grpc.keepalive_time_ms": PING_MS}
    try:
        async with grpc.aio.insecure_channel(address, tuple(options.items())) as channel:
            watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
            await watch.read()
            silence = asyncio.ensure_future(watch.read())
            done, _ = await asyncio.wait([silence], timeout=SILENT_S)
            assert not done, "the stream ended"
            watch.cancel()
            await asyncio.wait([silence])
    finally:
        await server.drain(0)
