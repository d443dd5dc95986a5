"""The meter stream against real Redis and PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from weir_billing.adapters.ending import end
from weir_billing.adapters.meter_stream import CLAIM_EVERY_S, DEAD, STREAM, MeterStream, open_redis
from weir_billing.core.meter import MeterRecord
from weir_kit.errors import Unavailable

RECORD = MeterRecord("r1", "a", "tales", 7, 3, "stop", 1_800_000_000.0)


def message(record: MeterRecord) -> dict[Any, Any]:
    return {
        "request_id": record.request_id,
        "tenant_id": record.tenant_id,
        "model": record.model,
        "input_tokens": str(record.input_tokens),
        "output_tokens": str(record.output_tokens),
        "reason": record.reason,
        "at_s": f"{record.at_s:.6f}",
        "items": str(record.items),
        "compute_us": str(record.compute_us),
    }


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with aclosing(open_redis(redis_url)) as client:
        yield client


def stream_of(redis: Redis, bank: Any, consumer: str = "one") -> MeterStream:
    return MeterStream(
        redis, bank.meter, bank.clock, bank.counters, consumer=consumer, claim_idle_ms=0
    )


class AwayRecords:
    """PostgreSQL is away."""

    async def keep(self, records: Any) -> None:
        raise Unavailable("the ledger is away or busy")


async def test_a_message_becomes_a_row_and_is_acknowledged(redis: Redis, bank: Any) -> None:
    await redis.xadd(STREAM, message(RECORD))
    stream = stream_of(redis, bank)
    assert stream.read_until_s() is None
    assert await stream.read(10) == 1
    assert await bank.meter.get("r1") == RECORD
    assert (await redis.xpending(STREAM, "billing"))["pending"] == 0
    assert await stream.read(10) == 0
    assert stream.read_until_s() == bank.clock.now_s()


async def test_a_message_delivered_twice_is_one_row(redis: Redis, bank: Any) -> None:
    stream = stream_of(redis, bank)
    for _ in range(3):
        await redis.xadd(STREAM, message(RECORD))
    assert await stream.read(10) == 3
    await redis.xadd(STREAM, message(RECORD))
    await stream.read(10)
    assert await bank.meter.get("r1") == RECORD


async def test_the_order_of_arrival_does_not_matter(redis: Redis, bank: Any) -> None:
    stream = stream_of(redis, bank)
    kept = replace(RECORD, at_s=RECORD.at_s + 1)
    versions = [RECORD, replace(RECORD, output_tokens=2, reason="error"), kept]
    # Of two tries to answer in one piece it is the one that gave an answer, whatever both cost.
    predicted = replace(RECORD, input_tokens=0, output_tokens=0, items=12, compute_us=4512)
    broken_off = replace(predicted, reason="error", compute_us=9000, at_s=RECORD.at_s + 2)
    predictions = [predicted, broken_off, replace(predicted, compute_us=4000)]
    orders = [(order, kept) for order in permutations(versions)]
    orders += [(order, predicted) for order in permutations(predictions)]
    for place, (order, stands) in enumerate(orders):
        for record in order:
            await redis.xadd(STREAM, message(replace(record, request_id=f"r{place}")))
            await stream.read(10)
        assert await bank.meter.get(f"r{place}") == replace(stands, request_id=f"r{place}")
    together = [replace(record, request_id="together") for record in predictions]
    await bank.meter.keep(together)
    assert await bank.meter.get("together") == together[0]


async def test_a_malformed_message_goes_to_the_dead_and_blocks_nothing(
    redis: Redis, bank: Any
) -> None:
    await redis.xadd(STREAM, {"request_id": "r0", "secret" * 100: "x" * 10_000})
    await redis.xadd(STREAM, {b"request_id": b"\xff"})
    await redis.xadd(STREAM, message(RECORD))
    stream = stream_of(redis, bank)
    assert await stream.read(10) == 3
    assert await bank.meter.get("r1") == RECORD
    assert bank.counters.meter_records_dead == 2
    dead = [fields for _, fields in await redis.xrange(DEAD)]
    assert [fields[b"why"] for fields in dead] == [b"reason is missing", b"is not UTF-8"]
    assert max(len(part) for fields in dead for pair in fields.items() for part in pair) <= 262
    assert (await redis.xpending(STREAM, "billing"))["pending"] == 0


async def test_what_a_dead_reader_left_is_claimed_by_another(redis: Redis, bank: Any) -> None:
    dying = MeterStream(redis, AwayRecords(), bank.clock, bank.counters, consumer="dying")
    await redis.xadd(STREAM, message(RECORD))
    with pytest.raises(Unavailable):
        await dying.read(10)
    living = stream_of(redis, bank, "living")
    assert await living.read(10) == 0
    assert await bank.meter.get("r1") == RECORD
    assert (await redis.xpending(STREAM, "billing"))["pending"] == 0


async def test_the_horizon_stays_before_what_another_reader_has_not_committed(
    redis: Redis, bank: Any
) -> None:
    message_id = await redis.xadd(STREAM, message(RECORD), id="1700000000000-0")
    dying = MeterStream(redis, AwayRecords(), bank.clock, bank.counters, consumer="dying")
    living = stream_of(redis, bank, "living")
    await living.read(10)  # it claims nothing for a while from now on
    await redis.xadd(STREAM, message(replace(RECORD, request_id="r2")))
    with pytest.raises(Unavailable):
        await dying.read(10)
    await living.read(10)
    assert message_id == b"1700000000000-0"
    assert living.read_until_s() is not None
    pending = await redis.xpending(STREAM, "billing")
    assert living.read_until_s() == int(pending["min"].split(b"-")[0]) / 1000
    bank.clock.advance(CLAIM_EVERY_S)
    await living.read(10)
    assert living.read_until_s() == bank.clock.now_s()


async def test_a_message_trimmed_before_it_was_read_is_counted(redis: Redis, bank: Any) -> None:
    dying = MeterStream(redis, AwayRecords(), bank.clock, bank.counters, consumer="dying")
    await redis.xadd(STREAM, message(RECORD))
    with pytest.raises(Unavailable):
        await dying.read(10)
    await redis.xtrim(STREAM, maxlen=0)
    await stream_of(redis, bank).read(10)
    assert bank.counters.meter_records_lost == 1
    assert (await redis.xpending(STREAM, "billing"))["pending"] == 0


async def test_a_flushed_redis_is_joined_again(redis: Redis, bank: Any) -> None:
    stream = stream_of(redis, bank)
    await stream.read(10)
    await redis.flushdb()
    await redis.xadd(STREAM, message(RECORD))
    reading = asyncio.create_task(stream.read_forever())
    async with asyncio.timeout(20):
        while await bank.meter.get("r1") is None:
            await asyncio.sleep(0.01)
    await end([reading])
    assert reading.cancelled()


async def test_redis_away_is_tried_again_and_billing_goes_on(tmp_path: Any, bank: Any) -> None:
    async with aclosing(open_redis(f"unix://{tmp_path}/none.sock")) as away:
        stream = stream_of(away, bank)
        with pytest.raises(RedisError):
            await stream.read(10)
        reading = asyncio.create_task(stream.read_forever())
        await bank.open("a", 1_000_000)
        await bank.reserve("a", "r1", 100)
        assert (await bank.settle("a", "r1", 60)).charged.nanos == 60_000
        assert not reading.done()
        assert stream.read_until_s() is None
        await end([reading])
        assert reading.cancelled()
