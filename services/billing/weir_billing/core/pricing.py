"""Pricing: publishing price books and asking what a request would cost."""

from collections.abc import Sequence
from typing import Protocol

from weir_billing.core.billing import microseconds
from weir_billing.core.money import Money
from weir_billing.core.price import Price, PriceBook, checked_prices
from weir_billing.core.usage import Usage
from weir_kit.clock import Clock
from weir_kit.errors import NotFound, PriceNotFound


class PriceBooks(Protocol):
    """Where price books are kept."""

    async def publish(self, currency: str, prices: dict[str, Price], now_s: float) -> PriceBook:
        """Write the next version."""
        ...

    async def newest(self) -> PriceBook | None:
        """The newest version in any currency."""
        ...

    async def get(self, version: int) -> PriceBook | None:
        """A version."""
        ...


class Pricing:
    """The price book's keeper."""

    def __init__(self, books: PriceBooks, clock: Clock) -> None:
        self._books = books
        self._clock = clock

    async def publish(self, currency: str, prices: Sequence[Price]) -> PriceBook:
        """Publish the next version; holds made before keep theirs. Raises `InvalidArgument`."""
        book = checked_prices(prices)
        return await self._books.publish(currency, book, microseconds(self._clock.now_s()))

    async def get(self, version: int) -> PriceBook:
        """A version, or the newest for 0. Raises `NotFound`."""
        book = await (self._books.get(version) if version else self._books.newest())
        if book is None:
            raise NotFound(
                "there is no such price book" if version else "no price book is published"
            )
        return book

    async def quote(self, model: str, usage: Usage) -> tuple[Money, int]:
        """What `usage` would cost, by the newest book, and its version. Raises `PriceNotFound`."""
        book = await self._books.newest()
        if book is None:
            raise PriceNotFound("no price book is published", details={"model": model})
        return book.cost(model, usage), book.version
