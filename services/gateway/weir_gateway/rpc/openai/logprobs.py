"""What both endpoints say of a token's log-probability."""

LOGPROB_MIN = -9999.0  # OpenAI's: JSON has no infinity
REPLACEMENT = "\ufffd"


def finite(logprob: float | None) -> float | None:
    """A log-probability as JSON can hold it."""
    return None if logprob is None else max(logprob, LOGPROB_MIN)


def utf8(text: str) -> list[int] | None:
    """The bytes of a token's text; None for a part of a character, whose bytes are not known."""
    return None if REPLACEMENT in text else [*text.encode()]
