"""`weir.gateway.v1.GenerationService`."""

from collections.abc import Iterator, Mapping
from contextlib import aclosing, contextmanager
from dataclasses import fields
from typing import Any

from weir_contracts.gateway.v1 import generation_pb2 as pb
from weir_contracts.gateway.v1 import generation_pb2_grpc
from weir_gateway.core.call import Call, Choice, Input, Outcome, Piece, Started
from weir_gateway.core.catalogue import Catalogue
from weir_gateway.core.generate import Generation
from weir_gateway.core.logprob import TokenLogprob
from weir_gateway.core.sampling import Priority, Sampling
from weir_gateway.rpc.bearer import bearer_key
from weir_gateway.rpc.tracing import call_attributes, outcome_attributes
from weir_gateway.translation import (
    FINISH_REASONS,
    PRIORITIES_OF_PROTO,
    chat_of_proto,
    findings_to_proto,
    money_to_proto,
    sampling_of_proto,
    usage_to_proto,
)
from weir_kit import telemetry
from weir_kit.errors import InvalidArgument, WeirError
from weir_kit.ids import Ids
from weir_kit.metadata import value_of

# Core's names of fields, as this wire has them.
SPEC_FIELDS = {
    "model": "spec.model",
    "messages": "spec.chat.messages",
    "prompt": "spec.prompt",
    "max_output_tokens": "spec.max_output_tokens",
    "n": "spec.n",
    "top_logprobs": "spec.top_logprobs",
    "echo": "spec.echo",
    "stop": "spec.stop",
    **{field.name: f"spec.sampling.{field.name}" for field in fields(Sampling)},
}


class GenerationServicer(generation_pb2_grpc.GenerationServiceServicer):
    """Generates for gRPC clients, within `timeout_s` or the client's deadline if that is sooner."""

    def __init__(
        self, generation: Generation, catalogue: Catalogue, ids: Ids, timeout_s: float
    ) -> None:
        self._generation = generation
        self._catalogue = catalogue
        self._ids = ids
        self._timeout_s = timeout_s

    async def Generate(self, request: pb.GenerateRequest, context: Any) -> pb.GenerateResponse:
        call = self._call(request, context, streamed=False)
        with (
            naming_fields(SPEC_FIELDS),
            telemetry.span("generate", **call_attributes(call)) as span,
        ):
            completion = await self._generation.complete(call)
            span.annotate(**outcome_attributes(completion.outcome))
        return pb.GenerateResponse(
            request_id=call.request_id,
            model=call.model,
            text=completion.choices[0].text,
            result=_result(completion.outcome, completion.choices),
        )

    async def StreamGenerate(  # type: ignore[override]  # it writes by itself, as grpc.aio allows
        self, request: pb.StreamGenerateRequest, context: Any
    ) -> None:
        # Not an async generator: the span is around the whole, and a span may not hold a `yield`.
        call = self._call(request, context, streamed=True)
        with (
            naming_fields(SPEC_FIELDS),
            telemetry.span("generate", **call_attributes(call)) as span,
        ):
            async with aclosing(self._generation.generate(call)) as events:
                async for event in events:
                    if isinstance(event, Outcome):
                        span.annotate(**outcome_attributes(event))
                    await context.write(_event(call, event))

    async def CountTokens(
        self, request: pb.CountTokensRequest, context: Any
    ) -> pb.CountTokensResponse:
        key = api_key(context)
        with naming_fields({"messages": "chat.messages"}):
            count = await self._catalogue.count_tokens(key, request.model, _input(request))
        return pb.CountTokensResponse(input_tokens=count)

    def _call(
        self,
        request: pb.GenerateRequest | pb.StreamGenerateRequest,
        context: Any,
        *,
        streamed: bool,
    ) -> Call:
        spec = request.spec
        return Call(
            request_id=request.request_id or self._ids.new("req"),
            api_key=api_key(context),
            model=spec.model,
            input=_input(spec),
            timeout_s=call_timeout_s(context, self._timeout_s),
            streamed=streamed,
            max_output_tokens=spec.max_output_tokens
            if spec.HasField("max_output_tokens")
            else None,
            sampling=sampling_of_proto(spec.sampling),
            stop=tuple(spec.stop),
            trace_id=telemetry.current_trace_id(),
            n=spec.n or 1,
            top_logprobs=spec.top_logprobs if spec.HasField("top_logprobs") else None,
            echo=spec.echo,
            priority=_priority(spec),
        )


def api_key(context: Any) -> str:
    """The key in the call's metadata. Raises `InvalidApiKey`."""
    return bearer_key(value_of(context, "authorization"))


def call_timeout_s(context: Any, timeout_s: float) -> float:
    """How long the call may take: `timeout_s`, or the client's deadline if that is sooner."""
    remaining_s: float | None = context.time_remaining()
    return timeout_s if remaining_s is None else min(timeout_s, remaining_s)


@contextmanager
def naming_fields(names: Mapping[str, str]) -> Iterator[None]:
    """An error that names a field of core's names the request's field: `messages[0].role` too.

    So does its message, where it begins with the field.
    """
    try:
        yield
    except WeirError as error:
        if (core := error.field) is not None:
            name, bracket, rest = core.partition("[")
            error.field = names.get(core) or names.get(name, name) + bracket + rest
            if error.message.startswith(f"{core} "):
                error.message = error.field + error.message.removeprefix(core)
        raise


def _input(spec: pb.GenerationSpec | pb.CountTokensRequest) -> Input:
    match spec.WhichOneof("input"):
        case "chat":
            return chat_of_proto(spec.chat)
        case "prompt":
            return spec.prompt
    field = "spec.input" if isinstance(spec, pb.GenerationSpec) else "input"
    raise InvalidArgument("set either chat or prompt", field=field)


def _priority(spec: pb.GenerationSpec) -> Priority:
    if not spec.priority:
        return Priority.NORMAL
    if spec.priority not in PRIORITIES_OF_PROTO:
        raise InvalidArgument("there is no such priority", field="spec.priority")
    return PRIORITIES_OF_PROTO[spec.priority]


def _event(call: Call, event: Started | Piece | Outcome) -> pb.StreamGenerateResponse:
    match event:
        case Piece():
            logprobs = map(_logprob, event.logprobs)
            delta = pb.StreamDelta(text=event.text, choice=event.output, logprobs=logprobs)
            return pb.StreamGenerateResponse(delta=delta)
        case Started():
            started = pb.StreamStarted(request_id=call.request_id, model=call.model)
            return pb.StreamGenerateResponse(started=started)
    choices = tuple(Choice("", ended) for ended in event.outputs)
    return pb.StreamGenerateResponse(finished=_result(event, choices))


def _result(outcome: Outcome, choices: tuple[Choice, ...]) -> pb.GenerationResult:
    return pb.GenerationResult(
        finish_reason=FINISH_REASONS[outcome.outputs[0].finish],
        usage=usage_to_proto(outcome.usage),
        cost=money_to_proto(outcome.cost),
        findings=findings_to_proto(outcome.findings),
        choices=map(_choice, choices),
    )


def _choice(choice: Choice) -> pb.Choice:
    return pb.Choice(
        text=choice.text,
        finish_reason=FINISH_REASONS[choice.ended.finish],
        logprobs=map(_logprob, choice.logprobs),
        findings=findings_to_proto(choice.ended.findings),
    )


def _logprob(token: TokenLogprob) -> pb.TokenLogprob:
    return pb.TokenLogprob(
        text=token.text,
        logprob=token.logprob,
        top=[pb.TopLogprob(text=text, logprob=logprob) for text, logprob in token.top],
        start=token.start,
    )
