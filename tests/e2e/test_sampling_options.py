"""Choices, log-probabilities, echo and grammars, through every service."""

import json
import re
from typing import Any

import openai
import pytest

import weir

INPUT_NANOS, OUTPUT_NANOS = 500, 1500
PROMPT = "Once upon a time, there was a little river."
# A prompt computed at once and one computed step by step differ in bf16's last bits.
LOGPROB_TOLERANCE = 0.1


def chat(stack: Any, **more: Any) -> Any:
    return stack.openai().chat.completions.create(**stack.body(PROMPT, **more))


def completion(stack: Any, prompt: str = PROMPT, **more: Any) -> Any:
    wanted = {"model": stack.model, "prompt": prompt, "max_tokens": 12, "temperature": 0}
    return stack.openai().completions.create(**{**wanted, **more})


def cost_of(answer: Any) -> int:
    return int(answer.model_extra["weir"]["cost_nanos"])


def told(choice: Any) -> str:
    """The tokens of a chat's choice, put together."""
    return "".join(token.token for token in choice.logprobs.content)


def test_choices_are_seeded_one_by_one_and_charged_together(stack: Any) -> None:
    answer = chat(stack, n=3, seed=7, temperature=1.0)
    texts = [choice.message.content for choice in answer.choices]
    assert len(set(texts)) == 3
    usage = answer.usage
    assert cost_of(answer) == (
        usage.prompt_tokens * INPUT_NANOS + usage.completion_tokens * OUTPUT_NANOS
    )
    alone = [chat(stack, seed=7 + output, temperature=1.0) for output in range(3)]
    assert [one.choices[0].message.content for one in alone] == texts
    assert usage.completion_tokens == sum(one.usage.completion_tokens for one in alone)
    assert usage.prompt_tokens == alone[0].usage.prompt_tokens


def test_streamed_choices_are_the_same_texts(stack: Any) -> None:
    ask: Any = {"n": 2, "seed": 11, "temperature": 1.0}
    texts = ["", ""]
    for chunk in chat(stack, **ask, stream=True):
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
    assert texts == [choice.message.content for choice in chat(stack, **ask).choices]


def test_greedy_tokens_are_the_likeliest_and_spell_the_text(stack: Any) -> None:
    answer = chat(stack, temperature=0, logprobs=True, top_logprobs=3)
    [choice] = answer.choices
    assert told(choice) == choice.message.content
    assert len(choice.logprobs.content) == answer.usage.completion_tokens
    for token in choice.logprobs.content:
        assert len(token.top_logprobs) == 3
        assert (token.token, token.logprob) == (
            token.top_logprobs[0].token,
            token.top_logprobs[0].logprob,
        )
        logprobs = [top.logprob for top in token.top_logprobs]
        assert logprobs == sorted(logprobs, reverse=True) and logprobs[0] <= 0
        assert bytes(token.bytes).decode() == token.token


def test_a_harness_reads_how_likely_a_text_was(stack: Any) -> None:
    generated = completion(stack, logprobs=1).choices[0]
    read = completion(stack, PROMPT + generated.text, echo=True, max_tokens=1, logprobs=1)
    [choice] = read.choices
    logprobs, n_tokens = choice.logprobs, len(generated.logprobs.tokens)
    # The first is the begin-of-text token, which the text has not.
    assert "".join(logprobs.tokens[1:]) == choice.text
    assert choice.text.startswith(PROMPT + generated.text)
    assert logprobs.token_logprobs[0] is None and logprobs.top_logprobs[0] is None
    # As lm-eval does: the context's tokens before, the one generated token after.
    assert logprobs.tokens[-n_tokens - 1 : -1] == generated.logprobs.tokens
    scored = logprobs.token_logprobs[-n_tokens - 1 : -1]
    assert scored == pytest.approx(generated.logprobs.token_logprobs, abs=LOGPROB_TOLERANCE)
    for offset, token in zip(logprobs.text_offset[1:], logprobs.tokens[1:], strict=True):
        assert choice.text[offset : offset + len(token)] == token


def test_a_prompt_alone_is_charged_for_the_prompt(stack: Any) -> None:
    answer = completion(stack, echo=True, max_tokens=0, logprobs=0)
    assert answer.choices[0].text == PROMPT
    assert "".join(answer.choices[0].logprobs.tokens[1:]) == PROMPT
    assert (answer.usage.completion_tokens, answer.choices[0].finish_reason) == (0, "length")
    assert cost_of(answer) == answer.usage.prompt_tokens * INPUT_NANOS


def test_json_is_of_its_schema(stack: Any) -> None:
    schema = {
        "type": "object",
        "properties": {"animal": {"enum": ["fox", "bear"]}, "legs": {"const": 4}},
        "required": ["animal", "legs"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "animal", "schema": schema}}
    answer = chat(stack, response_format=form, max_tokens=60)
    animal = json.loads(answer.choices[0].message.content)
    assert animal["animal"] in ("fox", "bear") and animal["legs"] == 4
    assert answer.choices[0].finish_reason == "stop"


@pytest.mark.parametrize(
    ("kind", "given", "pattern"),
    [
        ("choice", ["the fox", "the bear"], "the fox|the bear"),
        ("regex", "[a-f]{4}", "[a-f]{4}"),
        ("grammar", 'start: "yes" | "no"', "yes|no"),
    ],
)
def test_text_is_of_its_grammar(stack: Any, kind: str, given: Any, pattern: str) -> None:
    for temperature in (0.0, 1.5):
        answer = chat(
            stack, temperature=temperature, extra_body={"structured_outputs": {kind: given}}
        )
        assert re.fullmatch(pattern, answer.choices[0].message.content)


def test_text_that_outgrows_its_grammar_is_cut_as_too_long(stack: Any) -> None:
    # Whether the end is near hangs on each of the last 60 letters: many states to tell apart.
    regex = "(?s:.*)[aeiou](?s:.){60}[xyz](?s:.){60}!"
    for seed in range(2):  # the second finds the grammar as new
        structured = {"structured_outputs": {"regex": regex}}
        answer = chat(stack, temperature=1.5, seed=seed, max_tokens=300, extra_body=structured)
        assert answer.choices[0].finish_reason == "length"
        assert 0 < answer.usage.completion_tokens < 300
        assert answer.choices[0].message.content


def test_what_is_no_schema_is_400_and_costs_nothing(stack: Any) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "fox"}}}
    with pytest.raises(openai.BadRequestError) as caught:
        chat(stack, response_format=form)
    assert caught.value.param == "response_format"


def test_a_bias_of_100_decides_and_a_stop_token_ends(stack: Any) -> None:
    decided = chat(stack, logit_bias={"300": 100}, max_tokens=5, logprobs=True, temperature=0)
    tokens = [token.token for token in decided.choices[0].logprobs.content]
    assert len(tokens) == 5 and len(set(tokens)) == 1
    ended = chat(stack, logit_bias={"300": 100}, extra_body={"stop_token_ids": [300]})
    assert (ended.choices[0].message.content, ended.choices[0].finish_reason) == ("", "stop")
    assert ended.usage.completion_tokens == 0


def test_penalties_and_cuts_change_the_text(stack: Any) -> None:
    plain = chat(stack, temperature=0, max_tokens=60).choices[0].message.content
    for ask in ({"frequency_penalty": 2.0}, {"extra_body": {"repetition_penalty": 2.0}}):
        assert chat(stack, temperature=0, max_tokens=60, **ask).choices[0].message.content != plain
    only_the_likeliest = {"extra_body": {"min_p": 1.0, "priority": "low"}}
    cut = chat(stack, temperature=1.0, max_tokens=60, **only_the_likeliest)
    assert cut.choices[0].message.content == plain


def test_of_redacted_text_no_token_is_told(stack: Any) -> None:
    said = {"structured_outputs": {"choice": ["Write to bob@example.com and to nobody else."]}}
    ask: Any = {"extra_body": said, "logprobs": True, "top_logprobs": 0, "max_tokens": 60}
    [whole] = chat(stack, **ask).choices
    assert whole.message.content == "Write to [email] and to nobody else."
    assert "Write to ".startswith(told(whole))
    choices = [c for chunk in chat(stack, **ask, stream=True) for c in chunk.choices]
    assert "".join(c.delta.content or "" for c in choices) == whole.message.content
    assert "Write to ".startswith("".join(told(c) for c in choices if c.logprobs))


def test_a_prompt_seen_before_is_told_as_cached(stack: Any) -> None:
    long = " ".join([PROMPT] * 10)
    first, again = (completion(stack, long, max_tokens=1) for _ in range(2))
    assert again.usage.prompt_tokens == first.usage.prompt_tokens
    assert again.usage.prompt_tokens_details.cached_tokens > 0


async def test_the_sdk_gives_every_choice_with_its_tokens(stack: Any) -> None:
    options: Any = {"n": 2, "seed": 3, "top_logprobs": 1, "max_output_tokens": 12}
    async with weir.AsyncClient(stack.grpc_address, stack.api_key) as client:
        whole = await client.generate(stack.model, PROMPT, **options)
        async with client.stream(stack.model, PROMPT, **options) as stream:
            pieces = [piece async for piece in stream.pieces()]
        one_of = await client.generate(stack.model, PROMPT, one_of=["a fox", "a bear"])
    assert stream.result.choices == whole.choices
    for index, choice in enumerate(whole.choices):
        assert "".join(p.text for p in pieces if p.choice == index) == choice.text
        assert "".join(token.text for token in choice.logprobs) == choice.text
    assert one_of.text in ("a fox", "a bear")
