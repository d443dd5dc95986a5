"""Texts as a model's inputs: tokens of a `tokenizer.json`, bytes, or the strings themselves."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from weir_inference.adapters.repository.bad_model_folder import BadModelFolder
from weir_inference.core.prediction import RerankQuery, Texts
from weir_inference.core.tasks.task import Rows
from weir_inference.core.tasks.token_classify import NO_WORD, TokenPlaces
from weir_inference.core.tensors import ANY, Tensor, TensorSpec

T = TypeVar("T", covariant=True)
Texted: TypeAlias = str | tuple[str, str]

IDS, MASK, TYPES = "input_ids", "attention_mask", "token_type_ids"
PAD_TOKENS = ("[PAD]", "<pad>")
PART_TOKENS = 1 << 14  # padding included: what a model computes on them stays within bounds
INLINE_CHARS_MAX = 4096  # tokenized within a millisecond, which a thread is not worth


@dataclass(frozen=True)
class Tokens:
    """A text as tokens; `places` tells where they stand in it."""

    ids: Sequence[int]
    type_ids: Sequence[int]
    places: Callable[[], TokenPlaces]


Tokenize: TypeAlias = Callable[[Sequence[Texted]], list[Tokens]]


def n_tokens(tokens: Tokens) -> int:
    return len(tokens.ids)


def token_places(tokens: Tokens) -> TokenPlaces:
    return tokens.places()


class TextEncoder(Generic[T]):
    """An `Encoder` of texts, or of queries with documents, padded to the longest of a part.

    `inputs` are of `IDS`, `MASK`, `TYPES`, [rows, tokens]; `about` says what of its tokens is kept.
    """

    def __init__(
        self,
        tokenize: Tokenize,
        inputs: Sequence[TensorSpec],
        about: Callable[[Tokens], T],
        pad_id: int = 0,
    ) -> None:
        self._tokenize = tokenize
        self._inputs = inputs
        self._about = about
        self._pad_id = pad_id

    async def rows(self, asked: Texts | RerankQuery) -> AsyncIterator[Rows[T]]:
        """See `Encoder.rows`."""
        texts = _texts(asked)
        n_chars = sum(len(text) if isinstance(text, str) else sum(map(len, text)) for text in texts)
        if n_chars <= INLINE_CHARS_MAX:
            tokenized = self._tokenize(texts)
        else:
            tokenized = await asyncio.to_thread(self._tokenize, texts)
        for part in _parts(tokenized):
            tensors = {spec.name: self._matrix(spec, part) for spec in self._inputs}
            yield Rows(tensors, [self._about(tokens) for tokens in part])

    def _matrix(self, spec: TensorSpec, part: Sequence[Tokens]) -> Tensor:
        width = spec.shape[1]
        if width == ANY:
            width = max(1, *(len(tokens.ids) for tokens in part))
        padding = self._pad_id if spec.name == IDS else 0
        matrix = np.full((len(part), width), padding, spec.datatype.dtype)
        for row, tokens in zip(matrix, part, strict=True):
            n = len(tokens.ids)
            if spec.name == IDS:
                row[:n] = tokens.ids
            elif spec.name == MASK:
                row[:n] = 1
            else:
                row[:n] = tokens.type_ids
        return matrix


class StringEncoder:
    """An `Encoder` for models that take the strings themselves: BYTES [rows] or [rows, 1]."""

    def __init__(self, spec: TensorSpec) -> None:
        self._spec = spec

    async def rows(self, asked: Texts) -> AsyncIterator[Rows[None]]:
        """See `Encoder.rows`."""
        strings = np.array([text.encode() for text in asked.texts], np.object_)
        shape = (len(strings), 1) if len(self._spec.shape) == 2 else (len(strings),)
        yield Rows({self._spec.name: strings.reshape(shape)}, [None] * len(strings))


def file_tokenizer(
    file: Path, max_tokens: int | None, *, lowercase: bool, pairs: bool
) -> tuple[Tokenize, int]:
    """The tokenizer of a `tokenizer.json`, which cuts at `max_tokens`, and its padding's id.

    Raises `BadModelFolder`.
    """
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # all that the library raises is a bare Exception
        raise BadModelFolder("is no tokenizer of the library tokenizers", file.name) from error
    n_special = tokenizer.num_special_tokens_to_add(pairs)
    pad_id = (tokenizer.padding or {}).get("pad_id")
    if pad_id is None:
        known = map(tokenizer.token_to_id, PAD_TOKENS)
        pad_id = next((one for one in known if one is not None), 0)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    if max_tokens is not None:
        if max_tokens <= n_special:
            raise BadModelFolder(
                f"model.yaml: preprocess.max_tokens must be more than the {n_special} tokens that "
                "the tokenizer adds to a text"
            )
        tokenizer.enable_truncation(max_tokens)

    def tokenize(texts: Sequence[Texted]) -> list[Tokens]:
        if lowercase:
            texts = [_lowered(text) for text in texts]
        encodings = tokenizer.encode_batch(texts)
        return [
            Tokens(encoding.ids, encoding.type_ids, _places(encoding, text))
            for encoding, text in zip(encodings, texts, strict=True)
        ]

    return tokenize, pad_id


def byte_tokenizer(max_tokens: int | None, *, lowercase: bool) -> Tokenize:
    """UTF-8 bytes plus 1, since 0 is padding; cut at `max_tokens` of them."""

    def tokenize(texts: Sequence[Texted]) -> list[Tokens]:
        tokens = []
        for text in texts:
            assert isinstance(text, str), "open_task gives it no pairs"
            lowered = lowered_text(text) if lowercase else text
            data = np.frombuffer(lowered.encode()[:max_tokens], np.uint8).astype(np.int64)
            tokens.append(Tokens((data + 1).tolist(), [0] * len(data), _byte_places(data)))
        return tokens

    return tokenize


def lowered_text(text: str) -> str:
    """In lower case, code point by code point, so that places in it are places in the text."""
    return "".join(low if len(low := char.lower()) == 1 else char for char in text)


def _lowered(text: Texted) -> Texted:
    if isinstance(text, str):
        return lowered_text(text)
    return lowered_text(text[0]), lowered_text(text[1])


def _texts(asked: Texts | RerankQuery) -> Sequence[Texted]:
    if isinstance(asked, Texts):
        return asked.texts
    return [(asked.query, document) for document in asked.documents]


def _parts(tokenized: Sequence[Tokens]) -> Iterator[Sequence[Tokens]]:
    """In order, each of at most `PART_TOKENS` with its padding, or of one text."""
    first, longest = 0, 0
    for i, tokens in enumerate(tokenized):
        longest = max(longest, len(tokens.ids))
        if i > first and longest * (i + 1 - first) > PART_TOKENS:
            yield tokenized[first:i]
            first, longest = i, len(tokens.ids)
    yield tokenized[first:]


def _places(encoding: Encoding, text: Texted) -> Callable[[], TokenPlaces]:
    def places() -> TokenPlaces:
        assert isinstance(text, str), "places are those of one text"
        offsets = np.array(encoding.offsets, np.int64).reshape(-1, 2)
        words = [NO_WORD if word is None else word for word in encoding.word_ids]
        # Some tokenizers count the space before a word as part of it.
        starts = [start + _n_spaces(text[start:end]) for start, end in offsets]
        return TokenPlaces(np.array(starts, np.int64), offsets[:, 1], np.array(words, np.int64))

    return places


def _byte_places(data: NDArray[np.int64]) -> Callable[[], TokenPlaces]:
    """A code point is a word of its own."""

    def places() -> TokenPlaces:
        begins = (data & 0xC0) != 0x80
        chars = np.cumsum(begins) - 1
        return TokenPlaces(chars, chars + 1, chars)

    return places


def _n_spaces(text: str) -> int:
    return len(text) - len(text.lstrip())
