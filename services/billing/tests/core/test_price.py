"""The price book."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weir_billing.core.fields import COMPUTE_US_MAX, COUNT_MAX, TOKENS_MAX
from weir_billing.core.money import NANOS_MAX, Money
from weir_billing.core.price import PRICE_NANOS_MAX, Price, PriceBook, checked_prices
from weir_billing.core.usage import TokenUsage, WorkUsage
from weir_kit.errors import InvalidArgument, PriceNotFound

TOKENS = st.integers(0, TOKENS_MAX)
COUNTS = st.integers(0, COUNT_MAX)
NANOS = st.integers(0, PRICE_NANOS_MAX)
PRICES = st.builds(Price, st.just("*"), *[NANOS] * 5)
USAGES = st.builds(TokenUsage, TOKENS, TOKENS) | st.builds(
    WorkUsage, COUNTS, COUNTS, st.integers(0, COMPUTE_US_MAX)
)


def test_a_model_has_its_own_price_or_that_of_the_star() -> None:
    prices = checked_prices([Price("*", 1, 2), Price("tales", 3, 4)])
    book = PriceBook(1, "USD", prices, 0.0)
    assert book.price_of("tales").input_nanos_per_million == 3
    assert book.price_of("other").input_nanos_per_million == 1
    with pytest.raises(PriceNotFound):
        PriceBook(1, "USD", checked_prices([Price("tales", 3, 4)]), 0.0).price_of("other")


def test_an_adapter_without_a_price_has_its_models() -> None:
    book = PriceBook(1, "USD", checked_prices([Price("tales", 3, 4), Price("tuned", 5, 6)]), 0.0)
    assert book.price_of("other", base_model="tales").input_nanos_per_million == 3
    assert book.price_of("tuned", base_model="tales").input_nanos_per_million == 5
    with pytest.raises(PriceNotFound):
        book.price_of("other", base_model="unknown")
    starred = PriceBook(2, "USD", checked_prices([Price("tales", 3, 4), Price("*", 1, 2)]), 0.0)
    assert starred.price_of("other", base_model="tales").input_nanos_per_million == 3
    assert starred.price_of("other", base_model="unknown").input_nanos_per_million == 1


def test_each_charge_line_is_rounded_once_half_to_even() -> None:
    price = Price("*", 500_000, 1_500_000)  # half a nano and one and a half nanos a token
    assert price.cost_nanos(TokenUsage(1, 0)) == 0
    assert price.cost_nanos(TokenUsage(3, 0)) == 2
    assert price.cost_nanos(TokenUsage(1, 1)) == 0 + 2
    # Half a nano a call, one and a half an item, and half a nano for two microseconds.
    price = Price("*", 10**9, 10**9, 500_000, 1_500_000, 250_000_000_000)
    assert price.cost_nanos(WorkUsage(1, 1, 2)) == 0 + 2 + 0
    assert price.cost_nanos(WorkUsage(3, 0, 6)) == 2 + 0 + 2


def test_work_costs_nothing_where_only_tokens_have_prices_and_the_other_way_round() -> None:
    assert Price("*", 10**9, 10**9).cost_nanos(WorkUsage(1, 1000, 10**9)) == 0
    assert Price("*", 0, 0, 10**9, 10**9, 10**9).cost_nanos(TokenUsage(1000, 1000)) == 0


def test_a_second_of_computing_is_priced_by_the_million() -> None:
    price = Price("*", 0, 0, compute_second_nanos_per_million=1_000_000_000_000_000)  # 1 USD each
    assert price.cost_nanos(WorkUsage(1, 1, 4_512)) == 4_512_000


def test_the_default_prices_cost_what_the_readme_says() -> None:
    book = PriceBook(1, "USD", checked_prices([Price("*", 500_000_000, 1_500_000_000)]), 0.0)
    assert book.cost("weir-tales", TokenUsage(1000, 200)) == Money(800_000, "USD")


@given(PRICES, USAGES, st.data())
def test_more_never_costs_less_and_nothing_overflows(
    price: Price, more: TokenUsage | WorkUsage, data: st.DataObject
) -> None:
    less = type(more)(*(data.draw(st.integers(0, count)) for count in vars(more).values()))
    assert 0 <= price.cost_nanos(less) <= price.cost_nanos(more) <= NANOS_MAX


@pytest.mark.parametrize(
    "most", [TokenUsage(TOKENS_MAX, TOKENS_MAX), WorkUsage(COUNT_MAX, COUNT_MAX, COMPUTE_US_MAX)]
)
def test_the_dearest_charge_there_is_fits(most: TokenUsage | WorkUsage) -> None:
    assert Price("*", *[PRICE_NANOS_MAX] * 5).cost_nanos(most) < NANOS_MAX


@pytest.mark.parametrize(
    ("prices", "field"),
    [
        ([], "prices"),
        ([Price("*", 1, 1)] * 1001, "prices"),
        ([Price("", 1, 1)], "prices[0].model"),
        ([Price("*", 1, 1), Price("*", 1, 1)], "prices[1].model"),
        ([Price("*", -1, 1)], "prices[0].input_nanos_per_million"),
        ([Price("*", 1, 10**15 + 1)], "prices[0].output_nanos_per_million"),
        ([Price("*", 1, 1, -1)], "prices[0].request_nanos_per_million"),
        ([Price("*", 1, 1, 0, 10**15 + 1)], "prices[0].item_nanos_per_million"),
        ([Price("*", 1, 1, 0, 0, -1)], "prices[0].compute_second_nanos_per_million"),
    ],
)
def test_a_wrong_price_is_named(prices: list[Price], field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        checked_prices(prices)
    assert caught.value.field == field
