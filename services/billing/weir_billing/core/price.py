"""The price book: what tokens and work cost. A version is never edited; a new one replaces it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from weir_billing.core import fields
from weir_billing.core.money import Money, divide_half_even
from weir_billing.core.usage import TokenUsage, Usage
from weir_kit.errors import InvalidArgument, PriceNotFound

ANY_MODEL = "*"
PRICES_MAX = 1000
MILLION = 1_000_000
# A million currency units per million tokens, calls, items or seconds of computing. There are fewer
# than 2**31 of each (`fields`), so a charge line is below 2**31 * 10**9 < 2**61 nanos; a charge has
# at most three lines, so it is below 2**63 nanos and cannot overflow.
PRICE_NANOS_MAX = 10**15
# Price books are kept with the prices in this order: a new one goes to the end.
RATES = (
    "input_nanos_per_million",
    "output_nanos_per_million",
    "request_nanos_per_million",
    "item_nanos_per_million",
    "compute_second_nanos_per_million",
)


@dataclass(frozen=True)
class Price:
    """A model's prices in nano currency units per million tokens, calls, items and seconds."""

    model: str
    input_nanos_per_million: int
    output_nanos_per_million: int
    request_nanos_per_million: int = 0
    item_nanos_per_million: int = 0
    compute_second_nanos_per_million: int = 0

    def cost_nanos(self, usage: Usage) -> int:
        """What `usage` costs: a charge line for each of its counts, each rounded once, half-even.

        Cached input costs as much as other input. More of anything never costs less, so a charge
        for no more than was reserved never exceeds the hold.
        """
        if isinstance(usage, TokenUsage):
            return _line(usage.input_tokens, self.input_nanos_per_million) + _line(
                usage.output_tokens, self.output_nanos_per_million
            )
        return (
            _line(usage.requests, self.request_nanos_per_million)
            + _line(usage.items, self.item_nanos_per_million)
            + _line(usage.compute_us, self.compute_second_nanos_per_million, per=fields.SECOND_US)
        )


@dataclass(frozen=True)
class PriceBook:
    """A version of all prices in one currency; holds from `published_at_s` on."""

    version: int
    currency: str
    prices: Mapping[str, Price]
    published_at_s: float

    def price_of(self, model: str, base_model: str = "") -> Price:
        """The model's own price, else its base model's, else that of `*`.

        `base_model` is what an adapter changes. Raises `PriceNotFound`.
        """
        names = (model, base_model, ANY_MODEL)
        price = next((self.prices[name] for name in names if name in self.prices), None)
        if price is None:
            raise PriceNotFound(
                f"price book {self.version} has no price for this model and none for '*'",
                details={"model": model, "price_book_version": str(self.version)},
            )
        return price

    def cost(self, model: str, usage: Usage, base_model: str = "") -> Money:
        """What the model's `usage` costs, by `price_of`. Raises `PriceNotFound`."""
        return Money(self.price_of(model, base_model).cost_nanos(usage), self.currency)


def checked_prices(prices: Sequence[Price], field: str = "prices") -> dict[str, Price]:
    """The prices by model: at least one, one a model. Raises `InvalidArgument`."""
    if not 1 <= len(prices) <= PRICES_MAX:
        raise InvalidArgument(f"must have 1 to {PRICES_MAX} prices", field=field)
    book: dict[str, Price] = {}
    for place, price in enumerate(prices):
        here = f"{field}[{place}]"
        fields.model_name(price.model, f"{here}.model")
        if price.model in book:
            raise InvalidArgument("a price for this model stands before it", field=f"{here}.model")
        for rate in RATES:
            _check_nanos(getattr(price, rate), f"{here}.{rate}")
        book[price.model] = price
    return book


def _line(count: int, nanos_per_million: int, per: int = 1) -> int:
    """The price of `count`, of which `per` make one of what is priced by the million."""
    return divide_half_even(count * nanos_per_million, per * MILLION)


def _check_nanos(nanos: int, field: str) -> None:
    if not 0 <= nanos <= PRICE_NANOS_MAX:
        raise InvalidArgument(f"must be from 0 to {PRICE_NANOS_MAX} nanos per million", field=field)
