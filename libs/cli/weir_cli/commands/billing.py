"""`weir billing`: what tenants have, what they used, and whether the ledger is right."""

import asyncio
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any

import typer

from weir_cli.admin import TIMEOUT_S, admin
from weir_cli.failure import Failure
from weir_cli.ledger import accounts, entries_of, entry_fields, ledger_sums
from weir_cli.screen import NANOS, AsJson, moment, money, out, print_json, print_table
from weir_cli.stack.bootstrap import CURRENCY, TENANT
from weir_contracts.billing.v1 import account_pb2
from weir_contracts.common.v1 import money_pb2
from weir_kit.ids import RandomIds

app = typer.Typer(
    help="Balances, statements, credit, and the ledger's proof.", no_args_is_help=True
)

# The account above the request: beside each other they leave a common screen no room for amounts.
STATEMENT = ("when (UTC)", "kind", "account, request", "amount", "balance after", "description")

Tenant = Annotated[str, typer.Option(help="Whose account.")]


@app.command()
def balance(tenant: Tenant = TENANT, as_json: AsJson = False) -> None:
    """Show what a tenant has, and how much of it is held for running requests."""
    found = _balance_fields(asyncio.run(_balance(tenant)))
    _show_balance(found, as_json)


@app.command()
def statement(
    tenant: Tenant = TENANT,
    request_id: Annotated[
        str, typer.Option(help="Only this request, with the entries of every account.")
    ] = "",
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="Newest entries shown.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List ledger entries, newest first. Narrow screens show less; --json has all."""
    entries = [entry_fields(entry) for entry in asyncio.run(_statement(tenant, request_id, limit))]
    if as_json:
        print_json(entries)
        return
    print_table(STATEMENT, map(_statement_row, entries), optional=("description", "balance after"))


@app.command()
def verify(as_json: AsJson = False) -> None:
    """Add up the whole ledger again. Exit code 1 if anything is wrong."""
    found = asyncio.run(_verify())
    if as_json:
        print_json(found)
    else:
        for currency, nanos in found["sums_nanos"].items():
            out.print(f"sum of {found['entries']} entries: {money(nanos, currency)}")
        out.print(f"transfers that do not balance: {found['unbalanced_transfers']}")
        out.print(f"balances that do not match:    {found['wrong_balances']}")
        out.print(f"holds still open:              {found['open_holds']}")
        out.print("the ledger is right" if found["ok"] else "[red]the ledger is wrong[/]")
    if not found["ok"]:
        raise typer.Exit(1)


@app.command()
def credit(
    amount: Annotated[str, typer.Argument(help="In whole units and decimals: 10 or 2.50.")],
    tenant: Tenant = TENANT,
    currency: Annotated[str, typer.Option(help="The account's, by ISO 4217.")] = CURRENCY,
    description: Annotated[
        str, typer.Option(help="For people.")
    ] = "Credit by `weir billing credit`",
    request_id: Annotated[
        str, typer.Option(help="Your own id: the same one again adds nothing. Unset: a new one.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Add credit to a tenant's account."""
    request = account_pb2.CreditAccountRequest(
        tenant_id=tenant,
        amount=money_pb2.Money(nanos=nanos_of(amount), currency_code=currency.upper()),
        request_id=request_id or RandomIds().new("credit"),
        description=description,
    )
    _show_balance(_balance_fields(asyncio.run(_credit(request))), as_json)


def nanos_of(amount: str, *, least: int = 1) -> int:
    """Nano units of `amount`, exactly. Raises `Failure` if that is not whole, or below `least`."""
    try:
        nanos = Decimal(amount) * NANOS
        whole = int(nanos)
    except (InvalidOperation, OverflowError, ValueError):
        raise Failure(f"{amount!r} is no amount; give one such as 10 or 2.50") from None
    if whole < least or nanos != whole or whole >= 2**63:
        bound = "above zero" if least else "zero or more"
        raise Failure(f"the amount must be {bound} with at most nine decimals, not {amount}")
    return whole


async def _balance(tenant: str) -> account_pb2.Balance:
    async with admin() as stack:
        request = account_pb2.GetBalanceRequest(tenant_id=tenant)
        return (await accounts(stack).GetBalance(request, timeout=TIMEOUT_S)).balance


async def _statement(tenant: str, request_id: str, limit: int) -> list[account_pb2.Entry]:
    async with admin() as stack:
        # A request's entries of every account, as the flag says: revenue is no tenant's.
        whose = "" if request_id else tenant
        return await entries_of(stack, tenant=whose, request_id=request_id, limit=limit)


async def _verify() -> dict[str, Any]:
    async with admin() as stack:
        return await ledger_sums(stack)


async def _credit(request: account_pb2.CreditAccountRequest) -> account_pb2.Balance:
    async with admin() as stack:
        return (await accounts(stack).CreditAccount(request, timeout=TIMEOUT_S)).balance


def _balance_fields(balance: account_pb2.Balance) -> dict[str, Any]:
    return {
        "tenant_id": balance.tenant_id,
        "currency": balance.credit.currency_code,
        "credit_nanos": balance.credit.nanos,
        "held_nanos": balance.held.nanos,
        "available_nanos": balance.available.nanos,
    }


def _show_balance(balance: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(balance)
        return
    for what in ("credit", "held", "available"):
        out.print(f"{what:<10}{money(balance[f'{what}_nanos'], balance['currency']):>24}")


def _statement_row(entry: dict[str, Any]) -> tuple[str, ...]:
    return (
        moment(entry["created_at_s"]),
        entry["kind"],
        "\n".join(filter(None, (entry["account"], entry["request_id"]))),
        money(entry["amount_nanos"], entry["currency"]),
        money(entry["balance_after_nanos"], entry["currency"]),
        entry["description"],
    )
