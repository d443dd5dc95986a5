"""Tokenizers in Hugging Face's format, by the `tokenizers` library."""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from jinja2 import TemplateSyntaxError
from tokenizers import Tokenizer as RustTokenizer

from weir_kit.clock import Clock
from weir_kit.config import ConfigError
from weir_kit.errors import InvalidArgument
from weir_tokenizer.adapters.chat_template import ChatTemplate
from weir_tokenizer.adapters.control_tokens import ControlTokens
from weir_tokenizer.adapters.tokenizer_files import (
    TOKENIZER_FILE,
    TokenizerFiles,
    locate,
    read_files,
)
from weir_tokenizer.core.tokenizer import Message


def load(name: str, source: str, clock: Clock) -> "HuggingFaceTokenizer":
    """The tokenizer of a folder or hub id. Raises ConfigError naming the file at fault."""
    folder = locate(source)
    files = read_files(folder)
    try:
        rust = RustTokenizer.from_str(files.tokenizer_json)
    except Exception as error:  # the library raises plain Exception
        raise ConfigError(f"{folder / TOKENIZER_FILE} is no tokenizer: {error}") from error
    return HuggingFaceTokenizer(name, rust, files, clock)


class HuggingFaceTokenizer:
    """Fills `core.tokenizer.Tokenizer`. The library works without the GIL and from any thread."""

    def __init__(self, name: str, rust: RustTokenizer, files: TokenizerFiles, clock: Clock) -> None:
        self.name = name
        self._rust = rust
        # A file may ask for cut or padded texts; neither encodes what was sent.
        rust.no_truncation()
        rust.no_padding()
        _mark_special(rust, files.special_tokens)
        vocabulary = rust.get_vocab(with_added_tokens=True)
        self.vocab_size = len(vocabulary)
        self.id_limit = max(vocabulary.values(), default=-1) + 1
        self._gaps = frozenset(range(self.id_limit)) - frozenset(vocabulary.values())
        special = {
            token_id: token.content
            for token_id, token in rust.get_added_tokens_decoder().items()
            if token.special
        }
        self._silent = self._gaps | special.keys()
        self._bytes = frozenset(_byte_ids(files.tokenizer_json, vocabulary))
        self._control = ControlTokens(special.values())
        self._template = _template(files, clock)

    @property
    def has_chat_template(self) -> bool:
        """Whether it can encode conversations."""
        return self._template is not None

    def decode(self, ids: Sequence[int], *, keep_special: bool) -> str:
        """The text of a whole sequence."""
        text: str = self._rust.decode(ids, skip_special_tokens=not keep_special)
        return text

    def is_silent(self, token_id: int, *, keep_special: bool) -> bool:
        """Whether `decode` passes over this id."""
        return token_id in (self._gaps if keep_special else self._silent)

    def is_byte(self, token_id: int) -> bool:
        """Whether this is a byte-fallback token."""
        return token_id in self._bytes

    def encode(self, texts: Sequence[str], *, add_special: bool) -> list[list[int]]:
        """Ids of each text, in one call for all."""
        encodings = self._rust.encode_batch_fast(list(texts), add_special_tokens=add_special)
        return [encoding.ids for encoding in encodings]

    def encode_chat(self, messages: Sequence[Message], *, open_answer: bool) -> list[int]:
        """Ids of a conversation. The template writes the special tokens, so none are added."""
        if self._template is None:
            raise InvalidArgument(
                f"the model {self.name!r} has no chat template: send texts instead", field="chat"
            )
        marked = [
            {"role": message.role, "content": self._control.mark(message.content)}
            for message in messages
        ]
        rendered = self._template.render(marked, add_generation_prompt=open_answer)
        return list(chain(*self.encode(self._control.cut(rendered), add_special=False)))


def _mark_special(rust: RustTokenizer, special_tokens: Mapping[str, str]) -> None:
    """Some files name a special token only in the configuration. No token is new to the model."""
    known = {token.content for token in rust.get_added_tokens_decoder().values()}
    named = {token for token in special_tokens.values() if rust.token_to_id(token) is not None}
    rust.add_special_tokens(sorted(named - known))


def _byte_ids(tokenizer_json: str, vocabulary: Mapping[str, int]) -> Iterator[int]:
    """Ids of `<0x00>` to `<0xFF>`, where the decoder reads them as bytes."""
    if "ByteFallback" not in set(_decoder_types(json.loads(tokenizer_json).get("decoder"))):
        return
    for byte in range(256):
        for token in {f"<0x{byte:02X}>", f"<0x{byte:02x}>"}:
            if token in vocabulary:
                yield vocabulary[token]


def _decoder_types(decoder: Any) -> Iterator[str]:
    if decoder is None:
        return
    yield decoder["type"]
    for part in decoder.get("decoders", ()):
        yield from _decoder_types(part)


def _template(files: TokenizerFiles, clock: Clock) -> ChatTemplate | None:
    if files.chat_template is None:
        return None
    try:
        return ChatTemplate(files.chat_template, files.special_tokens, clock)
    except TemplateSyntaxError as error:
        raise ConfigError(
            f"{files.chat_template_file}: the chat template is wrong: {error}"
        ) from error
