"""What a request may ask for. Every check raises InvalidArgument and names the field."""

from collections.abc import Sequence

from weir_kit.errors import InvalidArgument
from weir_tokenizer.core.tokenizer import Message, Vocabulary

TEXTS_MAX = 256
TEXT_BYTES_MAX = 1 << 20
MESSAGES_MAX = 2048
SEQUENCES_MAX = 256
IDS_MAX = 1 << 20  # no text within bounds has more
STOPS_MAX = 16
STOP_CHARACTERS_MAX = 256
ROLES = ("system", "user", "assistant")


def check_texts(texts: Sequence[str]) -> int:
    """At least one text, few enough, and not too long in all; returns their bytes in UTF-8."""
    if not texts:
        raise InvalidArgument("at least one text is needed", field="texts.texts")
    if len(texts) > TEXTS_MAX:
        raise InvalidArgument(f"at most {TEXTS_MAX} texts a request", field="texts.texts")
    return _check_bytes(texts, "texts.texts")


def check_chat(messages: Sequence[Message]) -> int:
    """At least one message, known roles, not too long in all; returns the contents' bytes."""
    if not messages:
        raise InvalidArgument("at least one message is needed", field="chat.messages")
    if len(messages) > MESSAGES_MAX:
        raise InvalidArgument(
            f"at most {MESSAGES_MAX} messages a conversation", field="chat.messages"
        )
    for index, message in enumerate(messages):
        if message.role not in ROLES:
            raise InvalidArgument(
                f"the role must be one of {', '.join(ROLES)}", field=f"chat.messages[{index}].role"
            )
    return _check_bytes([message.content for message in messages], "chat.messages")


def check_stops(stops: Sequence[str]) -> None:
    """Few enough stop strings, none empty, none too long."""
    if len(stops) > STOPS_MAX:
        raise InvalidArgument(f"at most {STOPS_MAX} stop strings", field="options.stop")
    for index, stop in enumerate(stops):
        if not 1 <= len(stop) <= STOP_CHARACTERS_MAX:
            raise InvalidArgument(
                f"a stop string has 1 to {STOP_CHARACTERS_MAX} characters",
                field=f"options.stop[{index}]",
            )


def check_sequences(sequences: Sequence[Sequence[int]], vocabulary: Vocabulary) -> int:
    """At least one sequence, few ids in all, each in the vocabulary; returns how many ids."""
    if not sequences:
        raise InvalidArgument("at least one sequence is needed", field="sequences")
    if len(sequences) > SEQUENCES_MAX:
        raise InvalidArgument(f"at most {SEQUENCES_MAX} sequences a request", field="sequences")
    n_ids = sum(map(len, sequences))
    if n_ids > IDS_MAX:
        raise InvalidArgument(f"at most {IDS_MAX} ids a request", field="sequences")
    for index, ids in enumerate(sequences):
        check_ids(ids, vocabulary, field=f"sequences[{index}].ids")
    return n_ids


def check_ids(ids: Sequence[int], vocabulary: Vocabulary, *, field: str) -> None:
    """Few enough ids, each below the vocabulary's limit; the error names the first that is not."""
    if len(ids) > IDS_MAX:
        raise InvalidArgument(f"at most {IDS_MAX} ids a message", field=field)
    if not ids or max(ids) < vocabulary.id_limit:
        return
    index = next(index for index, token_id in enumerate(ids) if token_id >= vocabulary.id_limit)
    raise InvalidArgument(
        f"id {ids[index]} is not in the vocabulary: ids are below {vocabulary.id_limit}",
        field=f"{field}[{index}]",
    )


def _check_bytes(texts: Sequence[str], field: str) -> int:
    n_bytes = sum(len(text.encode()) for text in texts)
    if n_bytes > TEXT_BYTES_MAX:
        raise InvalidArgument(f"at most {TEXT_BYTES_MAX} bytes of text a request", field=field)
    return n_bytes
