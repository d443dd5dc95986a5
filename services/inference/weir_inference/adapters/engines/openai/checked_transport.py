"""Connections to addresses that were checked, and to no others.

A name is resolved here, all its addresses are checked, and the connection goes to one of *those*:
were the name resolved again, by whoever connects, it could mean another address by then.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable

import httpx

from weir_inference.core.upstream_address import address_fault

ADDRESSES_MAX = 16
TRIES_MAX = 4

Resolve = Callable[[str, int], Awaitable[list[str]]]


class AddressRefused(httpx.TransportError):
    """The host has an address that upstreams may not have. The message says why, for operators."""


async def resolve(host: str, port: int) -> list[str]:
    """The addresses of a host, as the system knows them. Raises `OSError`."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class CheckedTransport(httpx.AsyncBaseTransport):
    """Puts a checked address in the place of each request's host.

    `Host` and TLS go by the name still.
    """

    def __init__(
        self, inner: httpx.AsyncBaseTransport, resolve: Resolve, allow_private: bool
    ) -> None:
        self._inner = inner
        self._resolve = resolve
        self._allow_private = allow_private

    async def addresses(self, host: str, port: int) -> list[str]:
        """The host's addresses, all fit. Raises `AddressRefused`, `httpx.ConnectError`."""
        try:
            found = await self._resolve(host, port)
        except OSError:
            raise httpx.ConnectError(f"the host {host} has no address") from None
        if not 1 <= len(found) <= ADDRESSES_MAX:
            raise httpx.ConnectError(f"the host {host} has {len(found)} addresses")
        for address in found:
            if fault := address_fault(address, self._allow_private):
                raise AddressRefused(f"the host {host} has an address that {fault}")
        return found

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Connect to the first address that answers."""
        url = request.url
        timeout_s = request.extensions["timeout"]["connect"]
        try:
            async with asyncio.timeout(timeout_s):
                found = await self.addresses(url.host, _port(url))
        except TimeoutError:
            raise httpx.ConnectTimeout(f"the host {url.host} was not resolved") from None
        for address in found[:TRIES_MAX]:
            placed = httpx.Request(
                request.method,
                url.copy_with(host=address),
                headers=request.headers,
                stream=request.stream,
                extensions={**request.extensions, "sni_hostname": url.host},
            )
            try:
                return await self._inner.handle_async_request(placed)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue
        raise httpx.ConnectError(f"no address of the host {url.host} answers")

    async def aclose(self) -> None:
        """Close all connections."""
        await self._inner.aclose()


def _port(url: httpx.URL) -> int:
    return url.port or (443 if url.scheme == "https" else 80)
