"""A hold as a row, and back."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from weir_billing.core.hold import Hold, HoldState, Reservation, Witness
from weir_billing.core.money import Money
from weir_billing.core.usage import TokenUsage

COLUMNS = """
    request_id, tenant_id, model, base_model, input_tokens, max_output_tokens, ttl_s, currency,
    amount, price_book_version, extract(epoch FROM created_at)::float8 AS created_at_s,
    extract(epoch FROM expires_at)::float8 AS expires_at_s, state,
    extract(epoch FROM ended_at)::float8 AS ended_at_s, witness, used_input_tokens,
    used_cached_input_tokens, used_output_tokens, charged, uncharged
"""


@dataclass(frozen=True)
class HoldRow:
    """`COLUMNS`, in order."""

    request_id: str
    tenant_id: str
    model: str
    base_model: str
    input_tokens: int
    max_output_tokens: int
    ttl_s: int
    currency: str
    amount: int
    price_book_version: int
    created_at_s: float
    expires_at_s: float
    state: str
    ended_at_s: float | None
    witness: str | None
    used_input_tokens: int | None
    used_cached_input_tokens: int | None
    used_output_tokens: int | None
    charged: int
    uncharged: int

    def hold(self) -> Hold:
        usage = None
        if self.used_input_tokens is not None:
            assert self.used_output_tokens is not None
            assert self.used_cached_input_tokens is not None
            usage = TokenUsage(
                self.used_input_tokens, self.used_output_tokens, self.used_cached_input_tokens
            )
        return Hold(
            reservation=Reservation(
                self.request_id,
                self.tenant_id,
                self.model,
                self.input_tokens,
                self.max_output_tokens,
                self.ttl_s,
                self.base_model,
            ),
            amount=Money(self.amount, self.currency),
            price_book_version=self.price_book_version,
            created_at_s=self.created_at_s,
            expires_at_s=self.expires_at_s,
            state=HoldState(self.state),
            ended_at_s=self.ended_at_s,
            witness=Witness(self.witness) if self.witness else None,
            usage=usage,
            charged_nanos=self.charged,
            uncharged_nanos=self.uncharged,
        )


def opening(hold: Hold) -> dict[str, Any]:
    """The values of a new hold's row."""
    wanted = hold.reservation
    return {
        "request_id": wanted.request_id,
        "tenant_id": wanted.tenant_id,
        "model": wanted.model,
        "base_model": wanted.base_model,
        "input_tokens": wanted.input_tokens,
        "max_output_tokens": wanted.max_output_tokens,
        "ttl_s": wanted.ttl_s,
        "currency": hold.amount.currency,
        "amount": hold.amount.nanos,
        "price_book_version": hold.price_book_version,
        "created_at_s": hold.created_at_s,
        "expires_at_s": hold.expires_at_s,
        "state": str(hold.state),
    }


def ending(holds: Sequence[Hold]) -> dict[str, list[Any]]:
    """The values that end holds, a column each."""
    return {
        "request_ids": [hold.request_id for hold in holds],
        "states": [str(hold.state) for hold in holds],
        "ended_at": [hold.ended_at_s for hold in holds],
        "witnesses": [hold.witness and str(hold.witness) for hold in holds],
        "inputs": [hold.usage and hold.usage.input_tokens for hold in holds],
        "cached": [hold.usage and hold.usage.cached_input_tokens for hold in holds],
        "outputs": [hold.usage and hold.usage.output_tokens for hold in holds],
        "charged": [hold.charged_nanos for hold in holds],
        "uncharged": [hold.uncharged_nanos for hold in holds],
    }
