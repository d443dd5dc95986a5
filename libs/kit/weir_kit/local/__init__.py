"""The in-process channel: the same stubs call the same servicers without a socket."""

import grpc

from weir_kit.channel import govern
from weir_kit.inbound import Inbound
from weir_kit.local.channel import LocalChannel
from weir_kit.local.server import LocalServer
from weir_kit.service import Servicer

__all__ = ["LocalChannel", "LocalServer", "local_channel"]


def local_channel(*servicers: Servicer, service_token: str | None = None) -> grpc.aio.Channel:
    """A channel to `servicers` in this process, with all that a call between services goes through.

    For tests: with a `service_token` the server asks for it and the channel brings it.
    """
    server = LocalServer(Inbound(service_token))
    for servicer in servicers:
        server.add(servicer)
    return govern(LocalChannel(server), service_token=service_token)
