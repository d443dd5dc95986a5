"""Answers come in the order of the requests, however long each takes, and not too many at once."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weir_inference.rpc.oip.ordered import answers_in_order


async def each(requests: Sequence[int]) -> AsyncIterator[int]:
    for request in requests:
        yield request


@given(st.lists(st.integers(0, 8), max_size=20), st.integers(1, 4))
def test_answers_are_in_order_and_at_most_so_many_are_worked_on(
    turns: list[int], ahead: int
) -> None:
    n_running, most = 0, 0

    async def answer(n_turns: int) -> int:
        nonlocal n_running, most
        n_running += 1
        most = max(most, n_running)
        for _ in range(n_turns):
            await asyncio.sleep(0)
        n_running -= 1
        return n_turns

    async def all_answers() -> list[int]:
        async with asyncio.timeout(10):
            return [got async for got in answers_in_order(each(turns), answer, ahead)]

    assert asyncio.run(all_answers()) == turns
    assert most <= ahead
    assert n_running == 0


async def test_requests_are_worked_on_together() -> None:
    both = asyncio.Barrier(2)

    async def answer(request: int) -> int:
        await both.wait()
        return request

    assert [got async for got in answers_in_order(each([1, 2]), answer, 2)] == [1, 2]


async def test_closed_it_cancels_all_that_is_under_way() -> None:
    begun, ends = list[int](), list[int]()

    async def answer(request: int) -> int:
        begun.append(request)
        if request == 0:
            return request
        try:
            await asyncio.Event().wait()
        finally:
            ends.append(request)
        return request

    async with aclosing(answers_in_order(each(range(9)), answer, 4)) as answers:
        assert await anext(answers) == 0
        async with asyncio.timeout(10):
            while len(begun) < 4:
                await asyncio.sleep(0)
    assert sorted(ends) == [1, 2, 3]
    assert len(asyncio.all_tasks()) == 1


async def test_an_error_ends_it_after_the_answers_before() -> None:
    async def answer(request: int) -> int:
        if request == 2:
            raise ValueError("of an answer")
        return request

    answers = answers_in_order(each([0, 1, 2, 3]), answer, 4)
    assert [await anext(answers), await anext(answers)] == [0, 1]
    with pytest.raises(ValueError, match="of an answer"):
        await anext(answers)
    assert len(asyncio.all_tasks()) == 1


async def test_an_error_of_the_requests_ends_it_after_the_answers_before() -> None:
    async def broken() -> AsyncIterator[int]:
        yield 0
        raise ValueError("of the requests")

    async def answer(request: int) -> int:
        return request

    answers = answers_in_order(broken(), answer, 4)
    assert await anext(answers) == 0
    with pytest.raises(ValueError, match="of the requests"):
        await anext(answers)
