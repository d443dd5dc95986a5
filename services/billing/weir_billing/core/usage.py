"""Usage: what a request read and wrote, or the work it made."""

from dataclasses import dataclass

from weir_billing.core import fields
from weir_kit.errors import InvalidArgument


@dataclass(frozen=True)
class TokenUsage:
    """Tokens of one request; `cached_input_tokens` are among `input_tokens`."""

    input_tokens: int
    output_tokens: int
    cached_input_tokens: int = 0


@dataclass(frozen=True)
class WorkUsage:
    """Work of one request to a model that answers in one piece: calls, items, computing."""

    requests: int
    items: int
    compute_us: int

    def __str__(self) -> str:
        """For people: `1 request, 12 items, 0.004512 s of computing`."""
        seconds, rest_us = divmod(self.compute_us, fields.SECOND_US)
        return (
            f"{_counted(self.requests, 'request')}, {_counted(self.items, 'item')}, "
            f"{seconds}.{rest_us:06d} s of computing"
        )


# A request has tokens or work, never both.
Usage = TokenUsage | WorkUsage


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


def work_of(requests: int, items: int, compute_us: int, field: str) -> WorkUsage:
    """Work whose counts make sense. Raises `InvalidArgument` naming the count in `field`."""
    return WorkUsage(
        fields.requests(requests, f"{field}.requests"),
        fields.items(items, f"{field}.items"),
        fields.compute_us(compute_us, f"{field}.compute_us"),
    )


def tokens_or_work(tokens: TokenUsage, work: WorkUsage | None, field: str) -> Usage:
    """The work in `field` where it is set, else the tokens. Raises `InvalidArgument` for both."""
    if work is None:
        return tokens
    if tokens.input_tokens or tokens.output_tokens:
        raise InvalidArgument(
            "must be unset where tokens are given: a call has the one or the other", field=field
        )
    return work


def _counted(count: int, name: str) -> str:
    return f"{count} {name}" if count == 1 else f"{count} {name}s"
