"""From gRPC's errors to Weir's."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from weir_kit.errors import DeadlineExceeded, Unavailable, WeirError
from weir_kit.metadata import STATUS_DETAILS_KEY, pairs_of
from weir_kit.status import from_rpc_error


@contextmanager
def raising_errors(address: str) -> Iterator[None]:
    """A call's error inside, synchronous or not, becomes the `WeirError` that it carries."""
    try:
        yield
    except grpc.RpcError as error:
        raise _error_of(error, address) from error


def _error_of(error: Any, address: str) -> WeirError:
    trailing = tuple(pairs_of(error.trailing_metadata()))
    if any(key == STATUS_DETAILS_KEY for key, _ in trailing):
        return from_rpc_error(_as_aio(error, trailing))
    match error.code():  # the gateway said nothing: the call never reached it, or never came back
        case grpc.StatusCode.UNAVAILABLE:
            return Unavailable(f"the gateway at {address} cannot be reached")
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return DeadlineExceeded("the deadline passed before the answer came")
    return from_rpc_error(_as_aio(error, trailing))


def _as_aio(error: Any, trailing: tuple[Any, ...]) -> grpc.aio.AioRpcError:
    if isinstance(error, grpc.aio.AioRpcError):
        return error
    return grpc.aio.AioRpcError(
        error.code(), grpc.aio.Metadata(), grpc.aio.Metadata(*trailing), error.details()
    )
