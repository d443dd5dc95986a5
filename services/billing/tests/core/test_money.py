"""Money and rounding."""

from decimal import ROUND_HALF_EVEN, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weir_billing.core.currency import currency_of
from weir_billing.core.money import Money, divide_half_even
from weir_kit.errors import InvalidArgument


@given(st.integers(0, 10**25), st.integers(1, 10**9))
def test_division_rounds_as_decimal_half_even_does(numerator: int, denominator: int) -> None:
    exact = Decimal(divmod(numerator, denominator)[1]) / Decimal(denominator)
    rounded = int(exact.quantize(Decimal(1), rounding=ROUND_HALF_EVEN))
    # The fraction alone rounds half to even of 0; an odd quotient turns a tie the other way.
    tie = 2 * (numerator % denominator) == denominator
    expected = numerator // denominator + (1 if tie and numerator // denominator % 2 else rounded)
    assert divide_half_even(numerator, denominator) == expected


def test_ties_go_to_the_even_neighbour() -> None:
    assert [divide_half_even(n, 2) for n in (1, 3, 5, 7)] == [0, 2, 2, 4]


def test_money_is_written_for_people_without_zeros_at_the_end() -> None:
    assert str(Money(1_500_000, "USD")) == "0.0015 USD"
    assert str(Money(-2_000_000_000, "EUR")) == "-2 EUR"
    assert str(Money(1, "JPY")) == "0.000000001 JPY"


def test_two_currencies_never_meet() -> None:
    with pytest.raises(AssertionError):
        Money(1, "USD") + Money(1, "EUR")


def test_a_currency_is_a_code_of_iso_4217() -> None:
    assert currency_of("", "f") == "USD"
    assert currency_of("KWD", "f") == "KWD"
    for wrong in ("usd", "XXX", "US", "DOLLAR"):
        with pytest.raises(InvalidArgument) as caught:
            currency_of(wrong, "amount.currency_code")
        assert caught.value.field == "amount.currency_code"
