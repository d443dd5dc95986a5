"""The meter in a Redis stream: written in the background, bounded in memory and in tries."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.asyncio import Redis
from redis.exceptions import RedisError
from redis.typing import EncodableT

from weir_inference.core.meter import MeterRecord

log = logging.getLogger(__name__)

STREAM = "weir:meter"
STREAM_RECORDS = 100_000
PENDING_MAX = 10_000
BATCH_MAX = 256
LINGER_S = 0.005
TRIES = 8
TRY_TIMEOUT_S = 2.0
FIRST_PAUSE_S = 0.1
PAUSE_MAX_S = 5.0
FLUSH_TIMEOUT_S = 5.0


class RedisMeter:
    """A `Meter`. While Redis is away, records wait; if it stays away, they are dropped and counted.

    A record may be written twice, when Redis took it and its answer was lost: readers go by
    request_id.
    """

    def __init__(self, redis: Redis, first_pause_s: float = FIRST_PAUSE_S) -> None:
        self.dropped = 0
        self._redis = redis
        self._first_pause_s = first_pause_s
        self._pending: asyncio.Queue[MeterRecord] = asyncio.Queue(PENDING_MAX)

    def record(self, record: MeterRecord) -> None:
        """Queue a record for Redis."""
        try:
            self._pending.put_nowait(record)
        except asyncio.QueueFull:
            self._drop(1)

    async def write_forever(self) -> None:
        """Write what is queued, as it comes, many records at a time."""
        while True:
            batch = [await self._pending.get()]
            while len(batch) < BATCH_MAX and not self._pending.empty():
                batch.append(self._pending.get_nowait())
            try:
                await self._write(batch)
            finally:
                for _ in batch:
                    self._pending.task_done()
            # Under load many records go at once; a record alone has gone by now.
            await asyncio.sleep(LINGER_S)

    async def flush(self) -> None:
        """Return when all that was queued is written or dropped."""
        await self._pending.join()

    async def _write(self, batch: list[MeterRecord]) -> None:
        pause_s = self._first_pause_s
        for left in reversed(range(TRIES)):
            try:
                async with asyncio.timeout(TRY_TIMEOUT_S):
                    await self._add(batch)
                return
            except (RedisError, OSError, TimeoutError) as error:
                log.warning(
                    "the meter cannot be written (%s), %d tries left", type(error).__name__, left
                )
            if left:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, PAUSE_MAX_S)
        self._drop(len(batch))

    async def _add(self, batch: list[MeterRecord]) -> None:
        async with self._redis.pipeline(transaction=False) as pipeline:
            for record in batch:
                pipeline.xadd(STREAM, fields_of(record), maxlen=STREAM_RECORDS, approximate=True)
            await pipeline.execute()

    def _drop(self, n_records: int) -> None:
        self.dropped += n_records
        log.error("%d meter records dropped, %d since start", n_records, self.dropped)


def fields_of(record: MeterRecord) -> dict[EncodableT, EncodableT]:
    """The stream entry; all values are text."""
    return {
        "request_id": record.request_id,
        "tenant_id": record.tenant_id,
        "model": record.model,
        "input_tokens": str(record.input_tokens),
        "output_tokens": str(record.output_tokens),
        "reason": record.reason.value,
        "at_s": f"{record.at_s:.6f}",
        "items": str(record.items),
        "compute_us": str(record.compute_us),
        "model_version": record.model_version,
    }


@asynccontextmanager
async def open_redis_meter(url: str) -> AsyncIterator[RedisMeter]:
    """A meter that writes until it is left; what is queued then gets a few seconds to be written.

    It opens without Redis, too: serving does not wait for the witness.
    """
    redis = Redis.from_url(url, socket_timeout=TRY_TIMEOUT_S, socket_connect_timeout=TRY_TIMEOUT_S)
    meter = RedisMeter(redis)
    writing = asyncio.create_task(meter.write_forever())
    try:
        yield meter
        try:
            async with asyncio.timeout(FLUSH_TIMEOUT_S):
                await meter.flush()
        except TimeoutError:
            log.error("left with meter records unwritten")
    finally:
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        await redis.aclose()
