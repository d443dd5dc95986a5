"""Statements: entries, newest first, a page at a time (AIP-158)."""

import base64
import binascii
from dataclasses import dataclass

from weir_billing.core.money import Money
from weir_billing.core.transfer import Kind
from weir_kit.errors import InvalidArgument


@dataclass(frozen=True)
class Line:
    """One entry as it stands in the ledger; `entry_id` rises with time."""

    entry_id: int
    transfer_id: str
    account: str
    amount: Money
    balance_after: Money
    kind: Kind
    request_id: str
    description: str
    created_at_s: float


@dataclass(frozen=True)
class Query:
    """Which entries: those of a tenant's accounts, of one request in every account, or all.

    Only entries older than `before_entry_id` where it is given; at most `page_size`.
    """

    tenant_id: str
    request_id: str
    page_size: int
    before_entry_id: int | None = None


@dataclass(frozen=True)
class Page:
    """A page of lines; `next_page_token` is empty at the end."""

    lines: tuple[Line, ...]
    next_page_token: str


def page_token(tenant_id: str, request_id: str, last_entry_id: int) -> str:
    """The token of the page after `last_entry_id`; it holds the filters it was made with."""
    text = f"1/{last_entry_id}/{tenant_id}/{request_id}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def before_entry_id(token: str, tenant_id: str, request_id: str) -> int | None:
    """Where a token's page begins; None for the first. Raises `InvalidArgument`."""
    if not token:
        return None
    wrong = InvalidArgument(
        "must be the next_page_token of an answer to the same filters", field="page_token"
    )
    try:
        text = base64.b64decode(
            token + "=" * (-len(token) % 4), altchars=b"-_", validate=True
        ).decode()
    except (binascii.Error, ValueError) as error:
        raise wrong from error
    version, _, rest = text.partition("/")
    entry_id, _, filters = rest.partition("/")
    known = version == "1" and filters == f"{tenant_id}/{request_id}"
    if not (known and entry_id.isascii() and entry_id.isdigit() and len(entry_id) <= 18):
        raise wrong
    return int(entry_id)
