"""Rate limits in Redis: one Lua script, one round trip, Redis' own clock."""

import asyncio
import logging

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from weir_kit.errors import Unavailable
from weir_policy.core.gcra import REQUESTS_PER_MINUTE_MAX, Verdict

LOG = logging.getLogger(__name__)
CONNECT_S_MAX = 0.5
ANSWER_S_MAX = 0.5
TAKE_S_MAX = 1.0  # for all of it, a second try on a new connection included
CONNECTIONS_MAX = 64
KEY = "weir:rpm:{}"

# `weir_policy.core.gcra.decide`, line by line. Numbers stay below 2^53, so doubles are exact;
# Redis would write them as 1.7e+15, hence the format. The key goes when its limit is untouched.
TAKE = """
local limit = tonumber(ARGV[1])
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
local tat = tonumber(redis.call('GET', KEYS[1]) or '0')
local interval = math.ceil(60000000 / limit)
local new_tat = math.max(tat, now) + interval
local allowed_at = new_tat - limit * interval
if now < allowed_at then
    return {0, tat, 0, allowed_at - now, tat - now, now}
end
redis.call('SET', KEYS[1], string.format('%.0f', new_tat), 'PX', math.ceil((new_tat - now) / 1000))
return {1, new_tat, math.floor((now - allowed_at) / interval), 0, new_tat - now, now}
"""


class RedisLimiter:
    """`weir_policy.core.admit.Limiter`. Fails closed: without Redis nothing limited passes."""

    def __init__(self, redis: Redis) -> None:
        # EVALSHA; EVAL only where Redis does not know the script (yet, or any more).
        self._take = redis.register_script(TAKE)

    async def take(self, key_id: str, requests_per_minute: int) -> Verdict:
        """Count one request of the key. Raises `Unavailable` within `TAKE_S_MAX`."""
        verdict, _ = await self.take_with_time(key_id, requests_per_minute)
        return verdict

    async def take_with_time(self, key_id: str, requests_per_minute: int) -> tuple[Verdict, int]:
        """Also the moment of the verdict, by Redis' clock, in microseconds since 1970-01-01 UTC."""
        assert 0 < requests_per_minute <= REQUESTS_PER_MINUTE_MAX
        try:
            async with asyncio.timeout(TAKE_S_MAX):
                answer = await self._take(keys=[KEY.format(key_id)], args=[requests_per_minute])
        except (RedisError, OSError, TimeoutError) as error:
            LOG.warning("Redis: %s", type(error).__name__)
            raise Unavailable("the rate limit cannot be checked now", retry_after_s=1) from error
        allowed, tat_us, remaining, retry_after_us, reset_us, now_us = answer
        return Verdict(bool(allowed), tat_us, remaining, retry_after_us, reset_us), now_us


def open_redis(url: str) -> Redis:
    """A client; close it with `aclose`. It connects when first used, and tries once more."""
    return Redis.from_url(
        url,
        socket_connect_timeout=CONNECT_S_MAX,
        socket_timeout=ANSWER_S_MAX,
        max_connections=CONNECTIONS_MAX,
        retry=Retry(NoBackoff(), 1),
    )
