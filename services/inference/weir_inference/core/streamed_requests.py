"""Requests that something else computes and streams: an upstream, or a library's own loop."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from weir_inference.core.engine import (
    Delta,
    Event,
    Finished,
    Generation,
    Load,
    ModelDescription,
    Started,
)
from weir_inference.core.engine_loop import DEADLINE_SLACK_S
from weir_inference.core.request import Ending, EndReason, Request
from weir_inference.core.retry_after import RetryAfter
from weir_inference.core.token_stream import News, TokenStream
from weir_kit.clock import Clock
from weir_kit.errors import (
    AlreadyExists,
    ContextLengthExceeded,
    DeadlineExceeded,
    Internal,
    QueueFull,
    Unavailable,
    WeirError,
)

log = logging.getLogger(__name__)

Stream = AsyncGenerator[Event, None]


class StreamedRequests:
    """The part of an `Engine` that is the same whoever computes: one task for each request.

    The task is cancelled, and with it the stream, when the request is closed or its deadline
    passes. `requests_max` bounds the calls at once. Lives on one event loop.
    """

    def __init__(self, model: ModelDescription, requests_max: int, clock: Clock) -> None:
        self._model = model
        self._requests_max = requests_max
        self._clock = clock
        self._live: dict[tuple[str, int], StreamedRequest] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._retry_after = RetryAfter()
        self._input_tokens = self._output_tokens = self._cached_tokens = 0
        self._queue_s = 0.0

    def submit(self, request: Request, stream: Callable[[], Stream]) -> Generation:
        """Begin to stream; raises what `Engine.submit` says."""
        key = (request.request_id, request.output)
        if self._stopping:
            raise Unavailable(f"the engine of {self._model.name!r} is stopping")
        if key in self._live:
            raise AlreadyExists("a request with this request_id is being generated")
        self._check_length(request)
        now_s = self._clock.monotonic_s()
        # The bound is for calls: outputs that follow a call's first are let in with it.
        if request.output == 0 and len(self._live) >= self._requests_max:
            raise QueueFull(
                f"{self._requests_max} requests are under way already",
                retry_after_s=self._retry_after.seconds(now_s),
            )
        one = self._live[key] = StreamedRequest(self, request, now_s)
        one.task = asyncio.create_task(self._run(one, stream()))
        self._tasks.add(one.task)
        one.task.add_done_callback(self._tasks.discard)
        return one

    def load(self) -> Load:
        """How busy it is, as far as that is seen from here."""
        waiting = [one for one in self._live.values() if one.started_at_s is None]
        return Load(
            queued_requests=len(waiting),
            queued_tokens=sum(len(one.request.prompt_token_ids) for one in waiting),
            running_requests=len(self._live) - len(waiting),
            input_tokens=self._input_tokens,
            output_tokens=self._output_tokens,
            cached_tokens=self._cached_tokens,
            queue_s=self._queue_s,
        )

    async def stop(self) -> None:
        """Fail what is live with `Unavailable`, and wait until every stream is closed."""
        self._stopping = True
        for one in list(self._live.values()):
            self._end(one, EndReason.ERROR, Unavailable("the engine stopped"))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def close(self, one: "StreamedRequest") -> None:
        """End a request now, if it has not ended. For `StreamedRequest`."""
        if one.reason is not None:
            return
        deadline_s = one.request.deadline_s
        late = deadline_s is not None and deadline_s - DEADLINE_SLACK_S <= self._clock.monotonic_s()
        self._end(one, EndReason.DEADLINE if late else EndReason.CANCELLED)
        assert one.task is not None
        one.task.cancel()

    async def _run(self, one: "StreamedRequest", stream: Stream) -> None:
        deadline_s, left_s = one.request.deadline_s, None
        if deadline_s is not None:
            left_s = deadline_s - self._clock.monotonic_s()
        error: WeirError = Internal("the engine's stream ended before the output did")
        try:
            async with asyncio.timeout(left_s) as deadline, aclosing(stream):
                async for event in stream:
                    self._take(one, event)
        except TimeoutError:
            if deadline.expired():
                late = DeadlineExceeded("the deadline passed while generating")
                self._end(one, EndReason.DEADLINE, late)
        except WeirError as told:
            error = told
        except Exception as fault:
            # By its kind alone: what it says may hold a prompt.
            log.error("a request of %s failed: %s", self._model.name, type(fault).__name__)
            error = Internal("the engine failed to compute the output")
        self._end(one, EndReason.ERROR, error)

    def _take(self, one: "StreamedRequest", event: Event) -> None:
        if one.reason is not None:
            return
        if isinstance(event, Started):
            one.started_at_s = one.queued_at_s + event.queue_s
            one.cached_tokens = event.cached_tokens
            self._queue_s += event.queue_s
            self._input_tokens += len(one.request.prompt_token_ids)
            self._cached_tokens += event.cached_tokens
        elif isinstance(event, Delta):
            if one.first_token_at_s is None:
                one.first_token_at_s = self._clock.monotonic_s()
            one.output_tokens += len(event.token_ids)
            self._output_tokens += len(event.token_ids)
        if isinstance(event, Finished):
            self._end(one, event.reason, event)
        else:
            one.stream.put(event)

    def _end(self, one: "StreamedRequest", reason: EndReason, news: News | None = None) -> None:
        """The first end counts; its task may go on, and is not listened to."""
        if one.reason is not None:
            return
        one.reason, one.ended_at_s = reason, self._clock.monotonic_s()
        self._retry_after.ended(one.ended_at_s)
        del self._live[one.request.request_id, one.request.output]
        if news is not None:
            one.stream.put(news)

    def _check_length(self, request: Request) -> None:
        n_prompt, limit = len(request.prompt_token_ids), self._model.context_tokens
        if n_prompt + request.max_output_tokens > limit:
            raise ContextLengthExceeded(
                f"the prompt's {n_prompt} tokens and {request.max_output_tokens} max_output_tokens "
                f"exceed the {limit} tokens that this model serves",
                field="max_output_tokens" if n_prompt < limit else "prompt_token_ids",
            )


class StreamedRequest:
    """The `Generation` of a request in `StreamedRequests`, and where it stands."""

    def __init__(self, owner: StreamedRequests, request: Request, now_s: float) -> None:
        self.request = request
        self.stream = TokenStream()
        self.task: asyncio.Task[None] | None = None
        self.reason: EndReason | None = None
        self.queued_at_s = self.ended_at_s = now_s
        self.started_at_s: float | None = None
        self.first_token_at_s: float | None = None
        self.output_tokens = self.cached_tokens = 0
        self._owner = owner

    def events(self) -> Stream:
        """See `Generation.events`."""
        return self.stream.events()

    def close(self) -> Ending:
        """See `Generation.close`. The stream is closed in the event loop's next turn."""
        self._owner.close(self)
        assert self.reason is not None
        return Ending(
            reason=self.reason,
            input_tokens=len(self.request.prompt_token_ids),
            output_tokens=self.output_tokens,
            queued_at_s=self.queued_at_s,
            started_at_s=self.started_at_s,
            first_token_at_s=self.first_token_at_s,
            ended_at_s=self.ended_at_s,
            cached_tokens=self.cached_tokens,
        )
