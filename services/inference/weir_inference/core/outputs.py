"""The outputs of one call: as many generations in an engine, seen as one."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from typing import TypeVar

from weir_inference.core.engine import Delta, Engine, Event, Finished, Generation
from weir_inference.core.request import Ending, EndReason, Request
from weir_inference.core.sampling import SEED_MAX

T = TypeVar("T")

# How a call ended: as the output of it that ended worst.
WORSE = (
    EndReason.STOP,
    EndReason.LENGTH,
    EndReason.CANCELLED,
    EndReason.DEADLINE,
    EndReason.ERROR,
)


class Outputs:
    """Output 0 goes first; the others follow when its prompt is computed, and find it cached.

    Submits output 0 at once, and raises what `Engine.submit` says. Output i is seeded with the
    request's seed + i, modulo 2**64. `close` it however it ends.
    """

    def __init__(self, engine: Engine, request: Request, n: int) -> None:
        assert n >= 1
        assert request.sampling.seed is not None
        self._engine = engine
        self._request = request
        self._n = n
        self._generations: list[Generation] = []
        self._submit(0)

    async def events(self) -> AsyncGenerator[tuple[int, Event], None]:
        """Every output's events with its number; `Started` and `PromptScored` come once.

        Raises the first error of any output.
        """
        async with AsyncExitStack() as stack:
            first = await stack.enter_async_context(aclosing(self._generations[0].events()))
            async for event in first:
                if self._n > 1 and isinstance(event, Delta | Finished):
                    break
                yield 0, event
            else:
                return
            streams = [first]
            for output in range(1, self._n):
                generation = self._submit(output)
                streams.append(await stack.enter_async_context(aclosing(generation.events())))
            yield 0, event
            merged = await stack.enter_async_context(aclosing(merge(streams)))
            async for output, event in merged:
                if output == 0 or isinstance(event, Delta | Finished):
                    yield output, event

    def close(self) -> Ending:
        """Free all that the outputs hold, and say what became of them together."""
        endings = [generation.close() for generation in self._generations]
        reasons = [ending.reason for ending in endings]
        if len(endings) < self._n:
            reasons.append(EndReason.CANCELLED)
        return replace(
            endings[0],
            reason=max(reasons, key=WORSE.index),
            output_tokens=sum(ending.output_tokens for ending in endings),
            ended_at_s=max(ending.ended_at_s for ending in endings),
        )

    def _submit(self, output: int) -> Generation:
        request = self._request
        if output:
            seed = ((request.sampling.seed or 0) + output) % (SEED_MAX + 1)
            request = replace(
                request,
                output=output,
                sampling=replace(request.sampling, seed=seed),
                prompt_top_logprobs=None,
            )
        generation = self._engine.submit(request)
        self._generations.append(generation)
        return generation


async def merge(streams: Sequence[AsyncGenerator[T, None]]) -> AsyncGenerator[tuple[int, T], None]:
    """What the streams yield, as it comes, each with its stream's number; raises the first error.

    Takes one item ahead of each stream and no more: what waits, waits where deltas are joined.
    """
    coming = {asyncio.ensure_future(anext(stream)): n for n, stream in enumerate(streams)}
    try:
        while coming:
            done, _ = await asyncio.wait(coming, return_when=asyncio.FIRST_COMPLETED)
            for item in sorted(done, key=coming.__getitem__):
                number = coming.pop(item)
                try:
                    yield number, item.result()
                except StopAsyncIteration:
                    continue
                coming[asyncio.ensure_future(anext(streams[number]))] = number
    finally:
        for item in coming:
            item.cancel()
        # Taken, too: what came to nothing is no error that nobody awaited.
        await asyncio.gather(*coming, return_exceptions=True)
