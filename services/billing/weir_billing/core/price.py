"""The price book: what tokens cost. A version is never edited; a new one takes its place."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from weir_billing.core import fields
from weir_billing.core.money import Money, divide_half_even
from weir_billing.core.usage import TokenUsage
from weir_kit.errors import InvalidArgument, PriceNotFound

ANY_MODEL = "*"
PRICES_MAX = 1000
MILLION = 1_000_000
# A million currency units per million tokens. With 2**31 tokens of each kind the dearest charge
# is below 2**63 nanos, so no charge can overflow.
PRICE_NANOS_MAX = 10**15


@dataclass(frozen=True)
class Price:
    """A model's prices in nano currency units per million tokens."""

    model: str
    input_nanos_per_million: int
    output_nanos_per_million: int

    def cost_nanos(self, usage: TokenUsage) -> int:
        """What `usage` costs: one charge line for input, one for output, each rounded once.

        Cached input costs as much as other input. More tokens never cost less, so a charge for
        no more tokens than were reserved never exceeds the hold.
        """
        lines = (
            (usage.input_tokens, self.input_nanos_per_million),
            (usage.output_tokens, self.output_nanos_per_million),
        )
        return sum(divide_half_even(tokens * nanos, MILLION) for tokens, nanos in lines)


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

    def cost(self, model: str, usage: TokenUsage, base_model: str = "") -> Money:
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
        _checked_nanos(price.input_nanos_per_million, f"{here}.input_nanos_per_million")
        _checked_nanos(price.output_nanos_per_million, f"{here}.output_nanos_per_million")
        book[price.model] = price
    return book


def _checked_nanos(nanos: int, field: str) -> None:
    if not 0 <= nanos <= PRICE_NANOS_MAX:
        raise InvalidArgument(
            f"must be from 0 to {PRICE_NANOS_MAX} nanos per million tokens", field=field
        )
