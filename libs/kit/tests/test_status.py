"""Every error of the table crosses the wire and comes back as itself."""

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from weir_kit.errors import (
    BY_REASON,
    WIRES,
    Conflict,
    Internal,
    InvalidArgument,
    QueueFull,
    Unavailable,
    WeirError,
    wire_of,
)
from weir_kit.metadata import STATUS_DETAILS_KEY
from weir_kit.status import code_of, from_rpc_error, raising_weir_errors, to_status


def over_the_wire(error: WeirError) -> grpc.aio.AioRpcError:
    status = to_status(error)
    trailing = grpc.aio.Metadata((STATUS_DETAILS_KEY, status.SerializeToString()))
    return grpc.aio.AioRpcError(code_of(error), None, trailing, details=status.message)


@pytest.mark.parametrize("kind", WIRES, ids=lambda kind: kind.__name__)
def test_an_error_comes_back_as_itself(kind: type[WeirError]) -> None:
    sent = kind("what", field="a.b", retry_after_s=0.25, details={"limit": "60"})
    got = from_rpc_error(over_the_wire(sent))
    assert type(got) is kind
    assert (got.message, got.field, got.retry_after_s) == ("what", "a.b", 0.25)
    assert got.details == {"limit": "60"}
    assert code_of(sent).name == WIRES[kind].status


@pytest.mark.parametrize("kind", WIRES, ids=lambda kind: kind.__name__)
def test_what_is_not_set_stays_unset(kind: type[WeirError]) -> None:
    got = from_rpc_error(over_the_wire(kind("what")))
    assert (got.field, got.retry_after_s, got.details) == (None, None, {})


def test_no_two_errors_share_a_reason() -> None:
    assert len(BY_REASON) == len(WIRES)


def test_a_subclass_without_a_row_has_its_parents() -> None:
    class StillFull(QueueFull):
        """One more."""

    assert wire_of(StillFull("x")).reason == "QUEUE_FULL"
    assert type(from_rpc_error(over_the_wire(StillFull("x")))) is QueueFull


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, InvalidArgument),
        (grpc.StatusCode.FAILED_PRECONDITION, Conflict),
        (grpc.StatusCode.UNAVAILABLE, Unavailable),
        (grpc.StatusCode.UNKNOWN, Internal),
        (grpc.StatusCode.UNIMPLEMENTED, Internal),
    ],
)
def test_a_bare_status_is_read_by_its_code(code: grpc.StatusCode, kind: type[WeirError]) -> None:
    bare = grpc.aio.AioRpcError(code, None, None, details="connect to 10.0.0.7:8080 failed")
    got = from_rpc_error(bare)
    assert type(got) is kind
    assert "10.0.0.7" not in got.message


@pytest.mark.parametrize("raw", [b"\xff\xff", status_pb2.Status(code=5).SerializeToString()])
def test_details_that_are_not_ours_are_left_alone(raw: bytes) -> None:
    trailing = grpc.aio.Metadata((STATUS_DETAILS_KEY, raw))
    error = grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, None, trailing)
    assert type(from_rpc_error(error)) is Unavailable


def test_a_reason_of_another_domain_is_not_ours() -> None:
    status = status_pb2.Status(code=14)
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason="QUEUE_FULL", domain="other"))
    trailing = grpc.aio.Metadata((STATUS_DETAILS_KEY, status.SerializeToString()))
    error = grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, None, trailing)
    assert type(from_rpc_error(error)) is Unavailable


def test_a_long_message_is_cut_to_fit_a_trailer() -> None:
    assert len(to_status(Internal("x" * 100_000)).message) == 1000


def test_other_errors_pass_through() -> None:
    with pytest.raises(KeyError), raising_weir_errors():
        raise KeyError("x")
