"""What an engine has told a caller and the caller has not yet taken."""

import asyncio
from collections.abc import AsyncGenerator

from weir_inference.core.engine import Delta, Event, Finished, PromptScored, Started
from weir_inference.core.token_logprob import TokenLogprob
from weir_kit.errors import WeirError

News = Event | WeirError


class TokenStream:
    """Joins news into as few events as possible: a slow caller gets larger deltas, not more.

    Lives on one event loop. Holds at most one request's output.
    """

    def __init__(self) -> None:
        self._started: Started | None = None
        self._scored: PromptScored | None = None
        self._token_ids: list[int] = []
        self._logprobs: list[TokenLogprob] = []
        self._end: Finished | WeirError | None = None
        self._changed = asyncio.Event()

    def put(self, news: News) -> None:
        """Add what happened; nothing comes after the end."""
        if self._end is not None:
            return
        if isinstance(news, Started):
            self._started = news
        elif isinstance(news, PromptScored):
            self._scored = news
        elif isinstance(news, Delta):
            self._token_ids.extend(news.token_ids)
            self._logprobs.extend(news.logprobs)
        else:
            self._end = news
        self._changed.set()

    async def events(self) -> AsyncGenerator[Event, None]:
        """All events to the end; raises the error that ended the stream."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            if self._started is not None:
                started, self._started = self._started, None
                yield started
            if self._scored is not None:
                scored, self._scored = self._scored, None
                yield scored
            if self._token_ids:
                delta = Delta(tuple(self._token_ids), tuple(self._logprobs))
                self._token_ids, self._logprobs = [], []
                yield delta
            if self._end is None or self._token_ids or self._scored is not None:
                continue  # more came while the caller took the last event
            if isinstance(self._end, WeirError):
                raise self._end
            yield self._end
            return
