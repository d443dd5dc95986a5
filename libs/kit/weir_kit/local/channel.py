"""The channel in process: generated stubs take it for grpc.aio's."""

from collections.abc import Callable
from typing import Any, Self

import grpc

from weir_kit.local.call import Code, LocalCall
from weir_kit.local.rpc import LocalRpc
from weir_kit.local.server import LocalServer


class LocalChannel(grpc.aio.Channel):
    """Calls to a `LocalServer` on the same event loop, without a socket."""

    def __init__(self, server: LocalServer) -> None:
        self._server = server
        self._running: set[LocalRpc] = set()
        self._closed = False

    def unary_unary(
        self,
        method: str,
        request_serializer: Code = None,
        response_deserializer: Code = None,
        _registered_method: bool = False,
    ) -> Any:
        return self._unary_request(method, request_serializer, response_deserializer)

    def unary_stream(
        self,
        method: str,
        request_serializer: Code = None,
        response_deserializer: Code = None,
        _registered_method: bool = False,
    ) -> Any:
        return self._unary_request(method, request_serializer, response_deserializer)

    def stream_unary(
        self,
        method: str,
        request_serializer: Code = None,
        response_deserializer: Code = None,
        _registered_method: bool = False,
    ) -> Any:
        return self._stream_request(method, request_serializer, response_deserializer)

    def stream_stream(
        self,
        method: str,
        request_serializer: Code = None,
        response_deserializer: Code = None,
        _registered_method: bool = False,
    ) -> Any:
        return self._stream_request(method, request_serializer, response_deserializer)

    async def close(self, grace: float | None = None) -> None:
        """Take no new calls and cancel those that run; in process there is nothing to wait for."""
        self._closed = True
        for rpc in tuple(self._running):
            rpc.cancel("Channel closed!")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        closed, ready = grpc.ChannelConnectivity.SHUTDOWN, grpc.ChannelConnectivity.READY
        return closed if self._closed else ready

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        if last_observed_state is self.get_state():
            raise grpc.aio.UsageError("a local channel does not change its state")

    async def channel_ready(self) -> None:
        """It always is."""

    def _unary_request(self, method: str, serialize: Code, parse: Code) -> Callable[..., LocalCall]:
        def call(
            request: Any, *, timeout: float | None = None, metadata: Any = None, **_: Any
        ) -> LocalCall:
            call = LocalCall(self._start(method, timeout, metadata), serialize, parse)
            call.send_only(request)
            return call

        return call

    def _stream_request(
        self, method: str, serialize: Code, parse: Code
    ) -> Callable[..., LocalCall]:
        def call(
            request_iterator: Any = None,
            timeout: float | None = None,
            metadata: Any = None,
            **_: Any,
        ) -> LocalCall:
            call = LocalCall(self._start(method, timeout, metadata), serialize, parse)
            if request_iterator is not None:
                call.send_all(request_iterator)
            return call

        return call

    def _start(self, method: str, timeout_s: float | None, metadata: Any) -> LocalRpc:
        if self._closed:
            raise grpc.aio.UsageError("Channel is closed.")
        rpc = self._server.start_call(method, tuple(metadata or ()), timeout_s)
        self._running.add(rpc)
        rpc.on_end(lambda: self._running.discard(rpc))
        return rpc
