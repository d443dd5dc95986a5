"""How the next token is chosen."""

from dataclasses import dataclass

from weir_kit.errors import InvalidArgument

TEMPERATURE_MAX = 2.0
GREEDY_BELOW = 1e-5  # colder than this, dividing logits by the temperature overflows
SEED_MAX = 2**64 - 1


@dataclass(frozen=True)
class Sampling:
    """Sampling parameters of one request, in range by construction.

    `temperature` 0 is greedy. `top_k` 0 means all tokens. `seed` alone decides this request's
    random numbers, whatever runs beside it; None asks the server to draw one. Raises
    `InvalidArgument` naming the field that is out of range.
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
        if not 0.0 <= self.temperature <= TEMPERATURE_MAX:
            raise InvalidArgument(
                f"temperature must be between 0 and {TEMPERATURE_MAX:g}",
                field="sampling.temperature",
            )
        if not 0.0 < self.top_p <= 1.0:
            raise InvalidArgument("top_p must be above 0 and at most 1", field="sampling.top_p")
        if self.top_k < 0:
            raise InvalidArgument("top_k must be 0 (all tokens) or more", field="sampling.top_k")
        if self.seed is not None and not 0 <= self.seed <= SEED_MAX:
            raise InvalidArgument("seed must be an unsigned 64-bit integer", field="sampling.seed")

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is always taken."""
        return self.temperature < GREEDY_BELOW
