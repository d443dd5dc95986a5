"""What a body may ask for: wrong and unsupported fields are named, benign ones passed over."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weir_gateway.core.call import Message
from weir_gateway.core.sampling import Grammar, GrammarKind
from weir_gateway.rpc.openai.chat import ChatShape
from weir_gateway.rpc.openai.completions import CompletionShape
from weir_gateway.rpc.openai.fields import Fields
from weir_kit.errors import InvalidArgument

CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
PROMPT: dict[str, Any] = {"model": "m", "prompt": "x"}


JSON_OBJECT: dict[str, Any] = {"response_format": {"type": "json_object"}}


def json_schema(given: dict[str, Any]) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": given}}


def structured(**fields: Any) -> dict[str, Any]:
    return {"structured_outputs": fields}


def message(**fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "x", **fields}]}


@pytest.mark.parametrize(
    ("param", "changes"),
    [
        ("n", {"n": 0}),
        ("n", {"n": 17}),
        ("n", {"n": True}),
        ("tools", {"tools": [{"type": "function"}]}),
        ("tool_choice", {"tool_choice": "required"}),
        ("functions", {"functions": [{}]}),
        ("logprobs", {"logprobs": 3}),
        ("top_logprobs", {"top_logprobs": 3}),
        ("top_logprobs", {"logprobs": True, "top_logprobs": 21}),
        ("echo", {"echo": True}),
        ("response_format", {"response_format": "json_object"}),
        ("response_format.type", {"response_format": {"type": "yaml"}}),
        ("response_format.x", {"response_format": {"type": "text", "x": 1}}),
        ("response_format.json_schema", {"response_format": {"type": "json_schema"}}),
        ("response_format.json_schema.schema", json_schema({"name": "n"})),
        ("response_format.json_schema.x", json_schema({"schema": {}, "x": 1})),
        ("structured_outputs", {"structured_outputs": {}}),
        ("structured_outputs", {"structured_outputs": {"regex": "a", "grammar": "b"}}),
        ("structured_outputs.json", {"structured_outputs": {"json": 5}}),
        ("structured_outputs.choice", {"structured_outputs": {"choice": ["a", 1]}}),
        ("structured_outputs.x", {"structured_outputs": {"regex": "a", "x": 1}}),
        ("structured_outputs", {**JSON_OBJECT, "structured_outputs": {"regex": "a"}}),
        ("guided_json", {"guided_json": {}}),
        ("logit_bias", {"logit_bias": [1]}),
        ("logit_bias", {"logit_bias": {"one": 5}}),
        ("logit_bias", {"logit_bias": {"1": 101}}),
        ("logit_bias", {"logit_bias": {"1": True}}),
        ("frequency_penalty", {"frequency_penalty": "much"}),
        ("presence_penalty", {"presence_penalty": True}),
        ("min_p", {"min_p": []}),
        ("repetition_penalty", {"repetition_penalty": {}}),
        ("stop_token_ids", {"stop_token_ids": 5}),
        ("stop_token_ids", {"stop_token_ids": ["a"]}),
        ("priority", {"priority": "urgent"}),
        ("priority", {"priority": 1}),
        ("modalities", {"modalities": ["audio"]}),
        ("reasoning_effort", {"reasoning_effort": "high"}),
        ("nonsense", {"nonsense": 1}),
        ("model", {"model": 5}),
        ("stream", {"stream": "yes"}),
        ("stream_options", {"stream_options": {"include_usage": True}}),
        ("stream_options", {"stream": True, "stream_options": []}),
        ("stream_options.x", {"stream": True, "stream_options": {"x": 1}}),
        ("stream_options.include_usage", {"stream": True, "stream_options": {"include_usage": 1}}),
        ("max_tokens", {"max_tokens": 0}),
        ("max_tokens", {"max_tokens": 1.5}),
        ("max_tokens", {"max_tokens": True}),
        ("max_tokens", {"max_tokens": 10**30}),
        ("max_tokens", {"max_tokens": 5, "max_completion_tokens": 5}),
        ("max_completion_tokens", {"max_completion_tokens": -1}),
        ("temperature", {"temperature": "hot"}),
        ("temperature", {"temperature": 10**400}),
        ("top_p", {"top_p": True}),
        ("top_k", {"top_k": -1}),
        ("seed", {"seed": 2**64}),
        ("seed", {"seed": -(2**63) - 1}),
        ("stop", {"stop": 5}),
        ("stop", {"stop": ["a", None]}),
        ("stop", {"stop": ["\udc00"]}),
        ("ignore_eos", {"ignore_eos": "x"}),
        ("messages", {"messages": None}),
        ("messages", {"messages": []}),
        ("messages", {"messages": "hello"}),
        ("messages[0]", {"messages": ["hello"]}),
        ("messages[0].role", {"messages": [{"content": "x"}]}),
        ("messages[0].role", message(role=5)),
        ("messages[0].content", message(content=None)),
        ("messages[0].content", message(content=5)),
        ("messages[0].content[0].type", message(content=[{"type": "image_url"}])),
        ("messages[0].content[0].text", message(content=[{"type": "text"}])),
        ("messages[0].content[0].text", message(content=[5])),
        ("messages[0].tool_calls", message(tool_calls=[{"id": "x"}])),
        ("messages[0].nonsense", message(nonsense=1)),
    ],
)
def test_a_field_of_a_chat_that_is_wrong_or_unsupported_is_named(
    param: str, changes: dict[str, Any]
) -> None:
    with pytest.raises(InvalidArgument, match=param.split("[")[0]) as caught:
        ChatShape().read(Fields({**CHAT, **changes}))
    assert caught.value.field == param


@pytest.mark.parametrize(
    ("param", "changes"),
    [
        ("prompt", {"prompt": None}),
        ("prompt", {"prompt": ["a", "b"]}),
        ("prompt", {"prompt": [1, 2]}),
        ("prompt", {"prompt": []}),
        ("best_of", {"best_of": 2}),
        ("echo", {"echo": "yes"}),
        ("suffix", {"suffix": "end"}),
        ("logprobs", {"logprobs": 6}),
        ("logprobs", {"logprobs": True}),
        ("max_tokens", {"max_tokens": 0}),
        ("messages", {"messages": []}),
    ],
)
def test_a_field_of_a_completion_that_is_wrong_or_unsupported_is_named(
    param: str, changes: dict[str, Any]
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        CompletionShape().read(Fields({**PROMPT, **changes}))
    assert caught.value.field == param


def test_fields_that_ask_for_nothing_are_passed_over() -> None:
    wanted = ChatShape().read(
        Fields(
            {
                **CHAT,
                **{"n": 1, "tools": [], "tool_choice": "auto", "logprobs": False, "seed": None},
                **{"response_format": {"type": "text"}, "frequency_penalty": 0, "audio": None},
                **{"user": "u", "store": True, "metadata": {}, "service_tier": "auto"},
            }
        )
    )
    assert wanted.max_output_tokens is None and wanted.stop == () and not wanted.streamed


@pytest.mark.parametrize(
    ("fields", "grammar"),
    [
        (JSON_OBJECT, Grammar(GrammarKind.JSON_SCHEMA, ('{"type":"object"}',))),
        (
            json_schema({"name": "n", "strict": True, "schema": {"type": "null"}}),
            Grammar(GrammarKind.JSON_SCHEMA, ('{"type":"null"}',)),
        ),
        (structured(json={}), Grammar(GrammarKind.JSON_SCHEMA, ("{}",))),
        (structured(json="{}"), Grammar(GrammarKind.JSON_SCHEMA, ("{}",))),
        (structured(json_object=True), Grammar(GrammarKind.JSON_SCHEMA, ('{"type":"object"}',))),
        (structured(regex="a+"), Grammar(GrammarKind.REGEX, ("a+",))),
        (structured(grammar='start: "a"'), Grammar(GrammarKind.LARK, ('start: "a"',))),
        (structured(choice=["a", "b"]), Grammar(GrammarKind.CHOICES, ("a", "b"))),
    ],
)
def test_a_grammar_is_read_from_openai_s_field_and_from_vllm_s(
    fields: dict[str, Any], grammar: Grammar
) -> None:
    for shape, body in ((ChatShape(), CHAT), (CompletionShape(), PROMPT)):
        wanted = shape.read(Fields({**body, **fields}))
        assert wanted.sampling.grammar == grammar
        assert wanted.names["grammar"] == next(iter(fields))


def test_each_endpoint_asks_for_log_probabilities_in_its_own_way() -> None:
    def chat(**fields: Any) -> int | None:
        return ChatShape().read(Fields({**CHAT, **fields})).top_logprobs

    def completion(**fields: Any) -> int | None:
        return CompletionShape().read(Fields({**PROMPT, **fields})).top_logprobs

    assert chat() is None and chat(logprobs=False, top_logprobs=0) is None
    assert chat(logprobs=True) == 0 and chat(logprobs=True, top_logprobs=20) == 20
    assert completion() is None and completion(logprobs=0) == 0 and completion(logprobs=5) == 5


def test_a_harness_that_asks_for_the_prompt_s_always_gets_its_one_token() -> None:
    ask = {**PROMPT, "echo": True, "logprobs": 1}
    assert CompletionShape().read(Fields({**ask, "max_tokens": 1})).sampling.ignore_eos
    assert not CompletionShape().read(Fields({**ask, "max_tokens": 2})).sampling.ignore_eos
    assert CompletionShape().read(Fields({**ask, "max_tokens": 0})).max_output_tokens == 0


def test_an_answer_of_ours_can_be_sent_back_as_a_message() -> None:
    ours = {"role": "assistant", "content": "a", "refusal": None, "tool_calls": None}
    wanted = ChatShape().read(Fields({**CHAT, "messages": [ours, {"role": "assistant"}]}))
    assert wanted.input == (Message("assistant", "a"), Message("assistant", ""))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
NAMES = st.sampled_from(
    [
        *("model", "messages", "stop", "seed", "temperature", "max_tokens", "stream"),
        *("stream_options", "n", "logprobs", "top_logprobs", "logit_bias", "response_format"),
        *("structured_outputs", "stop_token_ids", "priority", "min_p", "echo", "prompt"),
    ]
)


@given(st.dictionaries(NAMES | st.text(max_size=5), JSON, max_size=6))
def test_any_body_is_read_or_refused(body: dict[str, Any]) -> None:
    for shape in (ChatShape(), CompletionShape()):
        try:
            wanted = shape.read(Fields({**CHAT, **body}))
        except InvalidArgument as error:
            assert error.field is not None
        else:
            assert math.isfinite(wanted.sampling.temperature or 0) or "temperature" in body
