"""Ids for text without ids: their text is the text, in whatever pieces it came."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from weir_inference.adapters.engines.openai.bad_answer import BadAnswer
from weir_inference.adapters.engines.openai.spelling import Spelling

PIECES = st.lists(
    st.sampled_from(["hello", " hello", " he", "ll", "o", "  ", "\n", "é", "e\u0301", "中文", "🦆"])
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
    | st.sampled_from(["</s>", "<s>", "<0x41>", "▁"]),
    max_size=8,
)


@pytest.fixture(params=["byte-level", "byte-fallback"])
def file(request: pytest.FixtureRequest, tokenizer_files: dict[str, Path]) -> Path:
    return tokenizer_files[request.param]


def test_the_ids_of_any_pieces_decode_to_their_text(file: Path) -> None:
    spelling, tokenizer = Spelling(file), Tokenizer.from_file(str(file))
    # In Llama 2's kind of vocabulary ▁ is how a space is written: no ids decode to it.
    unspeakable = "▁" if tokenizer.token_to_id("▁") is not None else ""

    @given(PIECES, st.sampled_from(["", "hello", "中"]))
    def holds(pieces: list[str], prompt: str) -> None:
        pieces = [piece.replace(unspeakable or "\0", "") for piece in pieces]
        ids: list[int] = tokenizer.encode(prompt).ids
        for piece in pieces:
            ids += spelling.ids_of(piece, ids)
        assert tokenizer.decode(ids) == prompt + "".join(pieces)

    holds()


def test_a_word_of_the_vocabulary_is_one_token(file: Path) -> None:
    spelling, tokenizer = Spelling(file), Tokenizer.from_file(str(file))
    before = tokenizer.encode("a").ids
    (token_id,) = spelling.ids_of(" hello", before)
    assert tokenizer.decode([token_id]).strip() == "hello"


def test_a_prompts_text_has_its_special_tokens_but_those_that_encoding_puts_before(
    tokenizer_files: dict[str, Path],
) -> None:
    spelling = Spelling(tokenizer_files["byte-fallback"])
    tokenizer = Tokenizer.from_file(str(tokenizer_files["byte-fallback"]))
    ids = [*tokenizer.encode("hello").ids, 2]
    assert ids[0] == 1
    assert spelling.text_of(ids) == "hello</s>"
    assert tokenizer.encode(spelling.text_of(ids)).ids == ids


def test_text_that_the_vocabulary_has_not_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "tokenizer.json"
    tokenizer = Tokenizer(models.WordLevel({"a": 0, "?": 1}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(file))
    with pytest.raises(BadAnswer):
        Spelling(file).ids_of("b", [])


def test_what_is_no_tokenizer_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "tokenizer.json"
    file.write_text("{}")
    with pytest.raises(ValueError, match="is no tokenizer"):
        Spelling(file)
