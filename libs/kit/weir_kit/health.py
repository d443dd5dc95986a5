"""Health (grpc.health.v1): what each service says of itself, until the process begins to drain."""

from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from weir_kit.service import Servicer

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Health:
    """The health of every service in the process, and of the process, whose name is ""."""

    def __init__(self) -> None:
        self._servicer = health.aio.HealthServicer()
        self.servicer = Servicer(
            "grpc.health.v1.Health", self._servicer, health_pb2_grpc.add_HealthServicer_to_server
        )

    async def serve(self, full_name: str) -> None:
        """`full_name`, as `weir.policy.v1.PolicyService`, serves from now on."""
        await self.tell(full_name, serving=True)

    async def tell(self, full_name: str, serving: bool) -> None:
        """Whether `full_name` serves; after `drain` it does not, whatever is told."""
        await self._servicer.set(full_name, SERVING if serving else NOT_SERVING)

    async def drain(self) -> None:
        """Nothing serves any more; for good."""
        await self._servicer.enter_graceful_shutdown()
