"""The ledger's rules against a small model, over any sequence of calls."""

from collections import defaultdict

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from weir_billing.core import hold as holding
from weir_billing.core.account import GRANTED, available, held, revenue
from weir_billing.core.hold import Change, Hold, HoldState, Reservation, Witness
from weir_billing.core.meter import MeterRecord, end_expired
from weir_billing.core.money import Money
from weir_billing.core.price import Price, PriceBook
from weir_billing.core.transfer import Transfer, credit_transfer
from weir_billing.core.usage import TokenUsage, Usage, WorkUsage
from weir_kit.errors import Conflict, InvalidArgument

TENANTS, MODELS = ("a", "b"), ("m", "n", "free")
REQUESTS = tuple(f"r{n}" for n in range(12))
COUNTS = st.integers(0, 2000)
TOKENS = st.builds(TokenUsage, COUNTS, COUNTS)
WORK = st.builds(WorkUsage, st.just(1), st.integers(1, 2000), st.integers(0, 10**9))
USAGES = TOKENS | WORK
PRICES = {
    "m": Price("m", 777_777, 3, 500_000, 777_777, 1_500_000),
    "free": Price("free", 0, 0),
    "*": Price("*", 10**9, 2 * 10**9, 3 * 10**9, 4 * 10**9, 5 * 10**9),
}
BOOK = PriceBook(1, "USD", PRICES, 0.0)


class LedgerMachine(RuleBasedStateMachine):
    """Core decides; this keeps balances and holds as the adapters do, without a database.

    Beside it stands the model: per tenant what was granted less what was charged.
    """

    @initialize()
    def start(self) -> None:
        self.balances: defaultdict[str, int] = defaultdict(int)
        self.holds: dict[str, Hold] = {}
        self.posted: set[str] = set()
        self.ended: set[str] = set()
        self.owned: defaultdict[str, int] = defaultdict(int)
        self.now_s = 0.0

    def post(self, transfer: Transfer | None) -> None:
        if transfer is None:
            return
        assert transfer.transfer_id not in self.posted
        self.posted.add(transfer.transfer_id)
        if transfer.pending_id:
            assert transfer.pending_id in self.posted
            assert transfer.pending_id not in self.ended, "a hold ends once"
            self.ended.add(transfer.pending_id)
        for entry in transfer.entries:
            self.balances[entry.account] += entry.amount.nanos

    def write(self, change: Change) -> Hold:
        if change.changed:
            assert self.holds[change.hold.request_id].state is HoldState.HELD
            self.holds[change.hold.request_id] = change.hold
            self.post(change.transfer)
            self.owned[change.hold.tenant_id] -= change.hold.charged_nanos
        else:
            assert change.transfer is None
        return change.hold

    @rule(tenant=st.sampled_from(TENANTS), nanos=st.integers(1, 10**7), n=st.integers(0, 5))
    def credit(self, tenant: str, nanos: int, n: int) -> None:
        transfer = credit_transfer(tenant, f"c{n}", Money(nanos, "USD"), "", self.now_s)
        if transfer.transfer_id not in self.posted:
            self.post(transfer)
            self.owned[tenant] += nanos

    @rule(
        request=st.sampled_from(REQUESTS),
        tenant=st.sampled_from(TENANTS),
        model=st.sampled_from(MODELS),
        most=USAGES,
        ttl_s=st.integers(1, 9),
    )
    def reserve(self, request: str, tenant: str, model: str, most: Usage, ttl_s: int) -> None:
        wanted = Reservation(request, tenant, model, most, ttl_s)
        known = self.holds.get(request)
        if known:
            try:
                assert holding.replayed(known, wanted) is known
            except Conflict:
                assert known.reservation != wanted
            return
        change = holding.open_hold(wanted, BOOK, self.now_s)
        if self.balances[available(tenant)] >= change.hold.amount.nanos:
            self.holds[request] = change.hold
            self.post(change.transfer)

    @rule(request=st.sampled_from(REQUESTS), usage=USAGES)
    def settle(self, request: str, usage: Usage) -> None:
        known = self.holds.get(request)
        if known is None:
            return
        same_kind = type(usage) is type(known.reservation.most)
        try:
            ended = self.write(holding.settle(known, BOOK, usage, Witness.GATEWAY, self.now_s))
        except Conflict:
            assert known.state is not HoldState.HELD and known.usage != usage
            return
        except InvalidArgument as error:
            assert error.field == "work" and not same_kind
            return
        assert same_kind
        again = holding.settle(ended, BOOK, usage, Witness.GATEWAY, self.now_s + 1)
        assert again == Change(ended, changed=False)
        cost = BOOK.cost(known.reservation.model, usage)
        assert ended.charged + ended.uncharged == cost
        assert ended.charged.nanos <= ended.amount.nanos

    @rule(request=st.sampled_from(REQUESTS))
    def release(self, request: str) -> None:
        known = self.holds.get(request)
        if known is None:
            return
        try:
            self.write(holding.release(known, self.now_s))
        except Conflict:
            assert known.state is HoldState.SETTLED

    @rule(seconds=st.integers(1, 6), metered=st.none() | USAGES)
    def sweep(self, seconds: int, metered: Usage | None) -> None:
        self.now_s += seconds
        for hold in list(self.holds.values()):
            if hold.state is HoldState.HELD and hold.expires_at_s <= self.now_s:
                record = record_of(hold, metered, self.now_s) if metered else None
                ended = self.write(end_expired(hold, BOOK, record, self.now_s))
                if type(metered) is type(hold.reservation.most):
                    assert (ended.state, ended.usage) == (HoldState.SETTLED, metered)
                else:
                    assert (ended.state, ended.usage) == (HoldState.EXPIRED, None)

    @invariant()
    def money_is_neither_made_nor_lost(self) -> None:
        assert sum(self.balances.values()) == 0
        assert all(nanos >= 0 for name, nanos in self.balances.items() if name != GRANTED)
        for tenant in TENANTS:
            open_nanos = sum(
                hold.amount.nanos
                for hold in self.holds.values()
                if hold.tenant_id == tenant and hold.state is HoldState.HELD
            )
            assert self.balances[held(tenant)] == open_nanos
            assert self.balances[available(tenant)] + open_nanos == self.owned[tenant]
        earned = sum(self.balances[revenue(model)] for model in MODELS)
        assert earned == sum(hold.charged_nanos for hold in self.holds.values())


def record_of(hold: Hold, usage: Usage, now_s: float) -> MeterRecord:
    tokens = (usage.input_tokens, usage.output_tokens) if isinstance(usage, TokenUsage) else (0, 0)
    work = (usage.items, usage.compute_us) if isinstance(usage, WorkUsage) else (0, 0)
    return MeterRecord(hold.request_id, hold.tenant_id, "m", *tokens, "stop", now_s, *work)


TestLedgerMachine = LedgerMachine.TestCase
TestLedgerMachine.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)
