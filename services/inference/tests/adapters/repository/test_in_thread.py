"""Work in a thread returns, raises, and ends when nobody waits for it."""

import asyncio
import threading

import pytest

from weir_inference.adapters.repository.in_thread import Stop, Stopped, in_thread


async def test_work_returns_or_raises() -> None:
    assert await in_thread(lambda stop: threading.get_ident()) != threading.get_ident()
    with pytest.raises(ZeroDivisionError):
        await in_thread(lambda stop: 1 // 0)


async def test_cancelled_work_has_ended_when_the_waiting_ends() -> None:
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()
    ended = threading.Event()

    def work(stop: Stop) -> None:
        loop.call_soon_threadsafe(begun.set)
        try:
            for _ in range(10_000_000):  # seconds, where nobody asks
                stop.check()
        except Stopped:
            ended.set()
            raise

    task = asyncio.create_task(in_thread(work))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()
