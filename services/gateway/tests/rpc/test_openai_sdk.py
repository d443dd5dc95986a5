"""OpenAI's own SDK, unmodified, against the gateway on a real port."""

from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest

from weir_kit.errors import (
    ContentBlocked,
    DeadlineExceeded,
    InsufficientCredit,
    QueueFull,
    RateLimited,
    Unavailable,
    WeirError,
)

KEY = "weir_sk_test"
TEXT = "Once upon a time."
MESSAGES: Any = [{"role": "user", "content": "tell"}]


@pytest.fixture
async def sdk(gateway: Any) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        base_url=f"{gateway.url}/v1", api_key=KEY, max_retries=0
    ) as client:
        yield client


async def test_a_chat_is_answered_at_once(sdk: openai.AsyncOpenAI, house: Any) -> None:
    answer = await sdk.chat.completions.create(model="tales", messages=MESSAGES)
    assert answer.object == "chat.completion" and answer.model == "tales"
    assert answer.choices[0].message.content == TEXT
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (4, 17)
    assert answer.usage.total_tokens == 21
    assert answer.model_extra is not None
    assert answer.model_extra["weir"]["cost_nanos"] == 21
    assert [usage.output_tokens for usage in house.settled] == [17]


async def test_a_chat_is_streamed(sdk: openai.AsyncOpenAI) -> None:
    stream = await sdk.chat.completions.create(model="tales", messages=MESSAGES, stream=True)
    chunks = [chunk async for chunk in stream]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == TEXT
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert {chunk.id for chunk in chunks} == {chunks[0].id}
    assert all(chunk.usage is None for chunk in chunks)


async def test_the_usage_chunk_is_the_last_and_has_no_choices(
    sdk: openai.AsyncOpenAI, house: Any
) -> None:
    stream = await sdk.chat.completions.create(
        model="tales", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None and chunks[-1].usage.completion_tokens == 17
    assert chunks[-2].choices[0].finish_reason == "stop" and chunks[-2].usage is None
    assert len(house.settled) == 1


async def test_a_prompt_is_completed_at_once_and_streamed(sdk: openai.AsyncOpenAI) -> None:
    answer = await sdk.completions.create(model="tales", prompt="tell", max_tokens=4)
    assert (answer.choices[0].text, answer.choices[0].finish_reason) == ("Once", "length")
    stream = await sdk.completions.create(model="tales", prompt=["tell"], stop=" upon", stream=True)
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].text for chunk in chunks) == "Once"
    assert chunks[-1].choices[0].finish_reason == "stop"


async def test_models_are_listed_and_found(sdk: openai.AsyncOpenAI) -> None:
    ids = [model.id async for model in sdk.models.list()]
    assert ids == sorted(ids) and {"group/rhymes", "tales", "moods"} <= set(ids)
    model = await sdk.models.retrieve("tales")
    assert (model.owned_by, model.created) == ("weir", 1_700_000_000)
    assert (await sdk.models.retrieve("group/rhymes")).id == "group/rhymes"
    with pytest.raises(openai.NotFoundError):
        await sdk.models.retrieve("nosuch")


async def test_sampling_reaches_the_engine(sdk: openai.AsyncOpenAI, house: Any) -> None:
    await sdk.chat.completions.create(
        model="tales",
        messages=[
            {"role": "developer", "content": "be brief"},
            {
                "role": "user",
                "content": [{"type": "text", "text": "te"}, {"type": "text", "text": "ll"}],
            },
        ],
        temperature=0.5,
        top_p=0.25,
        seed=-1,
        max_completion_tokens=9,
        stop=["x", "y"],
        user="someone",
        metadata={"a": "b"},
        extra_body={"top_k": 7, "ignore_eos": True},
    )
    [request] = house.generated
    sampling = request.sampling
    assert (sampling.temperature, sampling.top_p, sampling.top_k) == (0.5, 0.25, 7)
    assert sampling.seed == 2**64 - 1 and sampling.ignore_eos
    assert request.max_output_tokens == 9
    assert list(house.decoder_options[0].stop) == ["x", "y"]
    roles = [(m.role, m.content) for m in house.encoded[0].chat.messages]
    assert roles == [("system", "be brief"), ("user", "tell")]


async def test_a_redacted_prompt_is_what_the_engine_sees(
    sdk: openai.AsyncOpenAI, house: Any
) -> None:
    house.redact_input = "[redacted]"
    answer = await sdk.completions.create(model="tales", prompt="a@b.example")
    assert "".join(map(chr, house.generated[0].prompt_token_ids)) == "[redacted]"
    assert answer.model_extra is not None
    assert answer.model_extra["weir"]["findings"][0]["rule"] == "email"


async def test_a_content_rule_ends_the_text(sdk: openai.AsyncOpenAI, house: Any) -> None:
    house.text = "it went BOOM" + "x" * 300
    answer = await sdk.chat.completions.create(model="tales", messages=MESSAGES)
    assert answer.choices[0].finish_reason == "content_filter"
    assert answer.choices[0].message.content == "it went "
    assert house.engines == 0


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("rpc", "error", "kind", "status", "code"),
    [
        (
            "Reserve",
            InsufficientCredit("no credit"),
            openai.APIStatusError,
            402,
            "insufficient_quota",
        ),
        (
            "Admit",
            RateLimited("slow", retry_after_s=1.2),
            openai.RateLimitError,
            429,
            "rate_limit_exceeded",
        ),
        ("Admit", ContentBlocked("no"), openai.BadRequestError, 400, "content_policy_violation"),
        (
            "Generate",
            QueueFull("full", retry_after_s=0.1),
            openai.InternalServerError,
            503,
            "queue_full",
        ),
        ("Generate", Unavailable("away"), openai.InternalServerError, 503, "unavailable"),
        ("Generate", DeadlineExceeded("late"), openai.InternalServerError, 504, "timeout"),
    ],
)
async def test_errors_have_openai_s_status_and_code(
    sdk: openai.AsyncOpenAI,
    house: Any,
    rpc: str,
    error: WeirError,
    kind: type[openai.APIStatusError],
    status: int,
    code: str,
    stream: bool,
) -> None:
    house.errors[rpc] = error
    with pytest.raises(kind) as caught:
        await sdk.chat.completions.create(model="tales", messages=MESSAGES, stream=stream)
    assert caught.value.status_code == status
    assert caught.value.code == code
    assert caught.value.request_id is not None and caught.value.request_id.startswith("req_")
    wanted = {429: "2", 503: "1"}.get(status)
    assert caught.value.response.headers.get("retry-after") == wanted
    if rpc == "Generate":
        await house.until(lambda: house.released)


async def test_a_wrong_key_is_401_and_an_unknown_model_404(gateway: Any) -> None:
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="weir_sk_no") as client:
        with pytest.raises(openai.AuthenticationError) as unknown_key:
            await client.chat.completions.create(model="tales", messages=MESSAGES)
    assert unknown_key.value.code == "invalid_api_key"
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=KEY) as client:
        with pytest.raises(openai.NotFoundError) as unknown_model:
            await client.chat.completions.create(model="nosuch", messages=MESSAGES)
    assert unknown_model.value.code == "model_not_found"
    assert unknown_model.value.param == "model"


async def test_an_error_before_the_first_text_is_free(sdk: openai.AsyncOpenAI, house: Any) -> None:
    house.errors["DecodeStream"] = Unavailable("away")
    with pytest.raises(openai.InternalServerError):
        await sdk.chat.completions.create(model="tales", messages=MESSAGES)
    with pytest.raises(openai.APIError, match="away"):  # as a status or, once begun, as an event
        stream = await sdk.chat.completions.create(model="tales", messages=MESSAGES, stream=True)
        _ = [chunk async for chunk in stream]
    await house.until(lambda: len(house.released) == 2 and len(house.records) == 2)
    assert house.settled == []
    assert {record.outcome for record in house.records} == {"UNAVAILABLE"}


async def test_an_error_after_the_first_text_ends_the_stream_with_an_error_event(
    sdk: openai.AsyncOpenAI, house: Any
) -> None:
    house.errors["token"], house.fail_at = Unavailable("the engine is gone"), 8
    stream = await sdk.chat.completions.create(model="tales", messages=MESSAGES, stream=True)
    text = ""
    with pytest.raises(openai.APIError, match="the engine is gone"):
        async for chunk in stream:
            text += chunk.choices[0].delta.content or ""
    await house.until(lambda: house.settled or house.released)
    assert TEXT.startswith(text)
    if text:
        [usage] = house.settled
        assert usage.input_tokens == 4 and usage.output_tokens == len(text)


async def test_what_does_not_fit_names_the_field_that_the_client_sent(
    sdk: openai.AsyncOpenAI,
) -> None:
    for field in ("max_tokens", "max_completion_tokens"):
        limit: Any = {field: 600}
        with pytest.raises(openai.BadRequestError) as caught:
            await sdk.chat.completions.create(model="tales", messages=MESSAGES, **limit)
        assert caught.value.param == field
        assert caught.value.code == "context_length_exceeded"
