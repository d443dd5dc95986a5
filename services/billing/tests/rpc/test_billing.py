"""Reserve, Settle and Release as the gateway calls them."""

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from weir_contracts.billing.v1 import account_pb2, price_pb2
from weir_contracts.billing.v1 import billing_pb2 as pb
from weir_contracts.common.v1.money_pb2 import Money
from weir_contracts.common.v1.usage_pb2 import TokenUsage, WorkUsage
from weir_kit.errors import (
    Conflict,
    InsufficientCredit,
    InvalidArgument,
    PermissionDenied,
    PriceNotFound,
    Unauthenticated,
)
from weir_kit.status import raising_weir_errors


async def open_account(client: Any, nanos: int = 1_000_000) -> None:
    await client.publish()
    await client.account.CreateAccount(account_pb2.CreateAccountRequest(tenant_id="a"))
    amount = Money(nanos=nanos, currency_code="USD")
    credit = account_pb2.CreditAccountRequest(tenant_id="a", amount=amount, request_id="c")
    await client.account.CreditAccount(credit)


def reserving(request_id: str = "r1", **changes: Any) -> pb.ReserveRequest:
    values = {"model": "tales", "input_tokens": 100, "max_output_tokens": 50, **changes}
    return pb.ReserveRequest(request_id=request_id, **values)


def settling(request_id: str = "r1", inputs: int = 100, outputs: int = 20) -> pb.SettleRequest:
    usage = TokenUsage(input_tokens=inputs, output_tokens=outputs)
    return pb.SettleRequest(request_id=request_id, usage=usage)


async def test_the_life_of_a_hold(client: Any) -> None:
    await open_account(client)
    admitted = client.admitted("r1")
    hold = (await client.billing.Reserve(reserving(), metadata=admitted)).hold
    assert (hold.request_id, hold.tenant_id, hold.model) == ("r1", "a", "tales")
    assert (hold.amount.nanos, hold.amount.currency_code) == (200_000, "USD")
    assert (hold.state, hold.price_book_version) == (pb.HOLD_STATE_HELD, 1)
    assert hold.expires_at.seconds == client.clock.now_s() + 300
    client.clock.advance(120)  # the admission has expired; the work is charged all the same
    settled = await client.billing.Settle(settling(), metadata=admitted)
    assert (settled.charged.nanos, settled.hold.state) == (140_000, pb.HOLD_STATE_SETTLED)
    assert await client.billing.Settle(settling(), metadata=admitted) == settled
    balance = await client.account.GetBalance(account_pb2.GetBalanceRequest(tenant_id="a"))
    assert (balance.balance.credit.nanos, balance.balance.held.nanos) == (860_000, 0)


def predicting(request_id: str = "r1", **work: int) -> pb.ReserveRequest:
    most = WorkUsage(**{"requests": 1, "items": 100, "compute_us": 2_000_000, **work})
    return pb.ReserveRequest(request_id=request_id, model="tales", max_work=most)


async def test_the_life_of_a_hold_for_work(client: Any) -> None:
    await open_account(client)
    admitted = client.admitted("r1")
    hold = (await client.billing.Reserve(predicting(), metadata=admitted)).hold
    assert hold.amount.nanos == 3_000 + 400_000 + 10_000
    assert (await client.billing.Reserve(predicting(), metadata=admitted)).hold == hold
    work = WorkUsage(requests=1, items=12, compute_us=1_000_000)
    settling = pb.SettleRequest(request_id="r1", work=work)
    settled = await client.billing.Settle(settling, metadata=admitted)
    assert (settled.charged.nanos, settled.hold.state) == (56_000, pb.HOLD_STATE_SETTLED)
    assert await client.billing.Settle(settling, metadata=admitted) == settled
    work.items = 13
    other = pb.SettleRequest(request_id="r1", work=work)
    with pytest.raises(Conflict), raising_weir_errors():
        await client.billing.Settle(other, metadata=admitted)


async def test_tokens_and_work_in_one_call_are_refused(client: Any) -> None:
    await open_account(client)
    admitted = client.admitted("r1")
    for tokens in ({"input_tokens": 1}, {"max_output_tokens": 1}):
        both = pb.ReserveRequest(
            request_id="r1", model="tales", max_work=WorkUsage(requests=1), **tokens
        )
        with pytest.raises(InvalidArgument) as caught, raising_weir_errors():
            await client.billing.Reserve(both, metadata=admitted)
        assert caught.value.field == "max_work"
    await client.billing.Reserve(predicting(), metadata=admitted)
    used, work = TokenUsage(output_tokens=1), WorkUsage(requests=1)
    for wrong in (
        pb.SettleRequest(request_id="r1", usage=used, work=work),
        pb.SettleRequest(request_id="r1", usage=used),
        pb.SettleRequest(request_id="r1"),
    ):
        with pytest.raises(InvalidArgument) as caught, raising_weir_errors():
            await client.billing.Settle(wrong, metadata=admitted)
        assert caught.value.field == "work"


async def test_an_adapter_is_held_and_charged_at_its_models_price(client: Any) -> None:
    await open_account(client)
    prices = [
        price_pb2.Price(model="*", input_nanos_per_million=9, output_nanos_per_million=9),
        price_pb2.Price(
            model="base", input_nanos_per_million=10**9, output_nanos_per_million=2 * 10**9
        ),
    ]
    await client.price.PublishPriceBook(price_pb2.PublishPriceBookRequest(prices=prices))
    admitted = client.admitted("r1")
    adapter = reserving(base_model="base")
    hold = (await client.billing.Reserve(adapter, metadata=admitted)).hold
    assert (hold.model, hold.amount.nanos) == ("tales", 200_000)
    assert (await client.billing.Reserve(adapter, metadata=admitted)).hold == hold
    with pytest.raises(Conflict), raising_weir_errors():
        await client.billing.Reserve(reserving(), metadata=admitted)
    settled = await client.billing.Settle(settling(), metadata=admitted)
    assert settled.charged.nanos == 140_000


async def test_a_released_hold_costs_nothing(client: Any) -> None:
    await open_account(client)
    admitted = client.admitted("r1")
    await client.billing.Reserve(reserving(), metadata=admitted)
    client.clock.advance(120)
    for _ in range(2):
        released = await client.billing.Release(
            pb.ReleaseRequest(request_id="r1"), metadata=admitted
        )
        assert released.hold.state == pb.HOLD_STATE_RELEASED
    with pytest.raises(Conflict), raising_weir_errors():
        await client.billing.Settle(settling(), metadata=admitted)


async def test_no_call_passes_without_an_admission_for_it(client: Any) -> None:
    await open_account(client)
    with pytest.raises(Unauthenticated), raising_weir_errors():
        await client.billing.Reserve(reserving())
    with pytest.raises(Unauthenticated), raising_weir_errors():
        await client.billing.Reserve(reserving(), metadata=(("weir-admission", "forged"),))
    with pytest.raises(Unauthenticated), raising_weir_errors():
        await client.billing.Reserve(reserving(), metadata=client.admitted("r1", ttl_s=-1))
    admitted = client.admitted("r1")
    for wrong in (reserving("r2"), reserving(model="other")):
        with pytest.raises(PermissionDenied), raising_weir_errors():
            await client.billing.Reserve(wrong, metadata=admitted)
    await client.billing.Reserve(reserving(), metadata=admitted)
    for metadata in (client.admitted("r2"), client.admitted("r1", tenant="b")):
        with pytest.raises(PermissionDenied), raising_weir_errors():
            await client.billing.Settle(settling(), metadata=metadata)
        with pytest.raises(PermissionDenied), raising_weir_errors():
            await client.billing.Release(pb.ReleaseRequest(request_id="r1"), metadata=metadata)


async def test_no_price_and_no_credit_are_told_apart(client: Any) -> None:
    with pytest.raises(PriceNotFound), raising_weir_errors():
        await client.billing.Reserve(reserving(), metadata=client.admitted("r1"))
    await open_account(client, nanos=199_999)
    with pytest.raises(InsufficientCredit) as caught, raising_weir_errors():
        await client.billing.Reserve(reserving(), metadata=client.admitted("r1"))
    assert caught.value.details == {"currency": "USD", "needed_nanos": "200000"}
    with pytest.raises(InsufficientCredit), raising_weir_errors():
        await client.billing.Reserve(reserving("r2"), metadata=client.admitted("r2", tenant="b"))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"request_id": ""}, "request_id"),
        ({"request_id": "a b"}, "request_id"),
        ({"model": ""}, "model"),
        ({"base_model": "a b"}, "base_model"),
        ({"input_tokens": -1}, "input_tokens"),
        ({"max_output_tokens": -1}, "max_output_tokens"),
        ({"ttl_s": -1}, "ttl_s"),
        ({"ttl_s": 3601}, "ttl_s"),
    ],
)
async def test_a_wrong_field_is_named(client: Any, changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidArgument) as caught, raising_weir_errors():
        await client.billing.Reserve(reserving(**changes), metadata=client.admitted("r1"))
    assert caught.value.field == field


async def test_wrong_usage_is_named(client: Any) -> None:
    with pytest.raises(InvalidArgument) as caught, raising_weir_errors():
        await client.billing.Settle(settling(inputs=-1), metadata=client.admitted("r1"))
    assert caught.value.field == "usage.input_tokens"


@pytest.mark.parametrize(
    ("work", "field"),
    [({"requests": 0}, "requests"), ({"items": -1}, "items"), ({"compute_us": -1}, "compute_us")],
)
async def test_wrong_work_is_named(client: Any, work: dict[str, int], field: str) -> None:
    admitted = client.admitted("r1")
    with pytest.raises(InvalidArgument) as caught, raising_weir_errors():
        await client.billing.Reserve(predicting(**work), metadata=admitted)
    assert caught.value.field == f"max_work.{field}"
    wrong = pb.SettleRequest(request_id="r1", work=predicting(**work).max_work)
    with pytest.raises(InvalidArgument) as caught, raising_weir_errors():
        await client.billing.Settle(wrong, metadata=admitted)
    assert caught.value.field == f"work.{field}"


async def test_a_hold_that_nobody_ended_is_settled_from_the_meter(
    client: Any, redis_url: str
) -> None:
    await open_account(client)
    admitted = client.admitted("r1")
    await client.billing.Reserve(reserving(), metadata=admitted)
    await client.billing.Reserve(reserving("r2"), metadata=client.admitted("r2"))
    async with Redis.from_url(redis_url) as redis:
        await redis.xadd(
            "weir:meter",
            {
                "request_id": "r1",
                "tenant_id": "a",
                "model": "tales",
                "input_tokens": 100,
                "output_tokens": 5,
                "reason": "cancelled",
                "at_s": f"{client.clock.now_s():.6f}",
            },
        )
        async with asyncio.timeout(20):
            while not await redis.exists("weir:meter") or not await _is_read(redis):
                await asyncio.sleep(0.01)
    client.clock.advance(300)
    async with asyncio.timeout(20):
        while await _open_holds(client):
            await asyncio.sleep(0.01)
    balance = await client.account.GetBalance(account_pb2.GetBalanceRequest(tenant_id="a"))
    assert (balance.balance.available.nanos, balance.balance.held.nanos) == (890_000, 0)
    settled = await client.billing.Settle(settling(outputs=5), metadata=admitted)
    assert settled.charged.nanos == 110_000


async def _is_read(redis: Redis) -> bool:
    groups: Any = await redis.xinfo_groups("weir:meter")
    last = (await redis.xinfo_stream("weir:meter"))["last-generated-id"]
    return any(g["last-delivered-id"] == last and not g["pending"] for g in groups)


async def _open_holds(client: Any) -> int:
    verified = await client.account.VerifyLedger(account_pb2.VerifyLedgerRequest())
    assert not verified.unbalanced_transfers and not verified.wrong_balances
    return int(verified.open_holds)
