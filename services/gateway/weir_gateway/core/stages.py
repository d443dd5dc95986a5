"""The stages of a generation: each turns one stream into the next, and closes its source.

screen(decode(deltas))
"""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass, field

from weir_gateway.core.call import FinishReason, Piece, Usage
from weir_gateway.core.checkpoints import Checkpoints
from weir_gateway.core.echo import Echo
from weir_gateway.core.logprob import TokenLogprob
from weir_gateway.core.ports import Decoded, Decoder, Delta, Screened, Screener
from weir_gateway.core.spelling import Spelling
from weir_gateway.core.unaltered import Unaltered
from weir_kit.errors import Internal


@dataclass(frozen=True)
class Text:
    """Decoded text, not yet screened; the first `decoded_tokens` have all their text out by now.

    `logprobs`: of the tokens whose text is all out with this one, if asked for.
    """

    text: str = field(repr=False)
    decoded_tokens: int
    usage: Usage
    finish: FinishReason | None
    logprobs: tuple[TokenLogprob, ...] = ()


async def decode(
    deltas: AsyncGenerator[Delta, None],
    opening: AbstractAsyncContextManager[Decoder],
    spelling: Spelling,
    echo: Echo | None = None,
) -> AsyncGenerator[Text, None]:
    """Token ids to text, up to the end or a stop string. The last text has its `finish` set.

    The decoder opens when the engine has started: while it computes the prompt, not before.
    """
    text = None
    async with aclosing(deltas):
        delta = await anext(deltas, None)
        async with opening as decoder:
            decoding = _Decoding(decoder, spelling)
            while delta is not None:
                if echo is not None and echo.is_due(delta):
                    yield await decoding.echoed(echo, delta)
                    echo = None
                text = await decoding.decoded(delta)
                if text.finish is not None:
                    await deltas.aclose()  # at a stop string this leaves the engine: at once
                    break
                yield text
                delta = await anext(deltas, None)
    if text is None or text.finish is None:
        raise Internal("the engine's stream ended before the generation did")
    yield text


async def screen(
    texts: AsyncGenerator[Text, None],
    opening: AbstractAsyncContextManager[Screener],
    output: int = 0,
) -> AsyncGenerator[Piece, None]:
    """Text to released text, up to the end or a blocking rule. The last has its `finish` set."""
    piece = None
    async with aclosing(texts):
        text = await anext(texts, None)
        async with opening as screener:
            screening = _Screening(screener, output)
            while text is not None:
                piece = await screening.screened(text)
                if piece.finish is not None:
                    await texts.aclose()  # a rule that blocks leaves the engine: at once
                    break
                yield piece
                text = await anext(texts, None)
    assert piece is not None and piece.finish is not None  # decode's promise
    yield piece


class _Decoding:
    """Where one output stands in its decoder."""

    def __init__(self, decoder: Decoder, spelling: Spelling) -> None:
        self._decoder = decoder
        self._spelling = spelling
        self._decoded_tokens = 0

    async def echoed(self, echo: Echo, delta: Delta) -> Text:
        """The prompt: its tokens count as none of the output."""
        scored = echo.scored(delta)
        self._spelling.add(scored)
        logprobs = await self._spelling.spell(echo.text, len(scored))
        return Text(echo.text, 0, delta.usage, None, logprobs)

    async def decoded(self, delta: Delta) -> Text:
        """A delta's text."""
        self._spelling.add(delta.scored)
        last = delta.finish is not None
        decoded = Decoded("", decoded_tokens=0)
        if delta.token_ids or last:
            decoded = await self._decoder.feed(delta.token_ids, last=last)
        n_new = max(decoded.decoded_tokens - self._decoded_tokens, 0)
        self._decoded_tokens += n_new
        logprobs = await self._spelling.spell(decoded.text, n_new)
        finish = FinishReason.STOP if decoded.stopped else delta.finish
        return Text(decoded.text, decoded.decoded_tokens, delta.usage, finish, logprobs)


class _Screening:
    """Where one output stands in its screen."""

    def __init__(self, screener: Screener, output: int) -> None:
        self._screener = screener
        self._output = output
        self._checkpoints = Checkpoints()
        self._unaltered = Unaltered()

    async def screened(self, text: Text) -> Piece:
        """What of the text, and of what was before it, may go out now."""
        last = text.finish is not None
        self._checkpoints.add(text.text, text.decoded_tokens)
        self._unaltered.add(text.text, text.logprobs)
        screened = Screened("", self._checkpoints.screened_chars)
        if text.text or last:
            screened = await self._screener.feed(text.text, last=last)
        released_tokens = self._checkpoints.released_tokens(screened.screened_chars)
        return Piece(
            screened.text,
            released_tokens,
            text.usage,
            screened.findings,
            FinishReason.CONTENT_FILTER if screened.blocked_by else text.finish,
            self._output,
            self._unaltered.release(screened.text, self._checkpoints.screened_chars),
        )
