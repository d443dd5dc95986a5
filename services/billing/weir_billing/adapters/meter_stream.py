"""The meter stream: Redis messages of the inference service become rows, each once.

A consumer group delivers each message to one replica. It is acknowledged after its row is
committed, so a crash in between delivers it again, and the row makes that harmless. A message
whose reader died is claimed by another. A malformed message goes to `weir:meter:dead`.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from weir_billing.core.counters import Counters
from weir_billing.core.meter import MeterRecord, meter_record_of
from weir_kit.clock import Clock
from weir_kit.errors import InvalidArgument, Unavailable

LOG = logging.getLogger("weir.billing.meter")
STREAM = "weir:meter"
DEAD = "weir:meter:dead"
DEAD_MAX = 10_000
DEAD_FIELDS_MAX = 16
DEAD_BYTES_MAX = 256
GROUP = "billing"
BATCH = 256
BLOCK_MS = 1_000
SOCKET_TIMEOUT_S = 5.0
CLAIM_EVERY_S = 10.0
CLAIM_IDLE_MS = 30_000
PAUSE_FIRST_S = 0.1
PAUSE_MAX_S = 10.0

Fields = dict[bytes, bytes]
Message = tuple[bytes, Fields]


class MeterRecords(Protocol):
    """Where records are kept."""

    async def keep(self, records: Sequence[MeterRecord]) -> None:
        """Write them; any that is there already changes nothing. Raises `Unavailable`."""
        ...


@dataclass(frozen=True)
class Sorted:
    """A batch of messages: good records, and the malformed with what is wrong with them."""

    records: list[MeterRecord]
    malformed: list[tuple[Message, str]]


def open_redis(url: str) -> Redis:
    """A client whose every answer is waited for a bounded time; it connects when it is used."""
    return Redis.from_url(
        url,
        socket_timeout=SOCKET_TIMEOUT_S,
        socket_connect_timeout=SOCKET_TIMEOUT_S,
        protocol=2,  # version 3 has another shape for the answers of streams
    )


class MeterStream:
    """Reads `weir:meter` as one consumer of the group `billing`.

    `consumer` names the machine: what its process left behind after a crash is its own to read,
    and two processes that share the name do no harm.
    """

    def __init__(
        self,
        redis: Redis,
        records: MeterRecords,
        clock: Clock,
        counters: Counters,
        *,
        consumer: str,
        claim_idle_ms: int = CLAIM_IDLE_MS,
    ) -> None:
        self._redis = redis
        self._records = records
        self._clock = clock
        self._counters = counters
        self._consumer = consumer
        self._claim_idle_ms = claim_idle_ms
        self._joined = False
        self._claimed_at_s = float("-inf")
        self._read_until_s: float | None = None

    def read_until_s(self) -> float | None:
        """Every record added before this time is a row by now, whoever read it; None at first."""
        return self._read_until_s

    async def read_forever(self) -> None:
        """Read until cancelled. While Redis or PostgreSQL is away, try again with longer pauses."""
        pause_s = PAUSE_FIRST_S
        while True:
            try:
                await self.read(BLOCK_MS)
                pause_s = PAUSE_FIRST_S
            except (RedisError, OSError, Unavailable) as error:
                self._joined = False
                LOG.warning(
                    "the meter cannot be read (%s); next try in %.1f s",
                    type(error).__name__,
                    pause_s,
                )
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, PAUSE_MAX_S)

    async def read(self, block_ms: int) -> int:
        """Take one batch, waiting at most `block_ms` for it; returns how many messages it had.

        Raises RedisError, OSError, `Unavailable`; what is not acknowledged then comes again.
        """
        await self._join()
        if self._clock.monotonic_s() - self._claimed_at_s >= CLAIM_EVERY_S:
            await self._claim()
            self._claimed_at_s = self._clock.monotonic_s()
        began_s = self._clock.now_s()
        answer: Any = await self._redis.xreadgroup(
            GROUP, self._consumer, {STREAM: ">"}, count=BATCH, block=block_ms
        )
        messages: list[Message] = answer[0][1] if answer else []
        await self._take(messages)
        if len(messages) < BATCH:  # nothing was left in the stream
            self._read_until_s = await self._committed_until_s(began_s)
        return len(messages)

    async def _join(self) -> None:
        """Make the group, from the stream's beginning, unless it is there."""
        if self._joined:
            return
        try:
            await self._redis.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise
        self._joined = True

    async def _claim(self) -> None:
        """Take over messages that were delivered long ago and never acknowledged."""
        ids: list[bytes] = await self._redis.xautoclaim(
            STREAM, GROUP, self._consumer, self._claim_idle_ms, count=BATCH, justid=True
        )
        if not ids:
            return
        async with self._redis.pipeline(transaction=False) as pipeline:
            for message_id in ids:
                pipeline.xrange(STREAM, min=message_id, max=message_id)
            found = await pipeline.execute()
        messages = [message for answer in found for message in answer]
        lost = set(ids) - {message_id for message_id, _ in messages}
        if lost:  # trimmed away before anybody could read them again
            self._counters.meter_records_lost += len(lost)
            LOG.error("%d meter records were trimmed before they were read", len(lost))
            await self._redis.xack(STREAM, GROUP, *lost)
        await self._take(messages)

    async def _take(self, messages: Sequence[Message]) -> None:
        if not messages:
            return
        batch = _sorted(messages)
        if batch.records:
            await self._records.keep(batch.records)
        async with self._redis.pipeline(transaction=True) as pipeline:
            for message, why in batch.malformed:
                pipeline.xadd(DEAD, _dead(message, why), maxlen=DEAD_MAX, approximate=True)
            pipeline.xack(STREAM, GROUP, *(message_id for message_id, _ in messages))
            await pipeline.execute()
        self._counters.meter_records += len(batch.records)
        self._counters.meter_records_dead += len(batch.malformed)
        if batch.malformed:
            LOG.error("%d malformed meter records went to %s", len(batch.malformed), DEAD)

    async def _committed_until_s(self, began_s: float) -> float:
        """`began_s`, or the time of the oldest message that some reader has not acknowledged."""
        pending = await self._redis.xpending(STREAM, GROUP)
        if not pending["pending"]:
            return began_s
        oldest_ms = int(pending["min"].split(b"-")[0])
        return min(began_s, oldest_ms / 1000)


def _sorted(messages: Sequence[Message]) -> Sorted:
    batch = Sorted([], [])
    for message in messages:
        try:
            fields = {name.decode(): value.decode() for name, value in message[1].items()}
            batch.records.append(meter_record_of(fields))
        except InvalidArgument as error:
            batch.malformed.append((message, f"{error.field} {error.message}"))
        except UnicodeDecodeError:
            batch.malformed.append((message, "is not UTF-8"))
    return batch


def _dead(message: Message, why: str) -> Any:
    """What is kept of a malformed message: bounded, whatever it was."""
    kept = list(message[1].items())[:DEAD_FIELDS_MAX]
    cut = {b"field:" + name[:DEAD_BYTES_MAX]: value[:DEAD_BYTES_MAX] for name, value in kept}
    return {b"id": message[0], b"why": why.encode(), **cut}
