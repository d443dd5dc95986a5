"""Ending background tasks that wait for Redis or PostgreSQL."""

import asyncio
from collections.abc import Collection
from typing import Any

CANCEL_AGAIN_S = 0.5


async def end(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel the tasks until they are done; what they raised stays in them.

    Once is not enough: `asyncio.wait_for` of Python 3.11, which redis-py and psycopg wait by,
    loses a cancellation that comes in the same tick as its result (python/cpython#86296).
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=CANCEL_AGAIN_S)
