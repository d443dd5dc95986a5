"""What a handler sees of a call in process: grpc.aio's ServicerContext."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn, Self, TypeAlias

import grpc

from weir_kit.local.pipe import PipeClosed
from weir_kit.local.rpc import MESSAGE_BYTES_MAX, LocalRpc, Pairs

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


class LocalContext(grpc.aio.ServicerContext[Any, Any]):
    """Also the iterator of the call's requests, which stream handlers are given."""

    def __init__(self, rpc: LocalRpc, handler: Handler) -> None:
        self._rpc = rpc
        self._parse = handler.request_deserializer
        self._serialize = handler.response_serializer
        self._code: grpc.StatusCode | None = None
        self._details = ""
        self._trailing: Pairs = ()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        message = await self.read()
        if message is grpc.aio.EOF:
            raise StopAsyncIteration
        return message

    async def read(self) -> Any:
        raw = await self._rpc.requests.get()
        if raw is None:
            return grpc.aio.EOF
        return self._parse(raw) if self._parse is not None else raw

    async def write(self, message: Any) -> None:
        raw: bytes = self._serialize(message) if self._serialize is not None else message
        if len(raw) > MESSAGE_BYTES_MAX:
            await self.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"Sent message larger than max ({len(raw)} vs. {MESSAGE_BYTES_MAX})",
            )
        self._rpc.begin()
        try:
            await self._rpc.responses.put(raw)
        except PipeClosed:
            raise grpc.aio.UsageError("RPC already finished.") from None

    async def send_initial_metadata(self, initial_metadata: Any) -> None:
        if self._rpc.initial is not None:
            raise grpc.aio.UsageError("Send initial metadata failed: already sent")
        self._rpc.begin(tuple(initial_metadata))

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailing_metadata: Any = ()
    ) -> NoReturn:
        self._code, self._details = code, details or self._details
        self._trailing = tuple(trailing_metadata) or self._trailing
        self.finish()
        raise grpc.aio.AbortError("Locally aborted.")

    async def abort_with_status(self, status: grpc.Status) -> NoReturn:
        await self.abort(status.code, status.details or "", status.trailing_metadata or ())

    def finish(self) -> None:
        """The handler is done: end the call with what it set."""
        self._rpc.finish(self._code or grpc.StatusCode.OK, self._details, self._trailing)

    def set_trailing_metadata(self, trailing_metadata: Any) -> None:
        self._trailing = tuple(trailing_metadata)

    def set_code(self, code: grpc.StatusCode) -> None:
        self._code = code

    def set_details(self, details: str) -> None:
        self._details = details

    def invocation_metadata(self) -> Any:
        return self._rpc.metadata

    def trailing_metadata(self) -> Any:
        return self._trailing

    def code(self) -> Any:
        return self._code

    def details(self) -> str:
        return self._details

    def time_remaining(self) -> Any:
        return self._rpc.time_remaining()

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        self._rpc.on_end(lambda: callback(self))

    def cancelled(self) -> bool:
        return self._rpc.code is grpc.StatusCode.CANCELLED

    def done(self) -> bool:
        return self._rpc.done

    def set_compression(self, compression: grpc.Compression) -> None:
        """Nothing is compressed in process."""

    def disable_next_message_compression(self) -> None:
        """Nothing is compressed in process."""

    def peer(self) -> str:
        return "local:"

    def peer_identities(self) -> Iterable[bytes] | None:
        return None

    def peer_identity_key(self) -> str | None:
        return None

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        return {}
