"""Transfers add up to zero, or are not."""

import pytest

from weir_billing.core.money import Money
from weir_billing.core.transfer import (
    Entry,
    Kind,
    Transfer,
    credit_transfer,
    hold_transfer,
    settle_transfer,
    void_transfer,
)


def usd(nanos: int) -> Money:
    return Money(nanos, "USD")


def amounts(transfer: Transfer | None) -> list[tuple[str, int]]:
    assert transfer is not None
    return [(entry.account, entry.amount.nanos) for entry in transfer.entries]


@pytest.mark.parametrize(
    "entries",
    [
        (),
        (Entry("a", usd(1)),),
        (Entry("a", usd(1)), Entry("b", usd(1))),
        (Entry("a", usd(0)), Entry("b", usd(0))),
        (Entry("a", usd(1)), Entry("b", Money(-1, "EUR"))),
    ],
)
def test_a_transfer_that_does_not_add_up_cannot_be_made(entries: tuple[Entry, ...]) -> None:
    with pytest.raises(AssertionError):
        Transfer("t", Kind.CREDIT, "a", "r", entries, 0.0)


def test_two_currencies_may_move_in_one_transfer_if_each_adds_up() -> None:
    entries = [Entry("a", usd(1)), Entry("b", usd(-1))]
    entries += [Entry("a", Money(-5, "EUR")), Entry("b", Money(5, "EUR"))]
    assert Transfer("t", Kind.CREDIT, "a", "r", tuple(entries), 0.0)


def test_the_five_kinds_move_money_where_they_should() -> None:
    credit = credit_transfer("a", "r", usd(9), "a gift", 1.0)
    assert amounts(credit) == [("credit:granted", -9), ("tenant:a:available", 9)]
    assert (credit.transfer_id, credit.pending_id) == ("credit:a:r", None)
    hold = hold_transfer("a", "r", usd(5), 1.0)
    assert amounts(hold) == [("tenant:a:available", -5), ("tenant:a:held", 5)]
    settle = settle_transfer("a", "r", "m", usd(5), usd(2), 1.0)
    assert amounts(settle) == [("tenant:a:held", -5), ("tenant:a:available", 3), ("revenue:m", 2)]
    whole = settle_transfer("a", "r", "m", usd(5), usd(5), 1.0)
    assert amounts(whole) == [("tenant:a:held", -5), ("revenue:m", 5)]
    for kind in (Kind.RELEASE, Kind.EXPIRE):
        void = void_transfer(kind, "a", "r", usd(5), 1.0)
        assert amounts(void) == [("tenant:a:held", -5), ("tenant:a:available", 5)]
        assert void is not None and hold is not None and settle is not None
        assert void.pending_id == settle.pending_id == hold.transfer_id


def test_nothing_moves_for_a_free_request() -> None:
    assert hold_transfer("a", "r", usd(0), 1.0) is None
    assert settle_transfer("a", "r", "m", usd(0), usd(0), 1.0) is None
    assert void_transfer(Kind.RELEASE, "a", "r", usd(0), 1.0) is None


def test_a_charge_above_the_hold_cannot_be_made() -> None:
    with pytest.raises(AssertionError):
        settle_transfer("a", "r", "m", usd(5), usd(6), 1.0)
