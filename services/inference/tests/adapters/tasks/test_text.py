"""Texts as tokens: what a model gets, and where its tokens stand in the text."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from weir_inference.adapters.repository.bad_model_folder import BadModelFolder
from weir_inference.adapters.tasks.text import (
    PART_TOKENS,
    StringEncoder,
    TextEncoder,
    Tokenize,
    byte_tokenizer,
    file_tokenizer,
    lowered_text,
    n_tokens,
    token_places,
)
from weir_inference.core.prediction import RerankQuery, Texts
from weir_inference.core.tasks.task import Rows
from weir_inference.core.tensors import ANY, Datatype, TensorSpec

NAMES = ("input_ids", "attention_mask", "token_type_ids")
VOCABULARY = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "big", "##ger", "cat", "dog"]


@pytest.fixture(scope="module")
def tokenizer_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A WordPiece tokenizer with [CLS] and [SEP], that pads and cuts by itself as some do."""
    tokenizer = Tokenizer(
        models.WordPiece({word: i for i, word in enumerate(VOCABULARY)}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    tokenizer.enable_padding(pad_id=0, length=99)
    tokenizer.enable_truncation(3)
    file = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    tokenizer.save(str(file))
    return file


def tokenized(file: Path, max_tokens: int | None = None, **how: bool) -> Tokenize:
    return file_tokenizer(file, max_tokens, **{"lowercase": False, "pairs": False, **how})[0]


def specs(length: int = ANY, datatype: Datatype = Datatype.INT64) -> list[TensorSpec]:
    return [TensorSpec(name, datatype, (ANY, length)) for name in NAMES]


async def rows_of(encoder: TextEncoder[Any], asked: Texts | RerankQuery) -> list[Rows[Any]]:
    return [rows async for rows in encoder.rows(asked)]


async def test_texts_become_rows_padded_to_the_longest(tokenizer_file: Path) -> None:
    encoder = TextEncoder(tokenized(tokenizer_file), specs(), n_tokens)
    (rows,) = await rows_of(encoder, Texts(("bigger cat", "dog", "")))
    assert rows.inputs["input_ids"].tolist() == [
        [1, 4, 5, 6, 2],
        [1, 7, 2, 0, 0],
        [1, 2, 0, 0, 0],
    ]
    assert rows.inputs["attention_mask"].sum(1).tolist() == list(rows.about) == [5, 3, 2]
    assert not rows.inputs["token_type_ids"].any()


async def test_a_query_and_a_document_are_told_apart_by_their_types(tokenizer_file: Path) -> None:
    encoder = TextEncoder(tokenized(tokenizer_file, pairs=True), specs(), n_tokens)
    (rows,) = await rows_of(encoder, RerankQuery("cat", ("dog", "big dog")))
    assert rows.inputs["input_ids"].tolist() == [[1, 6, 2, 7, 2, 0], [1, 6, 2, 4, 7, 2]]
    assert rows.inputs["token_type_ids"].tolist() == [[0, 0, 0, 1, 1, 0], [0, 0, 0, 1, 1, 1]]


async def test_texts_are_cut_and_a_fixed_length_is_filled(tokenizer_file: Path) -> None:
    encoder = TextEncoder(tokenized(tokenizer_file, 4), specs(6, Datatype.INT32), n_tokens, 9)
    (rows,) = await rows_of(encoder, Texts(("cat dog cat dog",)))
    assert rows.inputs["input_ids"].dtype == np.int32
    assert rows.inputs["input_ids"].tolist() == [[1, 6, 7, 2, 9, 9]]
    assert rows.inputs["attention_mask"].tolist() == [[1, 1, 1, 1, 0, 0]]


async def test_many_texts_come_in_parts_of_bounded_size_and_in_order() -> None:
    texts = tuple("x" * (1 + i * 37 % 900) for i in range(200))
    encoder = TextEncoder(byte_tokenizer(None, lowercase=False), specs(), n_tokens)
    parts = await rows_of(encoder, Texts(texts))
    assert [n for rows in parts for n in rows.about] == [len(text) for text in texts]
    assert len(parts) > 1
    assert max(rows.inputs["input_ids"].size for rows in parts) <= PART_TOKENS


@given(st.text(), st.none() | st.integers(1, 12))
async def test_bytes_are_numbered_from_one_and_stand_where_their_character_does(
    text: str, max_tokens: int | None
) -> None:
    try:
        data = text.encode()[:max_tokens]
    except UnicodeEncodeError:
        return  # not a text that a message can hold
    encoder = TextEncoder(byte_tokenizer(max_tokens, lowercase=False), specs(), token_places)
    (rows,) = await rows_of(encoder, Texts((text,)))
    ids, mask = rows.inputs["input_ids"][0], rows.inputs["attention_mask"][0]
    assert bytes(int(one) - 1 for one in ids[: len(data)]) == data
    assert mask.sum() == len(data)
    (places,) = rows.about
    spelled = [text[start:end] for start, end in zip(places.starts, places.ends, strict=True)]
    assert spelled == [char for char in text for _ in char.encode()][: len(data)]


def test_tokens_stand_where_they_do_in_code_points(tokenizer_file: Path) -> None:
    text = "🙂 é bigger  cat"
    (tokens,) = tokenized(tokenizer_file)([text])
    places = tokens.places()
    words = [text[start:end] for start, end in zip(places.starts, places.ends, strict=True)]
    assert words == ["", "🙂", "é", "big", "ger", "cat", ""]
    assert places.words.tolist() == [-1, 0, 1, 2, 2, 3, -1]


def test_spaces_that_a_tokenizer_counts_as_part_of_a_word_are_not(tmp_path: Path) -> None:
    tokenizer = Tokenizer(models.WordLevel({"▁cat": 0, "▁dog": 1}, unk_token="▁cat"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    (tokens,) = tokenized(tmp_path / "tokenizer.json")(["cat dog"])
    places = tokens.places()
    assert [*zip(places.starts.tolist(), places.ends.tolist(), strict=True)] == [(0, 3), (4, 7)]


@given(st.text())
def test_lower_case_moves_no_code_point(text: str) -> None:
    lowered = lowered_text(text)
    assert len(lowered) == len(text)
    assert all(a in (b, b.lower()) for a, b in zip(lowered, text, strict=True))


def test_texts_are_lowered_where_the_model_wants_it(tokenizer_file: Path) -> None:
    (pair,) = tokenized(tokenizer_file, lowercase=True, pairs=True)([("CAT", "Dog")])
    assert pair.ids == [1, 6, 2, 7, 2]
    (alone,) = byte_tokenizer(None, lowercase=True)(["AB"])
    assert alone.ids == [98, 99]


def test_the_padding_is_the_tokenizer_s(tmp_path: Path) -> None:
    file = tmp_path / "tokenizer.json"
    for vocabulary, expected in (({"a": 0, "<pad>": 1}, 1), ({"a": 0}, 0)):
        tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="a"))
        tokenizer.save(str(file))
        assert file_tokenizer(file, None, lowercase=False, pairs=False)[1] == expected
    tokenizer.enable_padding(pad_id=7)
    tokenizer.save(str(file))
    assert file_tokenizer(file, None, lowercase=False, pairs=False)[1] == 7


def test_what_is_no_tokenizer_is_refused(tmp_path: Path, tokenizer_file: Path) -> None:
    bad = tmp_path / "tokenizer.json"
    for content in ("", "{}", '{"model": 3}'):
        bad.write_text(content)
        with pytest.raises(BadModelFolder, match=r"tokenizer\.json: is no tokenizer"):
            tokenized(bad)
    with pytest.raises(BadModelFolder, match="max_tokens must be more than the 3 tokens"):
        tokenized(tokenizer_file, 3, pairs=True)


@pytest.mark.parametrize(("shape", "expected"), [((ANY,), (2,)), ((ANY, 1), (2, 1))])
async def test_strings_come_as_they_are(shape: Sequence[int], expected: Sequence[int]) -> None:
    encoder = StringEncoder(TensorSpec("s", Datatype.BYTES, tuple(shape)))
    (rows,) = [rows async for rows in encoder.rows(Texts(("é", "")))]
    assert rows.inputs["s"].shape == expected
    assert rows.inputs["s"].ravel().tolist() == ["é".encode(), b""]
