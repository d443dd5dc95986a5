"""Token ids for text that came without: such that decoding them gives the same text."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from tokenizers import Tokenizer

from weir_inference.adapters.engines.openai.bad_answer import BadAnswer

REPLACEMENT = "\ufffd"
TAIL_IDS = 16
# Characters that text is put after to be encoded as it stands inside a text. Which of them do not
# melt into one token with what follows depends on the vocabulary.
ANCHORS = ("\n", ".", "a")


class Spelling:
    """The ids of an output's text, piece by piece; `tail` are the ids before a piece.

    What a token's text is depends on the one before it: many tokenizers drop a space at the start
    of a text, and put one there when they encode. So no rule is trusted: ids are taken only if,
    decoded after the tail, they give the piece.
    """

    def __init__(self, file: Path) -> None:
        text = file.read_text(encoding="utf-8")
        self._usual = _tokenizer(text)
        # Without normalization, which may change characters for good (to NFC, to lower case).
        self._plain = _tokenizer(text)
        self._plain.normalizer = None
        self.vocab_size = (
            max(self._usual.get_vocab(with_added_tokens=True).values(), default=-1) + 1
        )
        added = self._usual.get_added_tokens_decoder().items()
        self._special = frozenset(token_id for token_id, token in added if token.special)
        self._begin: list[int] = self._usual.encode("", add_special_tokens=True).ids

    def text_of(self, token_ids: Sequence[int]) -> str:
        """A prompt as text, special tokens too, but for those that encoding begins with anyway."""
        n_begin = 0
        for given, usual in zip(token_ids, self._begin, strict=False):
            if given != usual:
                break
            n_begin += 1
        text: str = self._usual.decode(list(token_ids[n_begin:]), skip_special_tokens=False)
        return text

    def is_special(self, token_id: int) -> bool:
        """Whether it is one that has no text, such as the one that ends a text."""
        return token_id in self._special

    def ids_of(self, text: str, tail: Sequence[int]) -> list[int]:
        """The fewest ids found that spell a piece: what is counted is what the upstream counts.

        Raises `BadAnswer` for text that the vocabulary cannot spell.
        """
        if not text:
            return []
        tail = list(tail[-TAIL_IDS:])
        before = self._decode(tail)
        while before.startswith(REPLACEMENT):  # cut inside a character, which spoils its bytes' run
            tail = tail[1:]
            before = self._decode(tail)
        for ids in sorted(self._candidates(text, before), key=len):
            if self._decode([*tail, *ids]) == before + text:
                return ids
        if len(text) == 1:
            raise BadAnswer("a text cannot be spelt in the model's vocabulary")
        ids = []
        for character in text:
            ids += self.ids_of(character, [*tail, *ids])
        return ids

    def _candidates(self, text: str, before: str) -> Iterator[list[int]]:
        for tokenizer in (self._usual, self._plain):
            yield self._encode(tokenizer, text)
            for anchor in (before[-1:], *ANCHORS):
                start = self._encode(tokenizer, anchor)
                ids = self._encode(tokenizer, anchor + text)
                if ids[: len(start)] == start:
                    yield ids[len(start) :]

    def _encode(self, tokenizer: Tokenizer, text: str) -> list[int]:
        ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def _decode(self, ids: list[int]) -> str:
        text: str = self._usual.decode(ids, skip_special_tokens=True)
        return text


def _tokenizer(text: str) -> Tokenizer:
    """Raises `ValueError` for what is no tokenizer."""
    try:
        tokenizer = Tokenizer.from_str(text)
    except Exception as error:  # the library raises plain Exception
        raise ValueError(f"tokenizer.json is no tokenizer: {error}") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True  # in an output, `</s>` is text like any other
    return tokenizer
