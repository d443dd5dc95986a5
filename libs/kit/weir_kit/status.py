"""Weir's errors as gRPC statuses, and back (AIP-193)."""

from collections.abc import Iterator
from contextlib import contextmanager

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from weir_kit.errors import (
    BY_REASON,
    AlreadyExists,
    Conflict,
    DeadlineExceeded,
    Internal,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
    WeirError,
    wire_of,
)
from weir_kit.metadata import STATUS_DETAILS_KEY, pairs_of

DOMAIN = "weir"
MESSAGE_CHARS_MAX = 1000  # trailers are small: HTTP/2 peers refuse headers above 8 KiB

# Which error a bare status is, when it carries no ErrorInfo of ours.
BY_CODE: dict[grpc.StatusCode, type[WeirError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgument,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExists,
    grpc.StatusCode.FAILED_PRECONDITION: Conflict,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Unavailable,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.CANCELLED: Unavailable,
}


def code_of(error: WeirError) -> grpc.StatusCode:
    """The error's gRPC status code."""
    return grpc.StatusCode[wire_of(error).status]


def to_status(error: WeirError) -> status_pb2.Status:
    """The error as a Status with ErrorInfo, and with RetryInfo and BadRequest where they apply."""
    wire = wire_of(error)
    status = status_pb2.Status(
        code=grpc.StatusCode[wire.status].value[0], message=error.message[:MESSAGE_CHARS_MAX]
    )
    info = error_details_pb2.ErrorInfo(reason=wire.reason, domain=DOMAIN, metadata=error.details)
    status.details.add().Pack(info)
    if error.retry_after_s is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromNanoseconds(round(error.retry_after_s * 1e9))
        status.details.add().Pack(retry)
    if error.field is not None:
        bad_request = error_details_pb2.BadRequest()
        bad_request.field_violations.add(field=error.field, description=status.message)
        status.details.add().Pack(bad_request)
    return status


def from_rpc_error(error: grpc.RpcError) -> WeirError:
    """The WeirError that a call's error carries: by ErrorInfo's reason, else by its status code."""
    assert isinstance(error, grpc.aio.AioRpcError)
    for name, value in pairs_of(error.trailing_metadata()):
        if name == STATUS_DETAILS_KEY and isinstance(value, bytes):
            found = _from_details(value)
            if found is not None:
                return found
    # Not the status's own details: they name addresses and other things of the inside.
    return BY_CODE.get(error.code(), Internal)(
        f"a service that this needs answered {error.code().name}"
    )


@contextmanager
def raising_weir_errors() -> Iterator[None]:
    """A call's AioRpcError inside becomes the WeirError that it carries."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from error


def _from_details(raw: bytes) -> WeirError | None:
    try:
        status = status_pb2.Status.FromString(raw)
    except DecodeError:
        return None
    kind: type[WeirError] | None = None
    details: dict[str, str] = {}
    retry_after_s: float | None = None
    field: str | None = None
    for detail in status.details:
        info = error_details_pb2.ErrorInfo()
        retry = error_details_pb2.RetryInfo()
        bad_request = error_details_pb2.BadRequest()
        if detail.Unpack(info) and info.domain == DOMAIN:
            kind, details = BY_REASON.get(info.reason), dict(info.metadata)
        elif detail.Unpack(retry):
            retry_after_s = retry.retry_delay.ToNanoseconds() / 1e9
        elif detail.Unpack(bad_request) and bad_request.field_violations:
            field = bad_request.field_violations[0].field
    if kind is None:
        return None
    return kind(status.message, field=field, retry_after_s=retry_after_s, details=details)
