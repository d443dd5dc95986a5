"""Choices, log-probabilities, echo and grammars as OpenAI's SDK gets and sends them."""

import json
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest

from weir_contracts.inference.v1.inference_pb2 import PRIORITY_LOW, PRIORITY_NORMAL
from weir_kit.errors import InvalidArgument

TEXT = "Once upon a time."
MESSAGES: Any = [{"role": "user", "content": "tell"}]


@pytest.fixture
async def sdk(gateway: Any) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        base_url=f"{gateway.url}/v1", api_key="weir_sk_test", max_retries=0
    ) as client:
        yield client


async def test_a_chat_has_n_choices_and_one_prompt_s_usage(
    sdk: openai.AsyncOpenAI, house: Any
) -> None:
    house.more_texts = ("Long ago.",)
    answer = await sdk.chat.completions.create(model="tales", messages=MESSAGES, n=2)
    assert [choice.message.content for choice in answer.choices] == [TEXT, "Long ago."]
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (4, 17 + 9)
    [reserved] = house.reserved
    assert (reserved.input_tokens, reserved.max_output_tokens) == (4, 2 * 256)
    assert [usage.output_tokens for usage in house.settled] == [17 + 9]


async def test_a_stream_has_n_choices(sdk: openai.AsyncOpenAI, house: Any) -> None:
    house.more_texts = ("Long ago.", "mail me@home")
    stream = await sdk.chat.completions.create(
        model="tales", messages=MESSAGES, n=3, stream=True, max_tokens=10
    )
    texts, finishes, chunks = ["", "", ""], {}, []
    async for chunk in stream:
        chunks.append(chunk)
        [choice] = chunk.choices
        texts[choice.index] += choice.delta.content or ""
        if choice.finish_reason:
            finishes[choice.index] = choice.finish_reason
    assert texts == ["Once upon ", "Long ago.", "mail me*ho"]
    assert finishes == {0: "length", 1: "stop", 2: "length"}
    assert [chunk.choices[0].delta.role for chunk in chunks[:3]] == ["assistant"] * 3
    assert chunks[-1].model_extra is not None
    [finding] = chunks[-1].model_extra["weir"]["findings"]
    assert (finding["rule"], finding["choice"]) == ("at", 2)


async def test_a_chat_s_log_probabilities_have_openai_s_shape(
    sdk: openai.AsyncOpenAI, house: Any
) -> None:
    house.text = "é \ufffd"
    answer = await sdk.chat.completions.create(
        model="tales", messages=MESSAGES, logprobs=True, top_logprobs=2
    )
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None and logprobs.content is not None
    first, blank, part = logprobs.content
    assert (first.token, first.logprob, first.bytes) == ("é", -0.5, [0xC3, 0xA9])
    tops = [(top.token, top.logprob) for top in first.top_logprobs]
    assert tops == [("é", -0.5), ("ê", -1.5)]
    assert blank.token == " "  # which the tokenizer drops at the start of a text
    assert (part.token, part.bytes) == ("\ufffd", None)
    bare = await sdk.chat.completions.create(model="tales", messages=MESSAGES, logprobs=True)
    assert bare.choices[0].logprobs is not None and bare.choices[0].logprobs.content is not None
    assert bare.choices[0].logprobs.content[0].top_logprobs == []
    without = await sdk.chat.completions.create(model="tales", messages=MESSAGES)
    assert without.choices[0].logprobs is None


async def test_a_stream_s_log_probabilities_come_with_the_text(sdk: openai.AsyncOpenAI) -> None:
    stream = await sdk.chat.completions.create(
        model="tales", messages=MESSAGES, logprobs=True, stream=True
    )
    text, told = "", ""
    async for chunk in stream:
        text += chunk.choices[0].delta.content or ""
        logprobs = chunk.choices[0].logprobs
        told += "".join(token.token for token in (logprobs and logprobs.content) or [])
        assert text.startswith(told)
    assert text == told == TEXT


async def test_of_redacted_text_no_log_probability_is_told(
    sdk: openai.AsyncOpenAI, house: Any
) -> None:
    house.text = "mail me@home or not"
    answer = await sdk.chat.completions.create(
        model="tales", messages=MESSAGES, logprobs=True, top_logprobs=5
    )
    assert answer.choices[0].message.content == "mail me*home or not"
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None and logprobs.content is not None
    assert "mail me".startswith("".join(token.token for token in logprobs.content))


async def test_a_harness_gets_the_prompt_s_log_probabilities(
    sdk: openai.AsyncOpenAI, house: Any
) -> None:
    answer = await sdk.completions.create(
        model="tales", prompt=["tell me"], echo=True, max_tokens=1, logprobs=1, temperature=0
    )
    [choice] = answer.choices
    assert choice.text == "tell meO"
    logprobs = choice.logprobs
    assert logprobs is not None and logprobs.token_logprobs is not None
    assert logprobs.tokens == [*"tell meO"]
    assert logprobs.token_logprobs == [None, *[-0.5] * 7]
    assert logprobs.text_offset == [*range(8)]
    assert logprobs.top_logprobs is not None
    assert logprobs.top_logprobs[0] is None and logprobs.top_logprobs[1] == {"e": -0.5}
    assert house.generated[0].sampling.ignore_eos
    assert house.generated[0].prompt_top_logprobs == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_the_prompt_alone_costs_the_prompt(
    sdk: openai.AsyncOpenAI, house: Any, stream: bool
) -> None:
    ask: Any = {"model": "tales", "prompt": "tell", "echo": True, "max_tokens": 0, "logprobs": 0}
    if stream:
        chunks = [chunk async for chunk in await sdk.completions.create(**ask, stream=True)]
        assert "".join(chunk.choices[0].text for chunk in chunks) == "tell"
    else:
        answer = await sdk.completions.create(**ask)
        assert answer.choices[0].text == "tell"
        assert answer.choices[0].logprobs is not None
        assert answer.choices[0].logprobs.top_logprobs == [
            None,
            {"e": -0.5},
            {"l": -0.5},
            {"l": -0.5},
        ]
        assert answer.usage is not None and answer.usage.completion_tokens == 0
    [usage] = house.settled
    assert (usage.input_tokens, usage.output_tokens) == (4, 0)
    await house.until(lambda: house.engines == 0)


async def test_every_way_to_steer_reaches_the_engine(sdk: openai.AsyncOpenAI, house: Any) -> None:
    schema = {"type": "object", "properties": {"name": {"type": "string"}}}
    await sdk.chat.completions.create(
        model="tales",
        messages=MESSAGES,
        presence_penalty=0.5,
        frequency_penalty=-0.5,
        logit_bias={"7": -100, "8": 5},
        response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": schema}},
        extra_body={
            "min_p": 0.25,
            "repetition_penalty": 1.5,
            "stop_token_ids": [3, 4],
            "priority": "low",
        },
    )
    [request] = house.generated
    sampling = request.sampling
    assert (sampling.presence_penalty, sampling.frequency_penalty) == (0.5, -0.5)
    assert (sampling.min_p, sampling.repetition_penalty) == (0.25, 1.5)
    assert dict(sampling.logit_bias) == {7: -100, 8: 5}
    assert list(sampling.stop_token_ids) == [3, 4]
    assert json.loads(sampling.grammar.json_schema) == schema
    assert (request.priority, request.n) == (PRIORITY_LOW, 1)
    assert not request.HasField("top_logprobs") and not request.HasField("prompt_top_logprobs")


@pytest.mark.parametrize("kind", ["regex", "grammar", "choice"])
async def test_vllm_s_structured_outputs_reach_the_engine(
    sdk: openai.AsyncOpenAI, house: Any, kind: str
) -> None:
    given: Any = ["yes", "no"] if kind == "choice" else "a+"
    await sdk.completions.create(
        model="tales", prompt="tell", extra_body={"structured_outputs": {kind: given}}
    )
    grammar = house.generated[0].sampling.grammar
    told = {"regex": grammar.regex, "grammar": grammar.lark, "choice": list(grammar.choices.texts)}
    assert told[kind] == given
    assert house.generated[0].priority == PRIORITY_NORMAL


@pytest.mark.parametrize("field", ["sampling.grammar", "grammar.json_schema"])
async def test_a_grammar_that_the_engine_refuses_is_named_as_the_client_sent_it(
    sdk: openai.AsyncOpenAI, house: Any, field: str
) -> None:
    house.errors["Generate"] = InvalidArgument("no grammar", field=field)
    asks: Any = (
        ("response_format", {"response_format": {"type": "json_object"}}),
        ("structured_outputs", {"extra_body": {"structured_outputs": {"regex": "("}}}),
    )
    for param, ask in asks:
        with pytest.raises(openai.BadRequestError) as caught:
            await sdk.chat.completions.create(model="tales", messages=MESSAGES, **ask)
        assert caught.value.param == param
    await house.until(lambda: len(house.released) == 2)


async def test_whatever_the_engine_refuses_has_the_client_s_name(
    sdk: openai.AsyncOpenAI, house: Any
) -> None:
    names = {
        "prompt_token_ids": "prompt",
        "prompt_top_logprobs": "logprobs",
        "sampling.logit_bias": "logit_bias",
        "max_output_tokens": "max_tokens",
    }
    for field, param in names.items():
        house.errors["Generate"] = InvalidArgument("no", field=field)
        with pytest.raises(openai.BadRequestError) as caught:
            await sdk.completions.create(model="tales", prompt="tell")
        assert caught.value.param == param
    await house.until(lambda: len(house.released) == len(names))


@pytest.mark.parametrize(
    ("param", "ask"),
    [
        ("n", {"n": 17}),
        ("presence_penalty", {"presence_penalty": 3}),
        ("frequency_penalty", {"frequency_penalty": -3}),
        ("min_p", {"extra_body": {"min_p": 2}}),
        ("repetition_penalty", {"extra_body": {"repetition_penalty": 0}}),
        ("stop_token_ids", {"extra_body": {"stop_token_ids": [-1]}}),
        ("logprobs", {"logprobs": 6}),
        ("max_tokens", {"max_tokens": 0, "echo": True, "n": 2}),
        ("structured_outputs", {"extra_body": {"structured_outputs": {"choice": [""]}}}),
    ],
)
async def test_a_wrong_value_is_400_and_named(
    sdk: openai.AsyncOpenAI, house: Any, param: str, ask: dict[str, Any]
) -> None:
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as caught:
            await sdk.completions.create(model="tales", prompt="tell", stream=stream, **ask)
        assert caught.value.param == param
    assert house.reserved == []


async def test_texts_of_tokens_are_asked_for_once(sdk: openai.AsyncOpenAI, house: Any) -> None:
    for _ in range(2):
        await sdk.chat.completions.create(model="tales", messages=MESSAGES, logprobs=True)
    assert house.spelled == 2 * len(set(TEXT))
