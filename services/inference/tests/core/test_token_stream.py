"""News is joined into as few events as the caller's pace allows."""

import asyncio

import pytest

from weir_inference.core.engine import Delta, Finished, PromptScored, Started
from weir_inference.core.request import EndReason
from weir_inference.core.token_logprob import TokenLogprob
from weir_inference.core.token_stream import TokenStream
from weir_kit.errors import Internal


async def test_all_that_is_pending_comes_as_one_delta() -> None:
    stream = TokenStream()
    for news in (Started(0.5), Delta((1,)), Delta((2,)), Delta((3,)), Finished(EndReason.STOP)):
        stream.put(news)
    events = [event async for event in stream.events()]
    assert events == [Started(0.5), Delta((1, 2, 3)), Finished(EndReason.STOP)]


async def test_tokens_that_come_while_the_caller_is_busy_come_before_the_end() -> None:
    stream = TokenStream()
    stream.put(Delta((1,)))
    events = stream.events()
    assert await anext(events) == Delta((1,))
    stream.put(Delta((2,)))
    stream.put(Finished(EndReason.LENGTH))
    assert [event async for event in events] == [Delta((2,)), Finished(EndReason.LENGTH)]


async def test_an_error_comes_after_the_tokens_before_it_and_nothing_after() -> None:
    stream = TokenStream()
    stream.put(Delta((1,)))
    stream.put(Internal("broken"))
    stream.put(Delta((2,)))
    events = stream.events()
    assert await anext(events) == Delta((1,))
    with pytest.raises(Internal):
        await anext(events)


async def test_a_waiting_caller_wakes_for_each_piece_of_news() -> None:
    stream = TokenStream()
    events = stream.events()
    for token_id in range(3):
        waiting = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0)
        assert not waiting.done()
        stream.put(Delta((token_id,)))
        assert await waiting == Delta((token_id,))


async def test_scores_of_the_prompt_come_before_the_tokens_and_those_of_tokens_with_them() -> None:
    stream = TokenStream()
    scores = [TokenLogprob(token_id, -1.0) for token_id in range(3)]
    for news in (
        Delta((1,), (scores[1],)),
        PromptScored((scores[0],)),
        Delta((2,), (scores[2],)),
        Finished(EndReason.STOP),
    ):
        stream.put(news)
    assert [event async for event in stream.events()] == [
        PromptScored((scores[0],)),
        Delta((1, 2), (scores[1], scores[2])),
        Finished(EndReason.STOP),
    ]
