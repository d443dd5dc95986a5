"""What waits is bounded: in characters, in ids and in cost."""

import itertools
from collections.abc import Sequence

import pytest

from weir_tokenizer.adapters.huggingface import HuggingFaceTokenizer
from weir_tokenizer.core.detokenizer import CHARACTER_BYTES_MAX, REPLACEMENT, RUN_MAX, Detokenizer


def decoded(tokenizer: HuggingFaceTokenizer, ids: Sequence[int]) -> list[str]:
    """The text that each id settles, and what is left at the end."""
    detokenizer = Detokenizer(tokenizer, keep_special=False)
    return [*(detokenizer.push(token_id) for token_id in ids), detokenizer.flush()]


def test_a_long_run_of_bytes_streams_whole_characters(
    tokenizers: dict[str, HuggingFaceTokenizer],
) -> None:
    tokenizer = tokenizers["byte-fallback"]
    text = "你好世界🌊" * 40 + " the weir"
    [ids] = tokenizer.encode([text], add_special=False)
    pieces = decoded(tokenizer, ids)

    assert "".join(pieces) == text
    silent = [
        len(list(group)) for empty, group in itertools.groupby(pieces, lambda p: not p) if empty
    ]
    assert max(silent) <= RUN_MAX + CHARACTER_BYTES_MAX


def test_a_spoilt_run_of_bytes_does_not_hold_the_stream_for_ever(
    tokenizers: dict[str, HuggingFaceTokenizer],
) -> None:
    tokenizer = tokenizers["byte-fallback"]
    vocabulary = {tokenizer.decode([i], keep_special=True): i for i in range(tokenizer.id_limit)}
    spoilt = next(i for i in range(tokenizer.id_limit) if tokenizer.is_byte(i)) + 0xFF
    ids = [spoilt] * 1000 + [vocabulary["the"]]
    pieces = decoded(tokenizer, ids)

    assert "".join(pieces) == REPLACEMENT * 1000 + " the"
    assert len("".join(pieces[:500])) >= 500 - RUN_MAX - CHARACTER_BYTES_MAX


def test_endless_broken_bytes_stream_one_behind(
    tokenizers: dict[str, HuggingFaceTokenizer],
) -> None:
    tokenizer = tokenizers["byte-level"]
    [wave] = tokenizer.encode(["🌊"], add_special=False)
    ids = [wave[-1]] * 500
    pieces = decoded(tokenizer, ids)

    assert "".join(pieces) == tokenizer.decode(ids, keep_special=False)
    assert len("".join(pieces[:-1])) == 499


class CountingVocabulary:
    """Counts the ids that are decoded."""

    def __init__(self, tokenizer: HuggingFaceTokenizer) -> None:
        self._tokenizer = tokenizer
        self.id_limit = tokenizer.id_limit
        self.decoded = 0

    def decode(self, ids: list[int], *, keep_special: bool) -> str:
        self.decoded += len(ids)
        return self._tokenizer.decode(ids, keep_special=keep_special)

    def is_silent(self, token_id: int, *, keep_special: bool) -> bool:
        return self._tokenizer.is_silent(token_id, keep_special=keep_special)

    def is_byte(self, token_id: int) -> bool:
        return self._tokenizer.is_byte(token_id)


@pytest.mark.parametrize("text", ["the weir ", "你好", "\ufffd", " ", "🌊 the"])
def test_a_token_costs_the_same_however_long_the_text_is(
    tokenizer: HuggingFaceTokenizer, text: str
) -> None:
    [ids] = tokenizer.encode([text * 400], add_special=False)
    counting = CountingVocabulary(tokenizer)
    detokenizer = Detokenizer(counting, keep_special=False)
    half = len(ids) // 2
    for token_id in ids[:half]:
        detokenizer.push(token_id)
    first_half = counting.decoded
    for token_id in ids[half : 2 * half]:
        detokenizer.push(token_id)

    assert counting.decoded <= 2.2 * first_half + 200
