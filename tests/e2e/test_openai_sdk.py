"""The `openai` SDK, unmodified."""

from typing import Any

import openai
import pytest

PROMPT = "Once upon a time, there was a little river."


def test_a_chat_is_answered_with_usage_and_cost(stack: Any) -> None:
    answer = stack.openai().chat.completions.create(**stack.body(PROMPT))
    assert answer.object == "chat.completion" and answer.model == stack.model
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason in ("stop", "length")
    usage = answer.usage
    assert usage is not None and 0 < usage.completion_tokens <= 24
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    extras = answer.model_extra["weir"]
    assert extras["cost_nanos"] == usage.prompt_tokens * 500 + usage.completion_tokens * 1500


def test_a_streamed_chat_is_the_same_text_in_pieces_with_usage_in_the_last(stack: Any) -> None:
    wanted = stack.body(PROMPT, temperature=0, seed=7)
    whole = stack.openai().chat.completions.create(**wanted)
    chunks = list(
        stack.openai().chat.completions.create(
            **wanted, stream=True, stream_options={"include_usage": True}
        )
    )
    texts = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(texts) == whole.choices[0].message.content
    assert len([text for text in texts if text]) > 1, "it came in one piece"
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices == [] and chunks[-1].usage == whole.usage
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert chunks[-2].choices[0].finish_reason == whole.choices[0].finish_reason


def test_a_text_is_completed_streamed_or_not(stack: Any) -> None:
    wanted = {"model": stack.model, "prompt": PROMPT, "max_tokens": 12, "temperature": 0}
    whole = stack.openai().completions.create(**wanted)
    assert whole.object == "text_completion" and whole.choices[0].text
    chunks = list(stack.openai().completions.create(**wanted, stream=True))
    assert "".join(c.choices[0].text for c in chunks if c.choices) == whole.choices[0].text


def test_the_same_seed_gives_the_same_text(stack: Any) -> None:
    texts = {
        stack.openai()
        .chat.completions.create(**stack.body(PROMPT, temperature=1, seed=11))
        .choices[0]
        .message.content
        for _ in range(2)
    }
    assert len(texts) == 1


def test_a_stop_string_ends_the_text_and_is_not_in_it(stack: Any) -> None:
    wanted = stack.body(PROMPT, temperature=0, max_tokens=40)
    whole = stack.openai().chat.completions.create(**wanted).choices[0].message.content
    stop = whole[len(whole) // 2 :][:4]
    stopped = stack.openai().chat.completions.create(**wanted, stop=[stop]).choices[0]
    assert stopped.finish_reason == "stop"
    assert stopped.message.content == whole[: whole.index(stop)]


def test_models_are_listed_and_described(stack: Any) -> None:
    client = stack.openai()
    assert stack.model in [model.id for model in client.models.list()]
    assert client.models.retrieve(stack.model).owned_by == "weir"


async def test_a_wrong_key_is_401_in_openais_shape(stack: Any) -> None:
    with pytest.raises(openai.AuthenticationError) as caught:
        stack.openai("weir_sk_wrong").chat.completions.create(**stack.body(PROMPT))
    assert caught.value.status_code == 401 and caught.value.code == "invalid_api_key"
    async with stack.http("weir_sk_wrong") as http:
        answer = await http.post("/v1/chat/completions", json=stack.body(PROMPT))
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "authentication_error"
    assert "weir_sk_wrong" not in answer.text


def test_an_unknown_model_is_404(stack: Any) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        stack.openai().chat.completions.create(**stack.body(PROMPT, model="gpt-4o"))
    assert caught.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError):
        stack.openai().models.retrieve("gpt-4o")


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"temperature": 3}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages[0].role"),
        ({"stop": 7}, "stop"),
    ],
)
def test_a_bad_field_is_400_and_named(stack: Any, wrong: dict[str, Any], field: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        stack.openai().chat.completions.create(**{**stack.body(PROMPT), **wrong})
    assert caught.value.param == field
    assert field.split("[")[0] in caught.value.message or caught.value.message


def test_what_does_not_fit_the_context_is_400(stack: Any) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        stack.openai().chat.completions.create(**stack.body(PROMPT, max_tokens=100_000))
    assert caught.value.code == "context_length_exceeded"
