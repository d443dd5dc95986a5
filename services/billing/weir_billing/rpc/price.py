"""The PriceService: its messages to core and back."""

from weir_billing.core import fields
from weir_billing.core.currency import currency_of
from weir_billing.core.price import RATES, Price, PriceBook
from weir_billing.core.pricing import Pricing
from weir_billing.core.usage import TokenUsage, tokens_or_work
from weir_billing.rpc.messages import Context, money, timestamp, work
from weir_contracts.billing.v1 import price_pb2 as pb
from weir_contracts.billing.v1 import price_pb2_grpc


class PriceServicer(price_pb2_grpc.PriceServiceServicer):
    """Price books and quotes."""

    def __init__(self, pricing: Pricing) -> None:
        self._pricing = pricing

    async def PublishPriceBook(
        self, request: pb.PublishPriceBookRequest, context: Context
    ) -> pb.PublishPriceBookResponse:
        """Publish the next version."""
        currency = currency_of(request.currency_code, "currency_code")
        prices = [
            Price(price.model, **{rate: getattr(price, rate) for rate in RATES})
            for price in request.prices
        ]
        book = await self._pricing.publish(currency, prices)
        return pb.PublishPriceBookResponse(price_book=_price_book(book))

    async def GetPriceBook(
        self, request: pb.GetPriceBookRequest, context: Context
    ) -> pb.GetPriceBookResponse:
        """Tell a version."""
        book = await self._pricing.get(fields.version(request.version))
        return pb.GetPriceBookResponse(price_book=_price_book(book))

    async def Quote(self, request: pb.QuoteRequest, context: Context) -> pb.QuoteResponse:
        """Price a request."""
        tokens = TokenUsage(
            fields.tokens(request.input_tokens, "input_tokens"),
            fields.tokens(request.output_tokens, "output_tokens"),
        )
        made = work(request.work, "work") if request.HasField("work") else None
        usage = tokens_or_work(tokens, made, "work")
        amount, version = await self._pricing.quote(fields.model_name(request.model), usage)
        return pb.QuoteResponse(amount=money(amount), price_book_version=version)


def _price_book(book: PriceBook) -> pb.PriceBook:
    return pb.PriceBook(
        version=book.version,
        currency_code=book.currency,
        prices=[
            pb.Price(model=price.model, **{rate: getattr(price, rate) for rate in RATES})
            for _, price in sorted(book.prices.items())
        ],
        published_at=timestamp(book.published_at_s),
    )
