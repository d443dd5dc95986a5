"""How the next token is chosen."""

from dataclasses import dataclass

from weir_kit.errors import InvalidArgument

GREEDY_BELOW = 1e-5  # colder than this, dividing logits by the temperature overflows
SEED_MAX = 2**64 - 1
LOGIT_BIAS_MAX = 100.0
LOGIT_BIASES_MAX = 1024
STOP_TOKENS_MAX = 64

# field → least, most
RANGES = {
    "temperature": (0.0, 2.0),
    "min_p": (0.0, 1.0),
    "presence_penalty": (-2.0, 2.0),
    "frequency_penalty": (-2.0, 2.0),
}
# The same, but the least itself is out of range.
RANGES_ABOVE = {
    "top_p": (0.0, 1.0),
    "repetition_penalty": (0.0, 2.0),
}


@dataclass(frozen=True)
class Sampling:
    """Sampling parameters of one request, in range by construction.

    `temperature` 0 is greedy. `top_k` 0 means all tokens. `seed` alone decides this request's
    random numbers, whatever runs beside it; None asks the server to draw one. `logit_bias` has
    pairs of a token and what is added to its logit. Raises `InvalidArgument` naming the field that
    is out of range.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    ignore_eos: bool = False
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    stop_token_ids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        # Written as `not (inside)`, so that NaN is refused too.
        for field, (least, most) in RANGES.items():
            if not least <= getattr(self, field) <= most:
                raise _out_of_range(field, f"must be between {least:g} and {most:g}")
        for field, (least, most) in RANGES_ABOVE.items():
            if not least < getattr(self, field) <= most:
                raise _out_of_range(field, f"must be above {least:g} and at most {most:g}")
        if self.top_k < 0:
            raise _out_of_range("top_k", "must be 0 (all tokens) or more")
        if self.seed is not None and not 0 <= self.seed <= SEED_MAX:
            raise _out_of_range("seed", "must be an unsigned 64-bit integer")
        if len(self.logit_bias) > LOGIT_BIASES_MAX:
            raise _out_of_range("logit_bias", f"may name at most {LOGIT_BIASES_MAX} tokens")
        if not all(abs(bias) <= LOGIT_BIAS_MAX for _, bias in self.logit_bias):
            raise _out_of_range(
                "logit_bias", f"must be between -{LOGIT_BIAS_MAX:g} and {LOGIT_BIAS_MAX:g}"
            )
        if len(self.stop_token_ids) > STOP_TOKENS_MAX:
            raise _out_of_range("stop_token_ids", f"may be at most {STOP_TOKENS_MAX}")

    @property
    def changes_logits(self) -> bool:
        """Whether bias or penalties count."""
        return bool(
            self.logit_bias
            or self.repetition_penalty != 1.0
            or self.presence_penalty
            or self.frequency_penalty
        )

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is always taken."""
        return self.temperature < GREEDY_BELOW


def _out_of_range(field: str, rule: str) -> InvalidArgument:
    return InvalidArgument(f"{field} {rule}", field=f"sampling.{field}")
