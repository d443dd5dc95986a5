"""Accounting: tenants' accounts, their credit and their statements."""

from typing import Protocol

from weir_billing.core.account import Balance
from weir_billing.core.billing import microseconds
from weir_billing.core.money import NANOS, Money
from weir_billing.core.statement import Line, Page, Query, before_entry_id, page_token
from weir_billing.core.transfer import Transfer, credit_transfer
from weir_billing.core.verification import Verification
from weir_kit.clock import Clock
from weir_kit.errors import Conflict, InvalidArgument, NotFound

# A billion units at once; more is a mistake in units.
CREDIT_NANOS_MAX = 10**9 * NANOS


class Accounts(Protocol):
    """Where accounts and their entries are kept."""

    async def open(self, tenant_id: str, currency: str) -> Balance:
        """Open the tenant's accounts unless they are there; the balance tells the currency."""
        ...

    async def balance(self, tenant_id: str) -> Balance | None:
        """The tenant's balance; None without an account."""
        ...

    async def credit(self, transfer: Transfer) -> Transfer:
        """Post the transfer unless its id is there; answers the one that stands.

        Raises `InvalidArgument` if a balance would not fit 64 bits.
        """
        ...

    async def lines(self, query: Query) -> list[Line]:
        """Entries, newest first."""
        ...

    async def verify(self) -> Verification:
        """Add up everything in one snapshot."""
        ...


class Accounting:
    """What operators do with accounts."""

    def __init__(self, accounts: Accounts, clock: Clock) -> None:
        self._accounts = accounts
        self._clock = clock

    async def open(self, tenant_id: str, currency: str) -> Balance:
        """Open a tenant's account; again is fine. Raises `Conflict` if its currency is another."""
        balance = await self._accounts.open(tenant_id, currency)
        if balance.available.currency != currency:
            raise Conflict(f"the tenant's account is in {balance.available.currency}")
        return balance

    async def credit(
        self, tenant_id: str, amount: Money, request_id: str, description: str
    ) -> Balance:
        """Add credit once per request id.

        Raises `NotFound` without an account, `InvalidArgument` for a wrong amount or currency,
        `Conflict` when the request id added another amount before.
        """
        if not 0 < amount.nanos <= CREDIT_NANOS_MAX:
            raise InvalidArgument(
                f"must be from 1 to {CREDIT_NANOS_MAX} nanos", field="amount.nanos"
            )
        currency = (await self.balance(tenant_id)).available.currency
        if amount.currency != currency:
            raise InvalidArgument(
                f"must be the account's currency, {currency}", field="amount.currency_code"
            )
        now_s = microseconds(self._clock.now_s())
        wanted = credit_transfer(tenant_id, request_id, amount, description, now_s)
        stands = await self._accounts.credit(wanted)
        if set(stands.entries) != set(wanted.entries):
            raise Conflict("this request_id has already added another amount")
        return await self.balance(tenant_id)

    async def balance(self, tenant_id: str) -> Balance:
        """What a tenant has. Raises `NotFound` without an account."""
        balance = await self._accounts.balance(tenant_id)
        if balance is None:
            raise NotFound("the tenant has no account; open one with CreateAccount")
        return balance

    async def statement(self, tenant_id: str, request_id: str, page_size: int, token: str) -> Page:
        """A page of entries. Raises `InvalidArgument` for a token of other filters."""
        before = before_entry_id(token, tenant_id, request_id)
        # One more than the page tells whether another page follows.
        lines = await self._accounts.lines(Query(tenant_id, request_id, page_size + 1, before))
        page = tuple(lines[:page_size])
        more = len(lines) > page_size
        return Page(page, page_token(tenant_id, request_id, page[-1].entry_id) if more else "")

    async def verify(self) -> Verification:
        """Add the whole ledger up again."""
        return await self._accounts.verify()
