"""The gRPC server of a process."""

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from grpc_reflection.v1alpha import reflection

from weir_kit.channel import MESSAGE_BYTES_MAX
from weir_kit.health import Health
from weir_kit.inbound import Inbound
from weir_kit.service import Servicer

CONCURRENT_CALLS_MAX = 4096
OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # Channels ping every 15 s, also when idle: the default bound (300 s) would have them sent away.
    # (That is the argument's name in gRPC's core; its C macro alone says `min_recv_ping`.)
    ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
    # Clients come back from time to time, and so find new replicas; running streams get their time.
    ("grpc.max_connection_age_ms", 600_000),
    ("grpc.max_connection_age_grace_ms", 660_000),
    # Two processes on one port would each get half of the calls, in silence.
    ("grpc.so_reuseport", 0),
)


class InboundInterceptor(grpc.aio.ServerInterceptor):
    """Puts `Inbound` around every handler."""

    def __init__(self, inbound: Inbound) -> None:
        self._inbound = inbound

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler = await continuation(handler_call_details)
        return None if handler is None else self._inbound.wrap(handler_call_details.method, handler)


class GrpcServer:
    """Serves servicers on a port with health and reflection.

    `add` every servicer, then `start`; `drain` in the end.
    """

    def __init__(self, inbound: Inbound, health: Health | None = None) -> None:
        self._server = grpc.aio.server(
            interceptors=(InboundInterceptor(inbound),),
            options=OPTIONS,
            maximum_concurrent_rpcs=CONCURRENT_CALLS_MAX,
        )
        self._health = health or Health()
        self._full_names: list[str] = []
        self.add(self._health.servicer)

    def add(self, servicer: Servicer) -> None:
        """Serve it from `start` on."""
        servicer.add(servicer.implementation, self._server)
        self._full_names.append(servicer.full_name)

    async def start(self, listen: str) -> str:
        """Serve on `host:port` (port 0: any that is free) or `unix:path`; returns the address.

        Raises OSError if the address cannot be had.
        """
        reflection.enable_server_reflection(
            (*self._full_names, reflection.SERVICE_NAME), self._server
        )
        try:
            port = self._server.add_insecure_port(listen)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {listen}") from error
        for full_name in self._full_names:
            await self._health.serve(full_name)
        await self._server.start()
        return listen if listen.startswith("unix:") else f"{listen.rpartition(':')[0]}:{port}"

    async def drain(self, grace_s: float) -> None:
        """Say NOT_SERVING, take no new calls, give those that run `grace_s`, then cancel them."""
        await self._health.drain()
        await self._server.stop(grace_s)
