"""What a tokenizer must be able to do: the port that `adapters` fill."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Message:
    """One message of a conversation; `role` is `system`, `user` or `assistant`."""

    role: str
    content: str


class Vocabulary(Protocol):
    """The decoding half of a tokenizer. Ids are below `id_limit`."""

    @property
    def id_limit(self) -> int:
        """One more than the greatest id."""
        ...

    def decode(self, ids: Sequence[int], *, keep_special: bool) -> str:
        """The text of a whole sequence; bytes that are not UTF-8 become U+FFFD."""
        ...

    def is_silent(self, token_id: int, *, keep_special: bool) -> bool:
        """Whether `decode` passes over this id: no token has it, or a special one left out."""
        ...

    def is_byte(self, token_id: int) -> bool:
        """Whether this is a byte-fallback token (`<0xE4>`): its text depends on its neighbours."""
        ...


class Tokenizer(Vocabulary, Protocol):
    """A model's tokenizer. Safe to use from several threads."""

    @property
    def name(self) -> str:
        """The name of the model it belongs to."""
        ...

    @property
    def vocab_size(self) -> int:
        """Entries in the vocabulary, added tokens included."""
        ...

    @property
    def has_chat_template(self) -> bool:
        """Whether it can encode conversations."""
        ...

    def encode(self, texts: Sequence[str], *, add_special: bool) -> list[list[int]]:
        """Ids of each text; `add_special` lets the tokenizer add its own begin and end tokens."""
        ...

    def encode_chat(self, messages: Sequence[Message], *, open_answer: bool) -> list[int]:
        """Ids of a conversation by the chat template; `open_answer` opens the assistant's answer.

        Raises InvalidArgument if there is no template or the template refuses the conversation.
        """
        ...
