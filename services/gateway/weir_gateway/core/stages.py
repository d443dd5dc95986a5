"""The stages of a generation: each turns one stream into the next, and closes its source.

    screen(decode(pending(generate(prompt))))

`pending` reads ahead, so that decode's message, and so screen's, carries all that the engine made
while the last ones were under way: under load fewer and larger messages, never one a token. One
read-ahead, at the source, is enough: the stages after it pull, and what they leave waits there.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass, field

from weir_gateway.core.call import FinishReason, Piece, Usage
from weir_gateway.core.checkpoints import Checkpoints
from weir_gateway.core.ports import Decoded, Decoder, Delta, Screened, Screener
from weir_kit.errors import Internal

READ_AHEAD_DELTAS_MAX = 1024


@dataclass(frozen=True)
class Text:
    """Decoded text, not yet screened; the first `decoded_tokens` have all their text out by now."""

    text: str = field(repr=False)
    decoded_tokens: int
    usage: Usage
    finish: FinishReason | None


async def pending(deltas: AsyncGenerator[Delta, None]) -> AsyncGenerator[Delta, None]:
    """Read ahead; yield all deltas that came since the last one, as one."""
    queue: asyncio.Queue[Delta | Exception | None] = asyncio.Queue(READ_AHEAD_DELTAS_MAX)
    reader = asyncio.create_task(_read(deltas, queue))
    try:
        end: Delta | Exception | None
        while True:
            batch = [end := await queue.get()]
            while not queue.empty():
                batch.append(end := queue.get_nowait())
            if came := [delta for delta in batch if isinstance(delta, Delta)]:
                yield _merged(came)
            if isinstance(end, Exception):
                raise end
            if end is None:
                return
    finally:
        reader.cancel()
        await asyncio.wait([reader])


async def decode(
    deltas: AsyncGenerator[Delta, None], opening: AbstractAsyncContextManager[Decoder]
) -> AsyncGenerator[Text, None]:
    """Token ids to text, up to the end or a stop string. The last text has its `finish` set.

    The decoder opens when the engine has started: while it computes the prompt, not before.
    """
    text = None
    async with aclosing(deltas):
        delta = await anext(deltas, None)
        async with opening as decoder:
            while delta is not None:
                text = await _decoded(decoder, delta)
                if text.finish is not None:
                    await deltas.aclose()  # at a stop string this cancels the engine: at once
                    break
                yield text
                delta = await anext(deltas, None)
    if text is None or text.finish is None:
        raise Internal("the engine's stream ended before the generation did")
    yield text


async def screen(
    texts: AsyncGenerator[Text, None], opening: AbstractAsyncContextManager[Screener]
) -> AsyncGenerator[Piece, None]:
    """Text to released text, up to the end or a blocking rule. The last has its `finish` set."""
    checkpoints = Checkpoints()
    piece = None
    async with aclosing(texts):
        text = await anext(texts, None)
        async with opening as screener:
            while text is not None:
                piece = await _screened(screener, checkpoints, text)
                if piece.finish is not None:
                    await texts.aclose()  # a rule that blocks cancels the engine: at once
                    break
                yield piece
                text = await anext(texts, None)
    assert piece is not None and piece.finish is not None  # decode's promise
    yield piece


async def _read(
    deltas: AsyncGenerator[Delta, None], queue: asyncio.Queue[Delta | Exception | None]
) -> None:
    end: Exception | None = None
    try:
        async with aclosing(deltas):
            async for delta in deltas:
                await queue.put(delta)
    except Exception as error:  # raised again where the deltas are consumed
        end = error
    await queue.put(end)


def _merged(deltas: list[Delta]) -> Delta:
    newest = deltas[-1]
    if len(deltas) == 1:
        return newest
    token_ids = tuple(token_id for delta in deltas for token_id in delta.token_ids)
    return Delta(token_ids, newest.usage, newest.finish)


async def _decoded(decoder: Decoder, delta: Delta) -> Text:
    last = delta.finish is not None
    decoded = Decoded("", decoded_tokens=0)
    if delta.token_ids or last:
        decoded = await decoder.feed(delta.token_ids, last=last)
    finish = FinishReason.STOP if decoded.stopped else delta.finish
    return Text(decoded.text, decoded.decoded_tokens, delta.usage, finish)


async def _screened(screener: Screener, checkpoints: Checkpoints, text: Text) -> Piece:
    last = text.finish is not None
    checkpoints.add(text.text, text.decoded_tokens)
    screened = Screened("", checkpoints.screened_chars)
    if text.text or last:
        screened = await screener.feed(text.text, last=last)
    return Piece(
        screened.text,
        checkpoints.released_tokens(screened.screened_chars),
        text.usage,
        screened.findings,
        FinishReason.CONTENT_FILTER if screened.blocked_by else text.finish,
    )
