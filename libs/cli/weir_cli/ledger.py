"""The ledger, as billing shows it to an operator."""

from typing import Any

from weir_cli.admin import TIMEOUT_S, Admin
from weir_contracts.billing.v1 import account_pb2, account_pb2_grpc

PAGE_SIZE_MAX = 1000


def accounts(stack: Admin) -> "account_pb2_grpc.AccountServiceAsyncStub":
    """Billing's AccountService."""
    return account_pb2_grpc.AccountServiceStub(stack.channel("billing"))


async def ledger_sums(stack: Admin) -> dict[str, Any]:
    """What the whole ledger adds up to, checked by billing from its entries."""
    request = account_pb2.VerifyLedgerRequest()
    found = await accounts(stack).VerifyLedger(request, timeout=TIMEOUT_S)
    sums = {money.currency_code: money.nanos for money in found.sums}
    wrong = any(sums.values()) or found.unbalanced_transfers or found.wrong_balances
    return {
        "ok": not wrong,
        "sums_nanos": sums,
        "entries": found.entries,
        "unbalanced_transfers": found.unbalanced_transfers,
        "wrong_balances": found.wrong_balances,
        "open_holds": found.open_holds,
    }


async def entries_of(
    stack: Admin, *, tenant: str = "", request_id: str = "", limit: int = PAGE_SIZE_MAX
) -> list[account_pb2.Entry]:
    """At most `limit` entries, newest first."""
    entries: list[account_pb2.Entry] = []
    token = ""
    while len(entries) < limit:
        page = await accounts(stack).ListEntries(
            account_pb2.ListEntriesRequest(
                tenant_id=tenant,
                request_id=request_id,
                page_size=min(limit - len(entries), PAGE_SIZE_MAX),
                page_token=token,
            ),
            timeout=TIMEOUT_S,
        )
        entries.extend(page.entries)
        token = page.next_page_token
        if not token:
            break
    return entries


def entry_fields(entry: account_pb2.Entry) -> dict[str, Any]:
    """An entry for JSON."""
    return {
        "entry_id": entry.entry_id,
        "transfer_id": entry.transfer_id,
        "account": entry.account,
        "kind": entry.kind,
        "amount_nanos": entry.amount.nanos,
        "balance_after_nanos": entry.balance_after.nanos,
        "currency": entry.amount.currency_code,
        "request_id": entry.request_id,
        "description": entry.description,
        "created_at_s": entry.created_at.seconds,
    }
