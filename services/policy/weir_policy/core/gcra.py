"""The rate limit's arithmetic: the generic cell rate algorithm (ITU-T I.371), in integers.

A limit of n per minute lets n requests through at once and one more every 60 s / n. Its whole state
is one time, `tat_us`: the theoretical arrival time, when the limit would be untouched again.
The Lua script in `adapters/redis_limiter.py` does the same; a test compares the two.
"""

from dataclasses import dataclass

PERIOD_US = 60_000_000
REQUESTS_PER_MINUTE_MAX = 1_000_000


@dataclass(frozen=True)
class Verdict:
    """Whether a request may pass, and the limit's state after it. Times in microseconds.

    `remaining` requests could be sent at once now; `retry_after_us` until one can (0 if allowed);
    `reset_us` until all can.
    """

    allowed: bool
    tat_us: int
    remaining: int
    retry_after_us: int
    reset_us: int


def decide(now_us: int, tat_us: int, limit: int) -> Verdict:
    """The verdict on one request now, under `limit` requests per minute."""
    assert 0 < limit <= REQUESTS_PER_MINUTE_MAX
    interval_us = -(-PERIOD_US // limit)  # rounded up: never more than the limit in the long run
    new_tat_us = max(tat_us, now_us) + interval_us
    allowed_at_us = new_tat_us - limit * interval_us
    if now_us < allowed_at_us:
        return Verdict(False, tat_us, 0, allowed_at_us - now_us, tat_us - now_us)
    remaining = (now_us - allowed_at_us) // interval_us
    return Verdict(True, new_tat_us, remaining, 0, new_tat_us - now_us)
