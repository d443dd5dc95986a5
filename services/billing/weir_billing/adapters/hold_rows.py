"""A hold as a row, and back."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from weir_billing.core.hold import Hold, HoldState, Reservation, Witness
from weir_billing.core.money import Money
from weir_billing.core.usage import TokenUsage, Usage, WorkUsage

COLUMNS = """
    request_id, tenant_id, model, base_model, input_tokens, max_output_tokens, max_requests,
    max_items, max_compute_us, ttl_s, currency, amount, price_book_version,
    extract(epoch FROM created_at)::float8 AS created_at_s,
    extract(epoch FROM expires_at)::float8 AS expires_at_s, state,
    extract(epoch FROM ended_at)::float8 AS ended_at_s, witness, used_input_tokens,
    used_cached_input_tokens, used_output_tokens, used_requests, used_items, used_compute_us,
    charged, uncharged
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
    max_requests: int | None
    max_items: int | None
    max_compute_us: int | None
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
    used_requests: int | None
    used_items: int | None
    used_compute_us: int | None
    charged: int
    uncharged: int

    def hold(self) -> Hold:
        return Hold(
            reservation=Reservation(
                self.request_id,
                self.tenant_id,
                self.model,
                self._most(),
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
            usage=self._usage(),
            charged_nanos=self.charged,
            uncharged_nanos=self.uncharged,
        )

    def _most(self) -> Usage:
        work = _work(self.max_requests, self.max_items, self.max_compute_us)
        return work or TokenUsage(self.input_tokens, self.max_output_tokens)

    def _usage(self) -> Usage | None:
        if self.used_input_tokens is None:
            return _work(self.used_requests, self.used_items, self.used_compute_us)
        assert self.used_output_tokens is not None
        assert self.used_cached_input_tokens is not None
        return TokenUsage(
            self.used_input_tokens, self.used_output_tokens, self.used_cached_input_tokens
        )


def opening(hold: Hold) -> dict[str, Any]:
    """The values of a new hold's row."""
    wanted = hold.reservation
    tokens, work = _split(wanted.most)
    return {
        "request_id": wanted.request_id,
        "tenant_id": wanted.tenant_id,
        "model": wanted.model,
        "base_model": wanted.base_model,
        "input_tokens": tokens.input_tokens if tokens else 0,
        "max_output_tokens": tokens.output_tokens if tokens else 0,
        "max_requests": work and work.requests,
        "max_items": work and work.items,
        "max_compute_us": work and work.compute_us,
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
    tokens = [_split(hold.usage)[0] for hold in holds]
    work = [_split(hold.usage)[1] for hold in holds]
    return {
        "request_ids": [hold.request_id for hold in holds],
        "states": [str(hold.state) for hold in holds],
        "ended_at": [hold.ended_at_s for hold in holds],
        "witnesses": [hold.witness and str(hold.witness) for hold in holds],
        "inputs": [used and used.input_tokens for used in tokens],
        "cached": [used and used.cached_input_tokens for used in tokens],
        "outputs": [used and used.output_tokens for used in tokens],
        "requests": [used and used.requests for used in work],
        "items": [used and used.items for used in work],
        "computes_us": [used and used.compute_us for used in work],
        "charged": [hold.charged_nanos for hold in holds],
        "uncharged": [hold.uncharged_nanos for hold in holds],
    }


def _split(usage: Usage | None) -> tuple[TokenUsage | None, WorkUsage | None]:
    """The usage as tokens and as work: at most one of the two is there."""
    return (
        usage if isinstance(usage, TokenUsage) else None,
        usage if isinstance(usage, WorkUsage) else None,
    )


def _work(requests: int | None, items: int | None, compute_us: int | None) -> WorkUsage | None:
    if requests is None:
        return None
    assert items is not None and compute_us is not None, "a constraint says so"
    return WorkUsage(requests, items, compute_us)
