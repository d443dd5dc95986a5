"""Price books over the wire."""

from typing import Any

import pytest

from weir_contracts.billing.v1 import price_pb2 as pb
from weir_contracts.common.v1.usage_pb2 import WorkUsage
from weir_kit.errors import InvalidArgument, NotFound, PriceNotFound
from weir_kit.status import raising_weir_errors


def price(model: str = "*", inputs: int = 500_000_000, outputs: int = 1_500_000_000) -> pb.Price:
    return pb.Price(model=model, input_nanos_per_million=inputs, output_nanos_per_million=outputs)


PRICED_WORK = pb.Price(
    model="eyes",
    request_nanos_per_million=3,
    item_nanos_per_million=4,
    compute_second_nanos_per_million=5,
)


async def test_a_book_is_published_read_and_quoted_from(client: Any) -> None:
    published = await client.price.PublishPriceBook(
        pb.PublishPriceBookRequest(prices=[price(), price("tales", 1, 2), PRICED_WORK])
    )
    book = published.price_book
    assert (book.version, book.currency_code) == (1, "USD")
    assert list(book.prices) == [price(), PRICED_WORK, price("tales", 1, 2)]
    assert book.published_at.seconds == client.clock.now_s()
    assert (await client.price.GetPriceBook(pb.GetPriceBookRequest())).price_book == book
    await client.publish()
    assert (await client.price.GetPriceBook(pb.GetPriceBookRequest(version=1))).price_book == book
    asked = pb.QuoteRequest(model="weir-tales", input_tokens=1000, output_tokens=200)
    quoted = await client.price.Quote(asked)
    assert (quoted.amount.nanos, quoted.amount.currency_code) == (1_400_000, "USD")
    assert quoted.price_book_version == 2
    work = WorkUsage(requests=1, items=12, compute_us=2_000_000)
    quoted = await client.price.Quote(pb.QuoteRequest(model="eyes", work=work))
    assert quoted.amount.nanos == 3_000 + 48_000 + 10_000


async def test_what_is_not_published_is_not_found(client: Any) -> None:
    with pytest.raises(NotFound), raising_weir_errors():
        await client.price.GetPriceBook(pb.GetPriceBookRequest())
    with pytest.raises(PriceNotFound), raising_weir_errors():
        await client.price.Quote(pb.QuoteRequest(model="tales"))


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.PublishPriceBookRequest(), "prices"),
        (pb.PublishPriceBookRequest(prices=[price("")]), "prices[0].model"),
        (pb.PublishPriceBookRequest(prices=[price(), price()]), "prices[1].model"),
        (
            pb.PublishPriceBookRequest(prices=[price(inputs=-1)]),
            "prices[0].input_nanos_per_million",
        ),
        (
            pb.PublishPriceBookRequest(prices=[pb.Price(model="m", item_nanos_per_million=-1)]),
            "prices[0].item_nanos_per_million",
        ),
        (pb.PublishPriceBookRequest(currency_code="?", prices=[price()]), "currency_code"),
        (pb.GetPriceBookRequest(version=-1), "version"),
        (pb.QuoteRequest(model=""), "model"),
        (pb.QuoteRequest(model="m", input_tokens=-1), "input_tokens"),
        (pb.QuoteRequest(model="m", output_tokens=-1), "output_tokens"),
        (pb.QuoteRequest(model="m", work=WorkUsage(requests=1, items=-1)), "work.items"),
        (pb.QuoteRequest(model="m", input_tokens=1, work=WorkUsage(requests=1)), "work"),
    ],
)
async def test_a_wrong_field_is_named(client: Any, request_: Any, field: str) -> None:
    await client.publish()
    method = type(request_).__name__.removesuffix("Request")
    with pytest.raises(InvalidArgument) as caught, raising_weir_errors():
        await getattr(client.price, method)(request_)
    assert caught.value.field == field
