"""How likely a token was."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TokenLogprob:
    """Natural logarithms, of the model's own distribution: before temperature, cuts and penalties.

    `top` are the likeliest tokens as (token id, log-probability), the likeliest first.
    """

    token_id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()
