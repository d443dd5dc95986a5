"""Token usage: what a request read and wrote."""

from dataclasses import dataclass

from weir_billing.core import fields
from weir_kit.errors import InvalidArgument


@dataclass(frozen=True)
class TokenUsage:
    """Tokens of one request; `cached_input_tokens` are among `input_tokens`."""

    input_tokens: int
    output_tokens: int
    cached_input_tokens: int = 0


def usage_of(
    input_tokens: int, cached_input_tokens: int, output_tokens: int, field: str
) -> TokenUsage:
    """A usage whose counts make sense. Raises `InvalidArgument` naming the count in `field`."""
    fields.tokens(input_tokens, f"{field}.input_tokens")
    fields.tokens(output_tokens, f"{field}.output_tokens")
    if not 0 <= cached_input_tokens <= input_tokens:
        raise InvalidArgument(
            "must be from 0 to usage.input_tokens", field=f"{field}.cached_input_tokens"
        )
    return TokenUsage(input_tokens, output_tokens, cached_input_tokens)
