"""Accounts over the wire."""

from typing import Any

import pytest

from weir_contracts.billing.v1 import account_pb2 as pb
from weir_contracts.common.v1.money_pb2 import Money
from weir_kit.errors import Conflict, InvalidArgument, NotFound
from weir_kit.status import raising_weir_errors


def crediting(nanos: int = 5, currency: str = "USD", **changes: Any) -> pb.CreditAccountRequest:
    values: dict[str, Any] = {
        "tenant_id": "a",
        "request_id": "c1",
        "description": "a gift",
        **changes,
    }
    return pb.CreditAccountRequest(amount=Money(nanos=nanos, currency_code=currency), **values)


async def test_an_account_is_opened_credited_and_listed(client: Any) -> None:
    opened = await client.account.CreateAccount(pb.CreateAccountRequest(tenant_id="a"))
    assert opened.balance.credit == Money(nanos=0, currency_code="USD")
    for _ in range(2):
        credited = await client.account.CreditAccount(crediting())
        assert credited.balance.available.nanos == 5
    listed = await client.account.ListEntries(pb.ListEntriesRequest(tenant_id="a"))
    (entry,) = listed.entries
    assert (entry.account, entry.kind, entry.request_id) == ("tenant:a:available", "credit", "c1")
    assert (entry.amount.nanos, entry.balance_after.nanos, entry.description) == (5, 5, "a gift")
    assert entry.created_at.seconds == client.clock.now_s()
    assert (entry.transfer_id, listed.next_page_token) == ("credit:a:c1", "")
    verified = await client.account.VerifyLedger(pb.VerifyLedgerRequest())
    assert list(verified.sums) == [Money(nanos=0, currency_code="USD")]
    assert (verified.entries, verified.wrong_balances, verified.open_holds) == (2, 0, 0)


async def test_pages_follow_each_other(client: Any) -> None:
    await client.account.CreateAccount(pb.CreateAccountRequest(tenant_id="a"))
    for n in range(3):
        await client.account.CreditAccount(crediting(request_id=f"c{n}"))
    request = pb.ListEntriesRequest(tenant_id="a", page_size=2)
    first = await client.account.ListEntries(request)
    request.page_token = first.next_page_token
    second = await client.account.ListEntries(request)
    found = [entry.request_id for page in (first, second) for entry in page.entries]
    assert (found, second.next_page_token) == (["c2", "c1", "c0"], "")


async def test_the_same_credit_with_another_amount_is_a_conflict(client: Any) -> None:
    await client.account.CreateAccount(pb.CreateAccountRequest(tenant_id="a"))
    await client.account.CreditAccount(crediting())
    with pytest.raises(Conflict), raising_weir_errors():
        await client.account.CreditAccount(crediting(6))
    with pytest.raises(Conflict), raising_weir_errors():
        await client.account.CreateAccount(
            pb.CreateAccountRequest(tenant_id="a", currency_code="EUR")
        )


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.CreateAccountRequest(tenant_id="a:b"), "tenant_id"),
        (pb.CreateAccountRequest(tenant_id="a", currency_code="usd"), "currency_code"),
        (crediting(0), "amount.nanos"),
        (crediting(5, "XYZ"), "amount.currency_code"),
        (crediting(5, "EUR"), "amount.currency_code"),
        (crediting(request_id=""), "request_id"),
        (crediting(description="x" * 501), "description"),
        (pb.GetBalanceRequest(), "tenant_id"),
        (pb.ListEntriesRequest(tenant_id=" "), "tenant_id"),
        (pb.ListEntriesRequest(request_id=" "), "request_id"),
        (pb.ListEntriesRequest(page_size=-1), "page_size"),
        (pb.ListEntriesRequest(page_token="?"), "page_token"),
    ],
)
async def test_a_wrong_field_is_named(client: Any, request_: Any, field: str) -> None:
    await client.account.CreateAccount(pb.CreateAccountRequest(tenant_id="a"))
    method = type(request_).__name__.removesuffix("Request")
    with pytest.raises(InvalidArgument) as caught, raising_weir_errors():
        await getattr(client.account, method)(request_)
    assert caught.value.field == field


async def test_a_tenant_without_an_account_is_not_found(client: Any) -> None:
    with pytest.raises(NotFound), raising_weir_errors():
        await client.account.GetBalance(pb.GetBalanceRequest(tenant_id="nobody"))
    with pytest.raises(NotFound), raising_weir_errors():
        await client.account.CreditAccount(crediting(tenant_id="nobody"))
