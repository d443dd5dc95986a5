"""`weir prices`."""

from typing import Any

from weir_contracts.billing.v1 import price_pb2 as pb

ANY = pb.Price(model="*", input_nanos_per_million=500_000_000, item_nanos_per_million=10**9)
OWN = pb.Price(model="tales", output_nanos_per_million=7)


async def test_every_rate_is_shown(stack: Any) -> None:
    stack.billing.books = [pb.PriceBook(version=3, currency_code="EUR", prices=[ANY])]
    done = await stack.weir("prices", "list")
    header, row = done.out.splitlines()
    assert header.split() == ["model", "input", "output", "request", "item", "compute", "s"]
    assert row.split() == ["*", "0.50", "0.00", "0.00", "1.00", "0.00"]
    assert done.err == "EUR per million of each; price book 3\n"
    found = (await stack.weir("prices", "list", "--json")).json
    assert (found["version"], found["currency"]) == (3, "EUR")
    assert found["prices"][0]["item_nanos_per_million"] == 10**9


async def test_a_price_is_set_and_the_others_stay(stack: Any) -> None:
    stack.billing.books = [pb.PriceBook(version=1, currency_code="EUR", prices=[ANY, OWN])]
    rates = ("--request", "0.000000001", "--compute-second", "50", "--output", "0")
    await stack.weir("prices", "set", "digits", *rates)
    await stack.weir("prices", "set", "tales", "--item", "2")
    new = pb.Price(
        model="digits",
        input_nanos_per_million=500_000_000,
        request_nanos_per_million=1,
        item_nanos_per_million=10**9,
        compute_second_nanos_per_million=50 * 10**9,
    )
    changed = pb.Price(model="tales", output_nanos_per_million=7, item_nanos_per_million=2 * 10**9)
    assert list(stack.billing.books[1].prices) == [ANY, OWN, new]
    assert list(stack.billing.books[2].prices) == [ANY, changed, new]
    assert stack.billing.books[2].currency_code == "EUR"


async def test_the_first_price_makes_the_first_book(stack: Any) -> None:
    assert (await stack.weir("prices", "list")).err == "weir: no price book is published\n"
    found = (await stack.weir("prices", "set", "*", "--input", "0.5", "--json")).json
    assert (found["version"], found["currency"]) == (1, "USD")


async def test_a_price_without_a_rate_or_with_a_wrong_one_is_refused(stack: Any) -> None:
    for arguments, said in (
        ((), "give a rate: --input, --output, --request, --item, --compute-second"),
        (("--item", "-1"), "the amount must be zero or more"),
        (("--item", "much"), "'much' is no amount"),
    ):
        done = await stack.weir("prices", "set", "*", *arguments)
        assert done.code == 1 and said in done.err
    assert stack.billing.books == []
