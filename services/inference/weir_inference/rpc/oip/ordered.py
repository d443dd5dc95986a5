"""Answers to a stream of requests, several at a time and yet in order."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

Request = TypeVar("Request")
Answer = TypeVar("Answer")


async def answers_in_order(
    requests: AsyncIterator[Request],
    answer: Callable[[Request], Coroutine[Any, Any, Answer]],
    ahead: int,
) -> AsyncGenerator[Answer, None]:
    """The answer to each request; up to `ahead` are worked on, or wait for those before them.

    What `answer` or `requests` raise ends it. Closed, it cancels what is under way.
    """
    slots = asyncio.Semaphore(ahead - 1)
    started: asyncio.Queue[asyncio.Task[Answer] | None] = asyncio.Queue()  # `slots` bounds it
    tasks: set[asyncio.Task[Any]] = set()

    def begin(work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        tasks.add(task)
        return task

    async def read() -> None:
        try:
            async for request in requests:
                started.put_nowait(begin(answer(request)))
                await slots.acquire()
        finally:
            started.put_nowait(None)

    try:
        reading = begin(read())
        while (task := await started.get()) is not None:
            yield await task
            tasks.discard(task)
            slots.release()
        await reading
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
