import pytest
from hypothesis import given
from hypothesis import strategies as st

from weir_cli.commands.billing import nanos_of
from weir_cli.failure import Failure
from weir_cli.screen import moment, money


@pytest.mark.parametrize(
    ("nanos", "text"),
    [
        (10_000_000_000, "10.00 USD"),
        (0, "0.00 USD"),
        (104_500, "0.000104500 USD"),
        (-2_500_000_000, "-2.50 USD"),
        (-1, "-0.000000001 USD"),
    ],
)
def test_money_is_shown_exactly(nanos: int, text: str) -> None:
    assert money(nanos, "USD") == text


@given(st.integers(min_value=1, max_value=2**63 - 1))
def test_what_is_shown_is_read_back_to_the_last_nano(nanos: int) -> None:
    assert nanos_of(money(nanos, "USD").split(" ")[0]) == nanos


@pytest.mark.parametrize(
    "amount", ["", "ten", "0", "-1", "1e-10", "NaN", "inf", "1e30", "0.0000000001"]
)
def test_what_is_no_amount_is_refused(amount: str) -> None:
    with pytest.raises(Failure, match="amount"):
        nanos_of(amount)


def test_moments_are_utc() -> None:
    assert moment(1_795_000_000) == "2026-11-18 11:06:40"
    assert moment(0) == "-"
