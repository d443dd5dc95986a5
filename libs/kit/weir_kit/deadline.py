"""The deadline of the call being served, so that the calls it makes never outlive it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_deadline_s: ContextVar[float | None] = ContextVar("weir_deadline_s", default=None)
_slack_s: ContextVar[float] = ContextVar("weir_deadline_slack_s", default=0.0)

# The client's clock starts earlier, and grpc-timeout is rounded up to two or three digits: the
# client gives up, and its cancellation arrives, this much before the deadline as the server has it.
SLACK_S = 0.02
SLACK_SHARE = 0.01


def remaining_s() -> float | None:
    """Seconds left to the call being served, never below 0; None outside a call."""
    deadline_s = _deadline_s.get()
    return None if deadline_s is None else max(0.0, deadline_s - time.monotonic())


def set_remaining(seconds: float) -> None:
    """The call that this task serves ends in `seconds`. For the server's own wrapper."""
    _deadline_s.set(time.monotonic() + seconds)
    _slack_s.set(SLACK_S + SLACK_SHARE * seconds)


def has_passed() -> bool:
    """Whether a call that is cancelled now is so for being late, not by its client's wish."""
    left_s = remaining_s()
    return left_s is not None and left_s <= _slack_s.get()


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Calls made inside end in `seconds` from now, or sooner where a deadline is already set.

    It bounds the calls, not the code: wrap that in `asyncio.timeout` too. Not around a `yield`.
    """
    known_s = _deadline_s.get()
    wanted_s = time.monotonic() + seconds
    token = _deadline_s.set(wanted_s if known_s is None else min(known_s, wanted_s))
    try:
        yield
    finally:
        _deadline_s.reset(token)
