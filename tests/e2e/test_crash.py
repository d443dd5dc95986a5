"""`kill -9` of the inference process in the middle of a stream."""

import os
import signal
import time
from typing import Any

import grpc
import openai
import pytest

from weir_contracts.common.v1 import chat_pb2
from weir_contracts.gateway.v1 import generation_pb2, generation_pb2_grpc

PROMPT = "There was once a king who had three sons."
BACK_TIMEOUT_S = 60


async def answers_again(stack: Any) -> bool:
    try:
        stack.openai().chat.completions.create(**stack.body("Are you there?", max_tokens=2))
    except openai.APIStatusError as error:
        assert error.status_code == 503, error
        return False
    return True


async def test_a_stream_over_http_ends_with_an_error_and_inference_comes_back(
    stack: Any, until: Any
) -> None:
    stream = stack.openai().chat.completions.create(
        **stack.body(PROMPT, max_tokens=400), stream=True
    )
    request_id, killed = "", stack.pid("inference")
    with pytest.raises(openai.APIError) as caught:
        for chunk in stream:
            if not request_id and chunk.choices[0].delta.content:
                request_id = chunk.id
                os.kill(killed, signal.SIGKILL)
                killed_at_s = time.monotonic()
    assert time.monotonic() - killed_at_s < 2
    assert caught.value.code == "unavailable"

    async def closed() -> bool:
        return await stack.charge_of(request_id) is not None

    await until(closed, "the hold is settled or released")
    await until(lambda: answers_again(stack), "inference is back", BACK_TIMEOUT_S)
    assert stack.pid("inference") != killed
    assert stack.weir_json("billing", "verify")["ok"]


async def test_a_stream_over_grpc_ends_with_unavailable(stack: Any, until: Any) -> None:
    spec = generation_pb2.GenerationSpec(
        model=stack.model,
        chat=chat_pb2.Chat(messages=[chat_pb2.ChatMessage(role="user", content=PROMPT)]),
        max_output_tokens=400,
    )
    request_id, texts = "", 0
    async with grpc.aio.insecure_channel(stack.grpc_address) as channel:
        call = generation_pb2_grpc.GenerationServiceStub(channel).StreamGenerate(
            generation_pb2.StreamGenerateRequest(spec=spec),
            metadata=(("authorization", f"Bearer {stack.api_key}"),),
        )
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for event in call:
                request_id = request_id or event.started.request_id
                if event.WhichOneof("event") == "delta":
                    texts += 1
                    if texts == 1:
                        os.kill(stack.pid("inference"), signal.SIGKILL)
                        killed_at_s = time.monotonic()
    assert time.monotonic() - killed_at_s < 2
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    record = await until(lambda: stack.audit_record(request_id), "the audit record is written")
    assert record.record.outcome == "UNAVAILABLE"
    # An error of ours: the prompt and what was released, or nothing if nothing was.
    charge = await stack.charge_of(request_id)
    used = record.record.usage
    assert charge == used.input_tokens * 500 + used.output_tokens * 1500
    await until(lambda: answers_again(stack), "inference is back", BACK_TIMEOUT_S)
