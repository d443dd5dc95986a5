"""The life of one request."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace

from weir_gateway.core.call import (
    Call,
    Choice,
    Completion,
    Input,
    Outcome,
    Piece,
    Prompt,
    Started,
)
from weir_gateway.core.charge import worst_usage
from weir_gateway.core.closings import Closings
from weir_gateway.core.deadline import Deadline
from weir_gateway.core.echo import echo_of
from weir_gateway.core.limits import check, check_told, input_field
from weir_gateway.core.models import Models
from weir_gateway.core.outputs import merged, parted, prompt_only
from weir_gateway.core.ports import Delta, Model, Ports
from weir_gateway.core.progress import Progress
from weir_gateway.core.run import Run
from weir_gateway.core.running import Running
from weir_gateway.core.spelling import Spelling
from weir_gateway.core.stages import decode, screen
from weir_gateway.core.tasks import check_generates
from weir_kit.clock import Clock
from weir_kit.errors import ContextLengthExceeded, InvalidArgument

DEFAULT_OUTPUT_TOKENS_MAX = 256
TokenIds = tuple[int, ...]


class Generation:
    """Generates, governed and metered: the request path of the whole house."""

    def __init__(
        self, ports: Ports, models: Models, running: Running, closings: Closings, clock: Clock
    ) -> None:
        self._ports = ports
        self._models = models
        self._running = running
        self._closings = closings
        self._clock = clock

    async def generate(self, call: Call) -> AsyncGenerator[Started | Piece | Outcome, None]:
        """`Started`, then pieces of text, then the `Outcome`, whose usage is charged by then.

        Closing the generator, or cancelling the task that reads it, ends the work at once; money
        and audit are then closed in tasks of their own. Raises what the peers raise.
        """
        check(call)
        deadline = Deadline(self._clock, call.timeout_s)
        with self._running.enter(call.request_id):
            async with (
                self._encoding(call, deadline) as encoding,  # works while policy decides
                await self._admit(call, deadline) as run,
            ):
                prompt = await self._prompt(run, encoding)
                model = await self._models.get(call.model)
                run.model_version = model.version
                progress = Progress(len(prompt.token_ids), call.n, streamed=call.streamed)
                await run.reserve(model, worst_usage(call, prompt), progress.owed)
                async with aclosing(self._pieces(run, model, prompt)) as pieces:
                    async for piece in pieces:
                        if not progress.engine_started:
                            progress.engine_started = True
                            yield Started(call.request_id, run.admission.rate_limit)
                        progress.count(piece)
                        run.findings += piece.findings
                        if piece.text or piece.logprobs:
                            yield piece
                outcome = Outcome(progress.ended(), progress.usage, None, run.findings)
                yield replace(outcome, cost=await run.finish(outcome.finish.value))

    async def complete(self, call: Call) -> Completion:
        """The whole texts at once; as `generate`."""
        assert not call.streamed
        started, outcome = None, None
        pieces: list[list[Piece]] = [[] for _ in range(call.n)]
        async with aclosing(self.generate(call)) as events:
            async for event in events:
                match event:
                    case Started():
                        started = event
                    case Piece():
                        pieces[event.output].append(event)
                    case Outcome():
                        outcome = event
        assert started is not None and outcome is not None
        choices = tuple(
            Choice(
                "".join(piece.text for piece in came),
                ended,
                tuple(logprob for piece in came for logprob in piece.logprobs),
            )
            for came, ended in zip(pieces, outcome.outputs, strict=True)
        )
        return Completion(started, choices, outcome)

    @asynccontextmanager
    async def _encoding(
        self, call: Call, deadline: Deadline
    ) -> AsyncGenerator[asyncio.Task[TokenIds], None]:
        task = asyncio.create_task(self._encode(call, call.input, deadline))
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _encode(self, call: Call, text: Input, deadline: Deadline) -> TokenIds:
        # What the model cannot do is our error, not the tokenizer's.
        model = await self._models.get(call.model)
        check_generates(model, call.version)
        return await self._ports.tokenizer.encode(model.tokenizer, text, deadline.remaining_s())

    async def _admit(self, call: Call, deadline: Deadline) -> Run[Call]:
        admission = await self._ports.policy.admit(call, deadline.remaining_s())
        return Run(call, admission, deadline, self._ports, self._closings, self._clock)

    async def _prompt(self, run: Run[Call], encoding: asyncio.Task[TokenIds]) -> Prompt:
        """What the engine reads: the encoding made meanwhile, unless a rule redacted the input."""
        call, redacted = run.call, run.admission.redacted
        if redacted is None:
            token_ids = await encoding
        else:
            token_ids = await self._encode(call, redacted, run.deadline)
        if not token_ids:
            raise InvalidArgument("the input has no tokens", field=input_field(call.input))
        model = await self._models.get(call.model)
        max_output_tokens = _output_tokens_max(call, len(token_ids), model.context_tokens)
        read = call.input if redacted is None else redacted
        prompt = Prompt(token_ids, max_output_tokens, read if isinstance(read, str) else "")
        check_told(call, prompt)
        return prompt

    async def _pieces(
        self, run: Run[Call], model: Model, prompt: Prompt
    ) -> AsyncGenerator[Piece, None]:
        call, timeout_s = run.call, run.deadline.remaining_s()
        deltas = self._ports.inference.generate(call, run.admission, prompt, timeout_s)
        if call.max_output_tokens == 0:
            deltas = prompt_only(deltas, scored=call.top_logprobs is not None)
        async with parted(deltas, call.n) as outputs:
            streams = [
                self._output(run, model, prompt, n, output) for n, output in enumerate(outputs)
            ]
            # A single output needs no task of its own.
            async with aclosing(merged(streams) if call.n > 1 else streams[0]) as pieces:
                async for piece in pieces:
                    yield piece

    def _output(
        self,
        run: Run[Call],
        model: Model,
        prompt: Prompt,
        output: int,
        deltas: AsyncGenerator[Delta, None],
    ) -> AsyncGenerator[Piece, None]:
        call, tokenizer, timeout_s = run.call, self._ports.tokenizer, run.deadline.remaining_s()
        spelling = Spelling(lambda ids: tokenizer.token_texts(model.tokenizer, ids, timeout_s))
        decoder = tokenizer.decoder(model.tokenizer, prompt, call.stop, timeout_s)
        principal = run.admission.principal
        screener = self._ports.policy.screener(call.request_id, principal, timeout_s)
        return screen(decode(deltas, decoder, spelling, echo_of(call, prompt)), screener, output)


def _output_tokens_max(call: Call, input_tokens: int, context_tokens: int) -> int:
    """The output tokens to ask for: as many as wanted, or as the default and the context allow."""
    left = context_tokens - input_tokens
    wanted = call.max_output_tokens
    if left < (wanted or 1):
        raise ContextLengthExceeded(
            f"the model's context is {context_tokens} tokens; the input has {input_tokens} and "
            f"{wanted or 'at least 1'} are asked for as output",
            field="max_output_tokens" if wanted else input_field(call.input),
        )
    if wanted is None:
        return min(DEFAULT_OUTPUT_TOKENS_MAX, left)
    return max(wanted, 1)  # for none the engine is asked for one, and left before it
