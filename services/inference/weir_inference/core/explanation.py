"""Why an output token was chosen, as its attribution to the tokens before it."""

from dataclasses import dataclass
from enum import StrEnum

from weir_kit.errors import ContextLengthExceeded, InvalidArgument

STEPS_DEFAULT = 32
STEPS_MAX = 256


class AttributionMethod(StrEnum):
    """Shrikumar et al. 2016, and Sundararajan et al. 2017 with a zero embedding as baseline."""

    GRADIENT_X_INPUT = "gradient_x_input"
    INTEGRATED_GRADIENTS = "integrated_gradients"


@dataclass(frozen=True)
class ExplanationRequest:
    """Which token to explain: the last of `output_token_ids`.

    `steps` are those of the integral; gradient × input has none. `adapter` is the LoRA adapter to
    apply.
    """

    prompt_token_ids: tuple[int, ...]
    output_token_ids: tuple[int, ...]
    method: AttributionMethod = AttributionMethod.GRADIENT_X_INPUT
    steps: int = STEPS_DEFAULT
    adapter: str | None = None


@dataclass(frozen=True)
class Explanation:
    """What each token before the explained one, prompt then output, added to its log-probability.

    `logprob` is the explained token's, a natural logarithm.
    """

    logprob: float
    attributions: tuple[float, ...]


def check_explanation(request: ExplanationRequest, vocab_size: int, context_tokens: int) -> None:
    """Raises `InvalidArgument` or `ContextLengthExceeded`, naming the field at fault."""
    for field in ("prompt_token_ids", "output_token_ids"):
        token_ids = getattr(request, field)
        if not token_ids:
            raise InvalidArgument(f"{field} needs at least one token", field=field)
        if max(token_ids) >= vocab_size:
            raise InvalidArgument(
                f"every token id must be below the vocabulary's {vocab_size}", field=field
            )
    if len(request.prompt_token_ids) + len(request.output_token_ids) > context_tokens:
        raise ContextLengthExceeded(
            f"prompt and output must fit the model's context of {context_tokens} tokens",
            field="output_token_ids",
        )
    if not 1 <= request.steps <= STEPS_MAX:
        raise InvalidArgument(f"steps must be between 1 and {STEPS_MAX}", field="steps")
