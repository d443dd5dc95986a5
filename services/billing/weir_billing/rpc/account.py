"""The AccountService: its messages to core and back."""

from weir_billing.core import fields
from weir_billing.core.accounting import Accounting
from weir_billing.core.currency import currency_of
from weir_billing.core.money import Money
from weir_billing.core.statement import Line
from weir_billing.rpc.messages import Context, balance, money, timestamp
from weir_contracts.billing.v1 import account_pb2 as pb
from weir_contracts.billing.v1 import account_pb2_grpc


class AccountServicer(account_pb2_grpc.AccountServiceServicer):
    """Accounts, credit, statements and verification."""

    def __init__(self, accounting: Accounting) -> None:
        self._accounting = accounting

    async def CreateAccount(
        self, request: pb.CreateAccountRequest, context: Context
    ) -> pb.CreateAccountResponse:
        """Open an account."""
        tenant_id = fields.tenant_id(request.tenant_id)
        currency = currency_of(request.currency_code, "currency_code")
        opened = await self._accounting.open(tenant_id, currency)
        return pb.CreateAccountResponse(balance=balance(opened))

    async def CreditAccount(
        self, request: pb.CreditAccountRequest, context: Context
    ) -> pb.CreditAccountResponse:
        """Add credit."""
        currency = currency_of(request.amount.currency_code, "amount.currency_code")
        credited = await self._accounting.credit(
            fields.tenant_id(request.tenant_id),
            Money(request.amount.nanos, currency),
            fields.request_id(request.request_id),
            fields.description(request.description),
        )
        return pb.CreditAccountResponse(balance=balance(credited))

    async def GetBalance(
        self, request: pb.GetBalanceRequest, context: Context
    ) -> pb.GetBalanceResponse:
        """Tell a balance."""
        found = await self._accounting.balance(fields.tenant_id(request.tenant_id))
        return pb.GetBalanceResponse(balance=balance(found))

    async def ListEntries(
        self, request: pb.ListEntriesRequest, context: Context
    ) -> pb.ListEntriesResponse:
        """List a page of entries."""
        page = await self._accounting.statement(
            fields.tenant_id(request.tenant_id) if request.tenant_id else "",
            fields.request_id(request.request_id) if request.request_id else "",
            fields.page_size(request.page_size),
            request.page_token,
        )
        entries = [_entry(line) for line in page.lines]
        return pb.ListEntriesResponse(entries=entries, next_page_token=page.next_page_token)

    async def VerifyLedger(
        self, request: pb.VerifyLedgerRequest, context: Context
    ) -> pb.VerifyLedgerResponse:
        """Add everything up again."""
        found = await self._accounting.verify()
        return pb.VerifyLedgerResponse(
            sums=[money(one) for one in found.sums],
            entries=found.entries,
            unbalanced_transfers=found.unbalanced_transfers,
            wrong_balances=found.wrong_balances,
            open_holds=found.open_holds,
        )


def _entry(line: Line) -> pb.Entry:
    return pb.Entry(
        entry_id=line.entry_id,
        transfer_id=line.transfer_id,
        account=line.account,
        amount=money(line.amount),
        balance_after=money(line.balance_after),
        kind=line.kind,
        request_id=line.request_id,
        description=line.description,
        created_at=timestamp(line.created_at_s),
    )
