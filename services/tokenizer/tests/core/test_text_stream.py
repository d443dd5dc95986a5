"""Streams of ids against the tokenizer's own decoding of the whole."""

import itertools

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from weir_tokenizer.adapters.huggingface import HuggingFaceTokenizer
from weir_tokenizer.core.detokenizer import REPLACEMENT
from weir_tokenizer.core.text_stream import Piece, StreamOptions, TextStream

several = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
WORDS = st.sampled_from(
    ["the weir ", " held", "  ", "water", "你好", "é", "🌊", "👩‍👩‍👧", "\n", "\ufffd", "<s>"]
)
TEXTS = st.one_of(st.text(max_size=20), st.lists(WORDS, max_size=10).map("".join))
SIZES = st.lists(st.integers(0, 4), max_size=60)
SEEDS = st.lists(st.integers(0, 2**16), max_size=40)


def chunks(ids: list[int], sizes: list[int]) -> list[list[int]]:
    """The ids in chunks of the sizes, one by one when those run out."""
    ends = [0, *itertools.accumulate(sizes)]
    cut = [ids[start:end] for start, end in itertools.pairwise(ends)]
    return cut + [[token_id] for token_id in ids[ends[-1] :]]


def stream(
    tokenizer: HuggingFaceTokenizer, parts: list[list[int]], options: StreamOptions
) -> list[Piece]:
    """Every answer of a stream, the last one after its end."""
    decoder = TextStream(tokenizer, options)
    return [*(decoder.push(part) for part in parts), decoder.finish()]


def n_shared(one: str, other: str) -> int:
    """Characters at the start that both have."""
    return sum(
        1
        for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    )


def joined(pieces: list[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


@several
@given(text=TEXTS, sizes=SIZES, keep=st.booleans())
def test_a_text_in_any_chunks_joins_to_its_whole_decoding(
    tokenizer: HuggingFaceTokenizer, text: str, sizes: list[int], keep: bool
) -> None:
    [ids] = tokenizer.encode([text], add_special=True)
    pieces = stream(tokenizer, chunks(ids, sizes), StreamOptions(keep_special=keep))

    assert joined(pieces) == tokenizer.decode(ids, keep_special=keep)


@several
@given(seeds=SEEDS, sizes=SIZES, keep=st.booleans())
def test_any_ids_at_all_join_to_their_whole_decoding(
    tokenizer: HuggingFaceTokenizer, seeds: list[int], sizes: list[int], keep: bool
) -> None:
    ids = [seed % tokenizer.id_limit for seed in seeds]
    pieces = stream(tokenizer, chunks(ids, sizes), StreamOptions(keep_special=keep))

    assert joined(pieces) == tokenizer.decode(ids, keep_special=keep)


@several
@given(
    text=TEXTS,
    stops=st.lists(st.text("the weir\n你é🌊", min_size=1, max_size=4), max_size=4),
    sizes=SIZES,
)
@example(text="the weir held", stops=["r h", "he weir hel!"], sizes=[])
def test_with_stop_strings_the_text_is_cut_where_the_first_begins(
    tokenizer: HuggingFaceTokenizer, text: str, stops: list[str], sizes: list[int]
) -> None:
    [ids] = tokenizer.encode([text], add_special=False)
    whole = tokenizer.decode(ids, keep_special=False)
    pieces = stream(tokenizer, chunks(ids, sizes), StreamOptions(stops))
    starts = [whole.find(stop) for stop in stops if stop in whole]

    assert joined(pieces) == whole[: min(starts, default=len(whole))]
    assert (pieces[-1].stop is not None) == bool(starts)
    if starts:
        assert whole[min(starts) :].startswith(pieces[-1].stop or "")


@several
@given(text=TEXTS.filter(lambda text: REPLACEMENT not in text), sizes=SIZES)
def test_no_answer_has_a_broken_character(
    tokenizer: HuggingFaceTokenizer, text: str, sizes: list[int]
) -> None:
    [ids] = tokenizer.encode([text], add_special=False)
    assert REPLACEMENT not in joined(stream(tokenizer, chunks(ids, sizes), StreamOptions()))


@several
@given(
    seeds=SEEDS, sizes=SIZES, stops=st.lists(st.text("the wr", min_size=1, max_size=3), max_size=3)
)
def test_decoded_tokens_only_grow_and_only_count_text_that_was_given(
    tokenizer: HuggingFaceTokenizer, seeds: list[int], sizes: list[int], stops: list[str]
) -> None:
    ids = [seed % tokenizer.id_limit for seed in seeds]
    whole = tokenizer.decode(ids, keep_special=False)
    pieces = stream(tokenizer, chunks(ids, sizes), StreamOptions(stops))
    n_given = 0
    for before, piece in itertools.pairwise([Piece("", 0), *pieces]):
        n_given += len(piece.text)
        counted = tokenizer.decode(ids[: piece.decoded_tokens], keep_special=False)
        assert before.decoded_tokens <= piece.decoded_tokens <= len(ids)
        # What the counted tokens fixed of the whole text was given.
        assert n_shared(counted, whole) <= n_given
    if pieces[-1].stop is None:
        assert pieces[-1].decoded_tokens == len(ids)


@several
@given(seeds=SEEDS, stops=st.lists(st.text("the wr", min_size=1, max_size=3), max_size=3))
def test_every_token_whose_text_was_given_counts(
    tokenizer: HuggingFaceTokenizer, seeds: list[int], stops: list[str]
) -> None:
    if tokenizer.name == "byte-fallback":
        return  # the text of a few bytes of a run is longer than what they become in the whole run
    ids = [seed % tokenizer.id_limit for seed in seeds]
    lengths = [len(tokenizer.decode(ids[:n], keep_special=False)) for n in range(len(ids) + 1)]
    n_given = 0
    for n_pushed, piece in enumerate(
        stream(tokenizer, [[one] for one in ids], StreamOptions(stops))
    ):
        if piece.stop is not None:
            break
        n_given += len(piece.text)
        given_in_full = sum(length <= n_given for length in lengths[1 : n_pushed + 2])
        assert piece.decoded_tokens == given_in_full


@several
@given(prompt=TEXTS, text=TEXTS, sizes=SIZES)
def test_after_a_prompt_the_text_is_what_it_adds_to_it(
    tokenizer: HuggingFaceTokenizer, prompt: str, text: str, sizes: list[int]
) -> None:
    before, ids = tokenizer.encode([prompt, text], add_special=False)
    pieces = stream(tokenizer, chunks(ids, sizes), StreamOptions(prompt_tail=before))
    whole = tokenizer.decode(before + ids, keep_special=False)

    assert tokenizer.decode(before, keep_special=False) + joined(pieces) == whole


def test_a_token_counts_once_its_last_character_is_given(
    tokenizers: dict[str, HuggingFaceTokenizer],
) -> None:
    tokenizer = tokenizers["byte-level"]
    [ids] = tokenizer.encode(["🌊a"], add_special=False)
    assert len(ids) == 5
    pieces = stream(tokenizer, [[token_id] for token_id in ids], StreamOptions())

    assert [piece.text for piece in pieces] == ["", "", "", "🌊", "a", ""]
    assert [piece.decoded_tokens for piece in pieces] == [0, 0, 0, 4, 5, 5]


def test_a_token_held_as_a_possible_stop_does_not_count(
    tokenizers: dict[str, HuggingFaceTokenizer],
) -> None:
    tokenizer = tokenizers["byte-level"]
    ids = [tokenizer.encode([letter], add_special=False)[0][0] for letter in "xyzq"]
    pieces = stream(tokenizer, [[token_id] for token_id in ids], StreamOptions(["yz!"]))

    assert [piece.text for piece in pieces] == ["x", "", "", "yzq", ""]
    assert [piece.decoded_tokens for piece in pieces] == [1, 1, 1, 4, 4]


def test_after_a_stop_answers_are_empty_and_the_count_stands(
    tokenizers: dict[str, HuggingFaceTokenizer],
) -> None:
    tokenizer = tokenizers["byte-level"]
    ids = [tokenizer.encode([letter], add_special=False)[0][0] for letter in "abcd"]
    pieces = stream(tokenizer, [[token_id] for token_id in ids], StreamOptions(["b"]))

    assert [piece.text for piece in pieces] == ["a", "", "", "", ""]
    assert [piece.stop for piece in pieces] == [None, "b", "b", "b", "b"]
    assert {piece.decoded_tokens for piece in pieces} == {1}


@pytest.mark.parametrize("kind", ["byte-level", "byte-fallback"])
def test_an_unfinished_character_is_flushed_as_the_tokenizer_decodes_it(
    tokenizers: dict[str, HuggingFaceTokenizer], kind: str
) -> None:
    tokenizer = tokenizers[kind]
    [ids] = tokenizer.encode(["the 🌊"], add_special=False)
    pieces = stream(tokenizer, [ids[:-1]], StreamOptions())

    assert joined(pieces) == tokenizer.decode(ids[:-1], keep_special=False)
    assert REPLACEMENT in pieces[-1].text
