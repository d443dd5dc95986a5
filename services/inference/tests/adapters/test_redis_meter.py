"""The meter's records reach a real Redis, and its absence holds nobody up."""

import asyncio
from dataclasses import replace

import pytest
from redis.asyncio import Redis

from weir_inference.adapters import redis_meter
from weir_inference.adapters.redis_meter import STREAM, RedisMeter, open_redis_meter
from weir_inference.core.meter import MeterRecord
from weir_inference.core.request import EndReason


def record(n: int) -> MeterRecord:
    return MeterRecord(f"req_{n}", "ten_1", "tales", 5, 7, EndReason.STOP, 1_800_000_000.25)


async def stream_of(url: str) -> list[dict[bytes, bytes]]:
    async with Redis.from_url(url) as redis:
        return [fields for _, fields in await redis.xrange(STREAM)]


async def test_records_are_written_in_order_before_the_meter_closes(redis_url: str) -> None:
    async with open_redis_meter(redis_url) as meter:
        for n in range(600):
            meter.record(record(n))
        predicted = replace(record(600), input_tokens=0, output_tokens=0, model="eyes")
        meter.record(replace(predicted, items=12, compute_us=4512, model_version="3"))
    entries = await stream_of(redis_url)
    assert [entry[b"request_id"].decode() for entry in entries] == [f"req_{n}" for n in range(601)]
    assert entries[0] == {
        b"request_id": b"req_0",
        b"tenant_id": b"ten_1",
        b"model": b"tales",
        b"input_tokens": b"5",
        b"output_tokens": b"7",
        b"reason": b"stop",
        b"at_s": b"1800000000.250000",
        b"items": b"0",
        b"compute_us": b"0",
        b"model_version": b"",
    }
    assert entries[600] == {
        b"request_id": b"req_600",
        b"tenant_id": b"ten_1",
        b"model": b"eyes",
        b"input_tokens": b"0",
        b"output_tokens": b"0",
        b"reason": b"stop",
        b"at_s": b"1800000000.250000",
        b"items": b"12",
        b"compute_us": b"4512",
        b"model_version": b"3",
    }


async def test_without_redis_records_are_dropped_counted_and_logged(
    tmp_path: object, caplog: pytest.LogCaptureFixture
) -> None:
    async with Redis.from_url(f"unix://{tmp_path}/nobody.sock") as redis:
        meter = RedisMeter(redis, first_pause_s=0.0)
        writing = asyncio.create_task(meter.write_forever())
        meter.record(record(1))
        await meter.flush()
        writing.cancel()
    assert meter.dropped == 1
    assert caplog.text.count("tries left") == redis_meter.TRIES
    assert "1 meter records dropped" in caplog.text


async def test_a_redis_that_comes_back_gets_what_waited(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_redis_meter(redis_url) as meter:
        add = meter._add
        failures = iter([ConnectionRefusedError(), TimeoutError()])

        async def flaky(batch: list[MeterRecord]) -> None:
            for failure in failures:
                raise failure
            await add(batch)

        monkeypatch.setattr(meter, "_add", flaky)
        meter.record(record(1))
        await meter.flush()
    assert meter.dropped == 0
    assert len(await stream_of(redis_url)) == 1


async def test_a_full_queue_drops_the_newest_and_never_waits(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_meter, "PENDING_MAX", 3)
    async with Redis.from_url(redis_url) as redis:
        meter = RedisMeter(redis)
        for n in range(5):
            meter.record(record(n))
    assert meter.dropped == 2
