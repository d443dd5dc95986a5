"""`weir prices`: what models cost tenants."""

import asyncio
from typing import Annotated, Any

import typer

from weir_cli.admin import TIMEOUT_S, Admin, admin
from weir_cli.commands.billing import nanos_of
from weir_cli.failure import Failure
from weir_cli.screen import AsJson, err, money, print_json, print_table
from weir_cli.stack.bootstrap import CURRENCY
from weir_contracts.billing.v1 import price_pb2, price_pb2_grpc
from weir_kit.errors import NotFound
from weir_kit.status import raising_weir_errors

ANY_MODEL = "*"
# Of each rate, its field in the contract and what a million of is priced.
RATES = {
    "input": "input_nanos_per_million",
    "output": "output_nanos_per_million",
    "request": "request_nanos_per_million",
    "item": "item_nanos_per_million",
    "compute_second": "compute_second_nanos_per_million",
}

app = typer.Typer(help="List and publish what models cost.", no_args_is_help=True)


@app.command(name="list")
def list_prices(as_json: AsJson = False) -> None:
    """List the newest price book: a price a model, per million of each."""
    _show(asyncio.run(_newest()), as_json)


@app.command(name="set")
def set_price(
    model: Annotated[str, typer.Argument(help="'*' is every model without a price of its own.")],
    input_tokens: Annotated[
        str | None, typer.Option("--input", help="Per million prompt tokens, as 0.50.")
    ] = None,
    output_tokens: Annotated[
        str | None, typer.Option("--output", help="Per million generated tokens.")
    ] = None,
    request: Annotated[
        str | None, typer.Option(help="Per million calls of a model that answers in one piece.")
    ] = None,
    item: Annotated[
        str | None, typer.Option(help="Per million items that such calls look at.")
    ] = None,
    compute_second: Annotated[
        str | None, typer.Option(help="Per million seconds of computing for them.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Publish a new price book with this model's price; the others, and its unset rates, stay.

    A model without a price of its own starts from that of '*'.
    """
    amounts = (input_tokens, output_tokens, request, item, compute_second)
    rates = {
        field: nanos_of(amount, least=0)
        for field, amount in zip(RATES.values(), amounts, strict=True)
        if amount is not None
    }
    if not rates:
        raise Failure(f"give a rate: {', '.join('--' + rate.replace('_', '-') for rate in RATES)}")
    _show(asyncio.run(_publish(model, rates)), as_json)


async def _newest() -> price_pb2.PriceBook:
    async with admin() as stack:
        return await _book(stack)


async def _publish(model: str, rates: dict[str, int]) -> price_pb2.PriceBook:
    """Of two that do this at the same time, the later book has only its own change."""
    async with admin() as stack:
        try:
            with raising_weir_errors():
                book = await _book(stack)
        except NotFound:
            book = price_pb2.PriceBook(currency_code=CURRENCY)
        prices = {price.model: price for price in book.prices}
        price = price_pb2.Price()
        price.CopyFrom(prices.get(model, prices.get(ANY_MODEL, price)))
        price.model = model
        for field, nanos in rates.items():
            setattr(price, field, nanos)
        request = price_pb2.PublishPriceBookRequest(
            currency_code=book.currency_code, prices=(prices | {model: price}).values()
        )
        return (await _stub(stack).PublishPriceBook(request, timeout=TIMEOUT_S)).price_book


async def _book(stack: Admin) -> price_pb2.PriceBook:
    request = price_pb2.GetPriceBookRequest()
    return (await _stub(stack).GetPriceBook(request, timeout=TIMEOUT_S)).price_book


def _stub(stack: Admin) -> "price_pb2_grpc.PriceServiceAsyncStub":
    return price_pb2_grpc.PriceServiceStub(stack.channel("billing"))


def _show(book: price_pb2.PriceBook, as_json: bool) -> None:
    prices: list[dict[str, Any]] = [
        {"model": price.model, **{field: getattr(price, field) for field in RATES.values()}}
        for price in book.prices
    ]
    if as_json:
        print_json({"version": book.version, "currency": book.currency_code, "prices": prices})
        return
    print_table(
        ("model", "input", "output", "request", "item", "compute s"),
        [
            (
                price["model"],
                *(money(price[field], "").rstrip() for field in RATES.values()),
            )
            for price in prices
        ],
    )
    err.print(
        f"{book.currency_code} per million of each; price book {book.version}",
        style="dim",
        markup=False,
    )
