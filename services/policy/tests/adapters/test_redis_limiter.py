"""The Lua script against the pure arithmetic, on a real Redis."""

import asyncio
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from weir_kit.errors import Unavailable
from weir_policy.adapters.redis_limiter import KEY, TAKE_S_MAX, RedisLimiter, open_redis
from weir_policy.core.gcra import REQUESTS_PER_MINUTE_MAX, decide


async def compare(url: str, limit: int, idle_us: list[int]) -> None:
    """Take once per item; before each, let time pass by moving the stored state back."""
    redis = open_redis(url)
    limiter, tat_us = RedisLimiter(redis), 0
    await redis.delete(KEY.format("key_x"))
    for pause_us in idle_us:
        tat_us = max(0, tat_us - pause_us)
        if tat_us:
            await redis.set(KEY.format("key_x"), tat_us)
        verdict, now_us = await limiter.take_with_time("key_x", limit)
        assert verdict == decide(now_us, tat_us, limit)
        tat_us = verdict.tat_us
    await redis.aclose()


@given(
    limit=st.integers(1, 5) | st.integers(1, REQUESTS_PER_MINUTE_MAX),
    idle_us=st.lists(st.integers(0, 90_000_000) | st.just(0), min_size=1, max_size=12),
)
@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_the_script_decides_as_the_pure_function(
    redis_url: str, limit: int, idle_us: list[int]
) -> None:
    asyncio.run(compare(redis_url, limit, idle_us))


@pytest.fixture
async def redis(redis_url: str) -> Redis:
    client = open_redis(redis_url)
    yield client
    await client.aclose()


async def test_many_at_once_get_exactly_the_limit(redis: Redis) -> None:
    limiter = RedisLimiter(redis)
    verdicts = await asyncio.gather(*(limiter.take("key_y", 10) for _ in range(50)))
    assert sum(verdict.allowed for verdict in verdicts) == 10


async def test_redis_forgets_the_script_and_nobody_notices(redis: Redis) -> None:
    limiter = RedisLimiter(redis)
    assert (await limiter.take("key_z", 2)).remaining == 1
    await redis.script_flush()
    assert (await limiter.take("key_z", 2)).remaining == 0


async def test_an_untouched_limit_leaves_nothing_in_redis(redis: Redis) -> None:
    await RedisLimiter(redis).take("key_w", 60)
    assert 0 < await redis.pttl(KEY.format("key_w")) <= 1000


async def test_without_redis_nothing_passes_and_soon() -> None:
    client = open_redis("unix:///nowhere/redis.sock")
    began = time.monotonic()
    with pytest.raises(Unavailable):
        await RedisLimiter(client).take("key_v", 10)
    assert time.monotonic() - began < TAKE_S_MAX + 0.5
    await client.aclose()


async def test_a_redis_that_never_answers_is_given_up_in_time() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = open_redis(f"redis://127.0.0.1:{port}/0")
    began = time.monotonic()
    with pytest.raises(Unavailable):
        await RedisLimiter(client).take("key_u", 10)
    assert time.monotonic() - began < TAKE_S_MAX + 0.5
    await client.aclose()
    server.close()
    await server.wait_closed()
