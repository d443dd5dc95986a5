"""Channels to the other services: in this process if they are here, else over the wire."""

from collections.abc import Collection, Mapping

import grpc

from weir_kit.channel import connect
from weir_kit.config import ConfigError


class HostPeers:
    """The `Peers` of a process: `local` is the channel to the services `here`."""

    def __init__(
        self,
        here: Collection[str],
        local: grpc.aio.Channel,
        addresses: Mapping[str, str],
        service_token: str,
    ) -> None:
        self._here = here
        self._local = local
        self._addresses = addresses
        self._token = service_token
        self._connected: dict[str, grpc.aio.Channel] = {}

    def channel(self, service: str) -> grpc.aio.Channel:
        """The channel to a service. Raises ConfigError if its address is not known."""
        if service in self._here:
            return self._local
        if service not in self._connected:
            address = self._addresses.get(service, "")
            if not address:
                variable = f"WEIR_{service.upper()}_ADDRESS"
                raise ConfigError(
                    f"{variable} is not set: the address (host:port) of the {service} service, "
                    "which is not in this process"
                )
            self._connected[service] = connect(address, service_token=self._token)
        return self._connected[service]

    async def close(self) -> None:
        """Close what was connected, and the local channel."""
        for channel in (*self._connected.values(), self._local):
            await channel.close()
