"""The `weir` SDK over gRPC: the same request path by another door."""

from typing import Any

import pytest

import weir
from weir import errors

TEXT = "Once upon a time, there was a little river."
CHAT = [weir.Message("user", TEXT)]


def test_a_stream_gives_text_and_then_its_usage_and_cost(stack: Any) -> None:
    with weir.Client(stack.grpc_address, stack.api_key) as client:
        with client.stream(stack.model, CHAT, max_output_tokens=24) as stream:
            pieces = list(stream)
        result = stream.result
        counted = client.count_tokens(stack.model, CHAT)
    assert "".join(pieces) == result.text and len(pieces) > 1
    assert result.usage.input_tokens == counted
    assert result.cost_nanos == counted * 500 + result.usage.output_tokens * 1500
    assert result.request_id == stream.request_id


async def test_the_asynchronous_client_answers_the_same(stack: Any) -> None:
    async with weir.AsyncClient(stack.grpc_address, stack.api_key) as client:
        whole = await client.generate(stack.model, TEXT, max_output_tokens=12, temperature=0)
        async with client.stream(stack.model, TEXT, max_output_tokens=12, temperature=0) as stream:
            pieces = [text async for text in stream]
        assert "".join(pieces) == whole.text
        assert stack.model in [model.name for model in await client.models()]


async def test_both_doors_lead_to_the_same_text(stack: Any) -> None:
    answer = stack.openai().chat.completions.create(**stack.body(TEXT, temperature=0))
    async with weir.AsyncClient(stack.grpc_address, stack.api_key) as client:
        whole = await client.generate(stack.model, CHAT, max_output_tokens=24, temperature=0)
    assert whole.text == answer.choices[0].message.content


async def test_errors_are_types(stack: Any) -> None:
    async with weir.AsyncClient(stack.grpc_address, "weir_sk_wrong") as client:
        with pytest.raises(errors.InvalidApiKey):
            await client.generate(stack.model, TEXT)
    async with weir.AsyncClient(stack.grpc_address, stack.api_key) as client:
        with pytest.raises(errors.ModelNotFound):
            await client.generate("gpt-4o", TEXT)
        with pytest.raises(errors.InvalidArgument) as caught:
            await client.generate(stack.model, TEXT, temperature=3.0)
    assert caught.value.field == "spec.sampling.temperature"


async def test_the_same_request_id_is_charged_once(stack: Any, until: Any) -> None:
    async with weir.AsyncClient(stack.grpc_address, stack.api_key) as client:
        first = await client.generate(
            stack.model, TEXT, max_output_tokens=8, request_id=f"mine-{stack.process.pid}"
        )
        with pytest.raises(errors.Conflict):
            await client.generate(
                stack.model, TEXT, max_output_tokens=8, request_id=first.request_id
            )
    assert await stack.charge_of(first.request_id) == first.cost_nanos


async def test_leaving_a_stream_early_frees_the_engine(stack: Any, until: Any) -> None:
    async with (
        weir.AsyncClient(stack.grpc_address, stack.api_key) as client,
        client.stream(stack.model, CHAT, max_output_tokens=300) as stream,
    ):
        async for _ in stream:
            break
    await until(stack.idle, "KV blocks in use return to zero")

    async def charged() -> int | None:
        return await stack.charge_of(stream.request_id)

    charge = await until(charged, "the hold is settled")
    tokens = await stack.count_tokens(TEXT)
    # A token counts once all of its text was released: of the first piece that may be none.
    assert tokens * 500 <= charge < tokens * 500 + 300 * 1500
