"""Chunks are read in full or refused; nothing else comes out of any text."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weir_inference.adapters.engines.openai.bad_answer import BadAnswer
from weir_inference.adapters.engines.openai.chunk import (
    Chunk,
    ReportedUsage,
    UpstreamError,
    parse_chunk,
)
from weir_inference.core.token_logprob import TokenLogprob

LOGPROBS = {
    "tokens": ["token_id:7", "token_id:8"],
    "token_logprobs": [-0.5, -1],
    "top_logprobs": [{"token_id:9": -2.0, "token_id:7": -0.5}, {"token_id:8": -1}],
}
CHUNK: dict[str, Any] = {
    "choices": [
        {
            "index": 0,
            "text": "he",
            "token_ids": [7, 8],
            "logprobs": LOGPROBS,
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
}


def test_a_chunk_is_read_in_full() -> None:
    logprobs = (
        TokenLogprob(7, -0.5, ((7, -0.5), (9, -2.0))),
        TokenLogprob(8, -1.0, ((8, -1.0),)),
    )
    expected = Chunk("he", (7, 8), logprobs, "stop", ReportedUsage(3, 2))
    assert parse_chunk(json.dumps(CHUNK)) == expected


def test_log_probabilities_without_ids_count_as_none() -> None:
    told = {"tokens": ["he"], "token_logprobs": [-1.0], "top_logprobs": [{"he": -1.0}]}
    assert parse_chunk(json.dumps({"choices": [{"text": "he", "logprobs": told}]})) == Chunk("he")


@pytest.mark.parametrize(
    ("error", "status"),
    [({"code": 400, "message": "m"}, 400), ({"code": "busy"}, None), ("words", None)],
)
def test_an_error_in_the_stream_is_told(error: Any, status: int | None) -> None:
    assert parse_chunk(json.dumps({"error": error})) == Chunk(error=UpstreamError(status))


@pytest.mark.parametrize(
    "choice",
    [
        {"text": 7},
        {"index": 1, "text": "he"},
        {"token_ids": [1.0]},
        {"token_ids": [-1]},
        {"token_ids": [True]},
        {"token_ids": [1 << 32]},
        {"finish_reason": 7},
        {"logprobs": {**LOGPROBS, "token_logprobs": [-0.5]}},
        {"logprobs": {**LOGPROBS, "token_logprobs": [None, -1]}},
        {"logprobs": {**LOGPROBS, "tokens": ["token_id:7", "token_id:x"]}},
        {"logprobs": {**LOGPROBS, "top_logprobs": [{"he": -1}, {}]}},
        {"logprobs": []},
    ],
)
def test_a_choice_that_is_not_as_it_should_be_is_refused(choice: dict[str, Any]) -> None:
    with pytest.raises(BadAnswer):
        parse_chunk(json.dumps({"choices": [choice]}))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """A good chunk, anything put somewhere into it, and perhaps cut short."""
    chunk: Any = json.loads(json.dumps(CHUNK))
    at: Any = chunk
    while True:
        key = draw(st.sampled_from(list(at) if isinstance(at, dict) else list(range(len(at)))))
        if isinstance(at[key], dict | list) and draw(st.booleans()):
            at = at[key]
            continue
        at[key] = draw(JSON)
        text = json.dumps(chunk)
        return text[: draw(st.integers(0, len(text)))] if draw(st.booleans()) else text


@given(damaged() | st.text(max_size=20) | st.just("[" * 100_000) | st.just("9" * 5000))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        chunk = parse_chunk(text)
    except BadAnswer as error:
        assert str(error).isascii()
    else:
        assert all(0 <= token_id < 1 << 32 for token_id in chunk.token_ids or ())
        for one in chunk.logprobs or ():
            assert abs(one.logprob) < float("inf")
