"""What a handler raises is what the caller gets, and nothing more."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from google.rpc import error_details_pb2, status_pb2

from weir_kit.errors import ContextLengthExceeded, Internal, QueueFull
from weir_kit.metadata import STATUS_DETAILS_KEY, value_of
from weir_kit.status import from_rpc_error, raising_weir_errors

CANARY = "4111-1111-1111-1111"
ARITIES = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")


async def outcome(stub: Any, arity: str) -> grpc.aio.AioRpcError:
    """The error that a call of that arity ends with."""
    request = iter(()) if arity.startswith("stream") else StringValue()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        call = getattr(stub, arity)(request)
        if arity.endswith("stream"):
            async for _ in call:
                pass
        else:
            await call
    return caught.value


def failing(arity: str, error: BaseException) -> dict[str, Any]:
    """A handler of that arity that raises."""

    async def unary(request: Any, context: Any) -> StringValue:
        raise error

    async def stream(request: Any, context: Any) -> AsyncIterator[StringValue]:
        yield StringValue(value="one")
        raise error

    return {arity: stream if arity.endswith("stream") else unary}


@pytest.mark.parametrize("arity", ARITIES)
async def test_a_weir_error_arrives_whole(serve: Any, arity: str) -> None:
    raised = QueueFull("try later", retry_after_s=1.5, field="model", details={"queue": "256"})
    error = await outcome(await serve(**failing(arity, raised)), arity)
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert error.details() == "try later"
    got = from_rpc_error(error)
    assert type(got) is QueueFull
    assert (got.message, got.retry_after_s, got.field) == ("try later", 1.5, "model")
    assert got.details == {"queue": "256"}


async def test_the_details_are_those_of_aip_193(serve: Any) -> None:
    raised = ContextLengthExceeded("too long", field="max_output_tokens", retry_after_s=2.0)
    error = await outcome(await serve(**failing("unary_unary", raised)), "unary_unary")
    metadata = error.trailing_metadata()
    assert metadata is not None
    raw = metadata[STATUS_DETAILS_KEY]
    assert isinstance(raw, bytes)
    status = status_pb2.Status.FromString(raw)
    info, retry, bad = (
        error_details_pb2.ErrorInfo(),
        error_details_pb2.RetryInfo(),
        error_details_pb2.BadRequest(),
    )
    for detail, found in zip(status.details, (info, retry, bad), strict=True):
        assert detail.Unpack(found)
    assert (status.code, status.message) == (3, "too long")
    assert (info.domain, info.reason) == ("weir", "CONTEXT_LENGTH_EXCEEDED")
    assert retry.retry_delay.seconds == 2
    assert bad.field_violations[0].field == "max_output_tokens"


async def test_a_call_can_be_made_to_raise_weir_errors(serve: Any) -> None:
    stub = await serve(**failing("unary_unary", QueueFull("full", retry_after_s=1)))
    with pytest.raises(QueueFull, match="full"), raising_weir_errors():
        await stub.unary_unary(StringValue())


@pytest.mark.parametrize("arity", ARITIES)
async def test_an_unknown_exception_tells_nothing(
    serve: Any, arity: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        error = await outcome(await serve(**failing(arity, ValueError(CANARY))), arity)
    assert error.code() is grpc.StatusCode.INTERNAL
    assert type(from_rpc_error(error)) is Internal
    assert CANARY not in f"{error!r} {error.trailing_metadata()} {caplog.text}"
    assert "ValueError" in caplog.text
    assert "test_errors.py" in caplog.text  # where, for those who mend it


async def test_messages_sent_before_the_error_arrive_first(serve: Any) -> None:
    stub = await serve(**failing("unary_stream", QueueFull("full")))
    call = stub.unary_stream(StringValue())
    assert (await call.read()).value == "one"
    with pytest.raises(grpc.aio.AioRpcError):
        await call.read()
    assert await call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_handler_may_abort(serve: Any) -> None:
    async def handler(request: StringValue, context: Any) -> StringValue:
        await context.abort(grpc.StatusCode.DATA_LOSS, "gone", (("why", "moths"),))

    error = await outcome(await serve(unary_unary=handler), "unary_unary")
    assert (error.code(), error.details()) == (grpc.StatusCode.DATA_LOSS, "gone")
    assert value_of(error.trailing_metadata(), "why") == "moths"


async def test_a_handler_may_set_its_status(serve: Any) -> None:
    async def handler(request: StringValue, context: Any) -> StringValue:
        context.set_code(grpc.StatusCode.ABORTED)
        context.set_details("as set")
        return StringValue()

    error = await outcome(await serve(unary_unary=handler), "unary_unary")
    assert (error.code(), error.details()) == (grpc.StatusCode.ABORTED, "as set")


async def test_trailing_metadata_stays_beside_the_error(serve: Any) -> None:
    async def handler(request: StringValue, context: Any) -> StringValue:
        context.set_trailing_metadata((("limit", "60"),))
        raise QueueFull("full")

    error = await outcome(await serve(unary_unary=handler), "unary_unary")
    assert value_of(error.trailing_metadata(), "limit") == "60"
    assert type(from_rpc_error(error)) is QueueFull


@pytest.mark.parametrize("arity", ARITIES)
async def test_an_unknown_method_is_unimplemented(serve: Any, arity: str) -> None:
    error = await outcome(await serve(), arity)
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("token", [None, "", "wrong", "the-service-toke"])
@pytest.mark.parametrize("arity", ARITIES)
async def test_a_call_without_the_service_token_is_refused(
    serve: Any, arity: str, token: str | None
) -> None:
    reached = asyncio.Event()

    async def unary(request: Any, context: Any) -> StringValue:
        reached.set()
        return StringValue()

    async def stream(request: Any, context: Any) -> AsyncIterator[StringValue]:
        reached.set()
        yield StringValue()

    handler = stream if arity.endswith("stream") else unary
    error = await outcome(await serve(client_token=token, **{arity: handler}), arity)
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    assert not reached.is_set()


async def test_the_public_api_needs_no_service_token(serve: Any) -> None:
    async def handler(request: StringValue, context: Any) -> StringValue:
        return request

    name = "weir.gateway.v1.GenerationService"
    stub = await serve(client_token=None, full_name=name, unary_unary=handler)
    assert (await stub.unary_unary(StringValue(value="a"))).value == "a"


@pytest.mark.parametrize("hosted", ["gateway", "inference"])
async def test_the_open_protocol_needs_no_service_token_at_the_gateway_alone(
    serve: Any, hosted: str
) -> None:
    async def handler(request: StringValue, context: Any) -> StringValue:
        return request

    name = "inference.GRPCInferenceService"
    stub = await serve(client_token=None, hosted=[hosted], full_name=name, unary_unary=handler)
    if hosted == "gateway":
        assert (await stub.unary_unary(StringValue(value="a"))).value == "a"
    else:
        assert (await outcome(stub, "unary_unary")).code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_service_of_like_name_is_not_the_public_api(serve: Any) -> None:
    async def handler(request: StringValue, context: Any) -> StringValue:
        return request

    name = "weir.gateway.v10.GenerationService"
    stub = await serve(client_token=None, full_name=name, unary_unary=handler)
    assert (await outcome(stub, "unary_unary")).code() is grpc.StatusCode.UNAUTHENTICATED
