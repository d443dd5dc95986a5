"""Whether the peers are there."""

import asyncio

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

TIMEOUT_S = 1.0
SERVING = health_pb2.HealthCheckResponse.SERVING


class HealthReadiness:
    """The port `Readiness`: asks the health (grpc.health.v1) of every peer in `channels`."""

    def __init__(self, channels: dict[str, grpc.aio.Channel]) -> None:
        self._stubs = {name: health_pb2_grpc.HealthStub(c) for name, c in channels.items()}

    async def peers(self) -> dict[str, bool]:
        """Which peers serve, by name; one that does not answer in a second does not."""
        answers = await asyncio.gather(*map(self._serves, self._stubs.values()))
        return dict(zip(self._stubs, answers, strict=True))

    async def _serves(self, stub: health_pb2_grpc.HealthStub) -> bool:
        try:
            response = await stub.Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)
        except grpc.aio.AioRpcError:
            return False
        return bool(response.status == SERVING)
