"""The engine's one stream, parted into its outputs, and theirs brought together again.

Parting reads ahead, so that decode's message, and so screen's, carries all that the engine made
while the last ones were under way: under load fewer and larger messages, never one a token. One
read-ahead, at the source, is enough: the stages after it pull, and what they leave waits there.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace

from weir_gateway.core.call import FinishReason, Piece
from weir_gateway.core.ports import Delta

READ_AHEAD_DELTAS_MAX = 1024  # of each output


@asynccontextmanager
async def parted(
    deltas: AsyncGenerator[Delta, None], n_outputs: int
) -> AsyncGenerator[list[AsyncGenerator[Delta, None]], None]:
    """Own `deltas`: a stream for each output, which yields all that came since its last, as one.

    A delta's usage has the tokens of its own output. When the last of these streams is closed, or
    the block is left, the engine is cancelled: at once.
    """
    parting = _Parting(deltas, n_outputs)
    try:
        yield [parting.stream(output) for output in range(n_outputs)]
    finally:
        await parting.close()


async def merged(streams: Sequence[AsyncGenerator[Piece, None]]) -> AsyncGenerator[Piece, None]:
    """The pieces of all streams as they come; an error of one ends all."""
    queue: asyncio.Queue[Piece | Exception | None] = asyncio.Queue(1)
    tasks = [asyncio.create_task(_pump(stream, queue)) for stream in streams]
    n_running = len(tasks)
    try:
        while n_running:
            piece = await queue.get()
            if isinstance(piece, Exception):
                raise piece
            if piece is None:
                n_running -= 1
            else:
                yield piece
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def prompt_only(
    deltas: AsyncGenerator[Delta, None], *, scored: bool
) -> AsyncGenerator[Delta, None]:
    """The engine's stream up to its word on the prompt, as a whole generation of no tokens."""
    async with aclosing(deltas):
        async for delta in deltas:
            if delta.prompt_scored is None and scored:
                yield delta
                continue
            yield replace(delta, token_ids=(), scored=(), finish=FinishReason.LENGTH)
            return


class _Parting:
    """One task reads; an output that is closed gets no more."""

    def __init__(self, deltas: AsyncGenerator[Delta, None], n_outputs: int) -> None:
        self._queues: dict[int, asyncio.Queue[Delta | Exception | None]] = {
            output: asyncio.Queue(READ_AHEAD_DELTAS_MAX) for output in range(n_outputs)
        }
        self._reader = asyncio.create_task(self._read(deltas))

    async def stream(self, output: int) -> AsyncGenerator[Delta, None]:
        """What came for one output."""
        queue, n_tokens = self._queues[output], 0
        end: Delta | Exception | None
        try:
            while True:
                batch = [end := await queue.get()]
                while not queue.empty():
                    batch.append(end := queue.get_nowait())
                if came := [delta for delta in batch if isinstance(delta, Delta)]:
                    delta = _joined(came)
                    n_tokens += len(delta.token_ids)
                    yield replace(delta, usage=replace(delta.usage, output_tokens=n_tokens))
                if isinstance(end, Exception):
                    raise end
                if end is None:
                    return
        finally:
            del self._queues[output]
            while not queue.empty():  # the reader may wait for room
                queue.get_nowait()
            if not self._queues:
                await self.close()

    async def close(self) -> None:
        """Cancel the engine."""
        self._reader.cancel()
        await asyncio.wait([self._reader])

    async def _read(self, deltas: AsyncGenerator[Delta, None]) -> None:
        end: Exception | None = None
        try:
            async with aclosing(deltas):
                async for delta in deltas:
                    shared = not delta.token_ids and delta.finish is None
                    await self._put(delta, [*self._queues] if shared else [delta.output])
        except Exception as error:  # raised again where the deltas are consumed
            end = error
        await self._put(end, [*self._queues])

    async def _put(self, item: Delta | Exception | None, outputs: list[int]) -> None:
        for output in outputs:
            if output in self._queues:
                await self._queues[output].put(item)


async def _pump(
    pieces: AsyncGenerator[Piece, None], queue: asyncio.Queue[Piece | Exception | None]
) -> None:
    end: Exception | None = None
    try:
        async with aclosing(pieces):
            async for piece in pieces:
                await queue.put(piece)
    except Exception as error:  # raised again where the pieces are consumed
        end = error
    await queue.put(end)


def _joined(deltas: list[Delta]) -> Delta:
    newest = deltas[-1]
    if len(deltas) == 1:
        return newest
    return replace(
        newest,
        token_ids=tuple(token_id for delta in deltas for token_id in delta.token_ids),
        scored=tuple(scored for delta in deltas for scored in delta.scored),
        prompt_scored=next((d.prompt_scored for d in deltas if d.prompt_scored is not None), None),
    )
