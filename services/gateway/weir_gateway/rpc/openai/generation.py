"""The endpoints that generate."""

from contextlib import aclosing

from weir_gateway.core.call import Call, Outcome, Piece, Started
from weir_gateway.core.generate import Generation
from weir_gateway.rpc.bearer import bearer_key
from weir_gateway.rpc.openai.answers import Answers, to_json
from weir_gateway.rpc.openai.fields import Fields, parse_object
from weir_gateway.rpc.openai.http_call import HttpCall
from weir_gateway.rpc.openai.rate_limit import rate_limit_headers
from weir_gateway.rpc.openai.shape import Shape
from weir_gateway.rpc.openai.wanted import Wanted
from weir_gateway.rpc.tracing import call_attributes, outcome_attributes
from weir_kit import telemetry
from weir_kit.clock import Clock
from weir_kit.errors import WeirError

DONE = b"[DONE]"


class GenerationHandler:
    """Answers requests of one shape, whole or streamed; each within `timeout_s`."""

    def __init__(
        self, shape: Shape, generation: Generation, clock: Clock, timeout_s: float
    ) -> None:
        self._shape = shape
        self._generation = generation
        self._clock = clock
        self._timeout_s = timeout_s

    async def __call__(self, http: HttpCall) -> None:
        key = bearer_key(http.headers.get("authorization", ""))
        wanted = self._shape.read(Fields(parse_object(await http.body())))
        call = self._call(http, key, wanted)
        http.span.annotate(**call_attributes(call))
        created_s = int(self._clock.now_s())
        answers = Answers(self._shape, call, created_s, include_usage=wanted.include_usage)
        generate = self._stream if wanted.streamed else self._complete
        try:
            await http.within(self._timeout_s, generate(http, call, answers))
        except WeirError as error:
            if error.field is not None:
                error.field = wanted.names.get(error.field, error.field)
            raise

    def _call(self, http: HttpCall, key: str, wanted: Wanted) -> Call:
        return Call(
            request_id=http.request_id,
            api_key=key,
            model=wanted.model,
            input=wanted.input,
            timeout_s=self._timeout_s,
            streamed=wanted.streamed,
            max_output_tokens=wanted.max_output_tokens,
            sampling=wanted.sampling,
            stop=wanted.stop,
            trace_id=telemetry.current_trace_id(),
            n=wanted.n,
            top_logprobs=wanted.top_logprobs,
            echo=wanted.echo,
            priority=wanted.priority,
        )

    async def _complete(self, http: HttpCall, call: Call, answers: Answers) -> None:
        completion = await self._generation.complete(call)
        http.span.annotate(**outcome_attributes(completion.outcome))
        headers = rate_limit_headers(completion.started.rate_limit)
        await http.answer(200, answers.whole(completion), headers)

    async def _stream(self, http: HttpCall, call: Call, answers: Answers) -> None:
        async with aclosing(self._generation.generate(call)) as events:
            async for event in events:
                match event:
                    case Piece():
                        await http.emit(to_json(answers.piece(event)))
                    case Started():
                        await http.begin_events(rate_limit_headers(event.rate_limit))
                        await http.emit(*map(to_json, answers.opening()))
                    case Outcome():
                        http.span.annotate(**outcome_attributes(event))
                        await http.emit(*map(to_json, answers.closing(event)), DONE, last=True)
