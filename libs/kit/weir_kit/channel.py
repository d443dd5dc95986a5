"""Channels to other services."""

import json
from typing import Any, Self

import grpc

from weir_kit.outbound import STREAM_S, UNARY_S, Outbound

MESSAGE_BYTES_MAX = 16 * 1024 * 1024
OPTIONS: tuple[tuple[str, int | str], ...] = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.keepalive_time_ms", 15_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.dns_min_time_between_resolutions_ms", 5_000),
)
# A headless Service's name is every replica's address: spread the calls over all of them.
ROUND_ROBIN = json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})


def connect(address: str, *, service_token: str | None = None) -> grpc.aio.Channel:
    """A channel to `host:port`, `dns:///host:port` (every replica behind the name) or `unix:path`.

    Calls get a deadline (30 s, streams 600 s, never beyond the call being served), the trace
    context and the service token. It connects when it is first used, and again within a second.
    """
    options = OPTIONS
    if address.startswith("dns:///"):
        options += (("grpc.service_config", ROUND_ROBIN),)
    return govern(grpc.aio.insecure_channel(address, options=options), service_token=service_token)


def govern(channel: grpc.aio.Channel, *, service_token: str | None = None) -> grpc.aio.Channel:
    """The channel, with all that a call between services carries."""
    return GovernedChannel(channel, Outbound(service_token))


class GovernedChannel(grpc.aio.Channel):
    """A channel whose calls go through `Outbound`."""

    def __init__(self, channel: Any, outbound: Outbound) -> None:
        self._channel = channel
        self._outbound = outbound

    def unary_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        start = self._channel.unary_unary(method, *args, **kwargs)
        return self._outbound.wrap(method, start, UNARY_S)

    def unary_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        start = self._channel.unary_stream(method, *args, **kwargs)
        return self._outbound.wrap(method, start, STREAM_S)

    def stream_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        start = self._channel.stream_unary(method, *args, **kwargs)
        return self._outbound.wrap(method, start, STREAM_S)

    def stream_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        start = self._channel.stream_stream(method, *args, **kwargs)
        return self._outbound.wrap(method, start, STREAM_S)

    async def close(self, grace: float | None = None) -> None:
        await self._channel.close(grace)

    async def __aenter__(self) -> Self:
        await self._channel.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self.close()

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        state: grpc.ChannelConnectivity = self._channel.get_state(try_to_connect)
        return state

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        await self._channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        await self._channel.channel_ready()
