"""How likely tokens were: natural logarithms, before temperature, cuts and penalties."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Scored:
    """A token as the engine tells of it. `logprob` is None if nothing precedes the token.

    `top` are the likeliest tokens, the likeliest first, as (token id, log-probability).
    """

    token_id: int = field(repr=False)
    logprob: float | None
    top: tuple[tuple[int, float], ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class TokenLogprob:
    """A token as the client is told of it, with texts in the place of ids.

    `start`: where its text begins in the choice's, in characters (code points). A text that is a
    part of a character holds U+FFFD in its place.
    """

    text: str = field(repr=False)
    logprob: float | None
    top: tuple[tuple[str, float], ...] = field(repr=False)
    start: int
