"""`weir.inference.v1.InferenceService` over the replica."""

from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing

import grpc

from weir_contracts.common.v1.usage_pb2 import TokenUsage
from weir_contracts.inference.v1 import inference_pb2 as pb
from weir_contracts.inference.v1.inference_pb2_grpc import InferenceServiceServicer
from weir_inference.core.engine import Delta, Finished, PromptScored, Started
from weir_inference.core.generate_call import GenerateCall
from weir_inference.core.grammar import GrammarSpec
from weir_inference.core.replica import Replica, Update
from weir_inference.core.request import EndReason, Priority
from weir_inference.core.sampling import Sampling
from weir_inference.core.token_logprob import TokenLogprob
from weir_kit import deadline
from weir_kit.admission import METADATA_KEY
from weir_kit.errors import InvalidArgument
from weir_kit.metadata import value_of

REASONS = {
    EndReason.STOP: pb.FINISH_REASON_STOP,
    EndReason.LENGTH: pb.FINISH_REASON_LENGTH,
}
PRIORITIES = {
    pb.PRIORITY_UNSPECIFIED: Priority.NORMAL,
    pb.PRIORITY_HIGH: Priority.HIGH,
    pb.PRIORITY_NORMAL: Priority.NORMAL,
    pb.PRIORITY_LOW: Priority.LOW,
}
NOT_PLAIN = ("logit_bias", "stop_token_ids", "grammar")


class InferenceServicer(InferenceServiceServicer):
    """Token ids in, token ids out."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica

    async def Generate(
        self,
        request: pb.GenerateRequest,
        context: "grpc.aio.ServicerContext[pb.GenerateRequest, pb.GenerateResponse]",
    ) -> AsyncIterator[pb.GenerateResponse]:
        """Stream a generation; every WeirError it raises becomes the call's status."""
        call = _call(request, value_of(context, METADATA_KEY))
        # Closed here and now, not when the garbage collector comes by: closing frees the KV blocks.
        async with aclosing(self._replica.generate(call)) as updates:
            async for update in updates:
                yield _response(update)

    async def GetLoad(
        self,
        request: pb.GetLoadRequest,
        context: "grpc.aio.ServicerContext[pb.GetLoadRequest, pb.GetLoadResponse]",
    ) -> pb.GetLoadResponse:
        """How busy all engines together are."""
        load = self._replica.load()
        return pb.GetLoadResponse(
            queued_requests=load.queued_requests,
            queued_tokens=load.queued_tokens,
            running_requests=load.running_requests,
            kv_blocks_used=load.kv_blocks_held,
            kv_blocks_total=load.kv_blocks_total,
            steps=load.steps,
            input_tokens=load.input_tokens,
            output_tokens=load.output_tokens,
            cached_tokens=load.cached_tokens,
            preemptions=load.preemptions,
            queue_s=load.queue_s,
            draft_tokens=load.draft_tokens,
            accepted_draft_tokens=load.accepted_draft_tokens,
        )


def _call(request: pb.GenerateRequest, admission_token: str) -> GenerateCall:
    if request.priority not in PRIORITIES:
        raise InvalidArgument("no such priority", field="priority")
    asked = request.sampling
    return GenerateCall(
        admission_token=admission_token,
        request_id=request.request_id,
        model=request.model,
        prompt_token_ids=tuple(request.prompt_token_ids),
        max_output_tokens=request.max_output_tokens,
        sampling=_sampling(asked),
        remaining_s=deadline.remaining_s(),
        n=request.n or 1,
        top_logprobs=request.top_logprobs if request.HasField("top_logprobs") else None,
        prompt_top_logprobs=(
            request.prompt_top_logprobs if request.HasField("prompt_top_logprobs") else None
        ),
        priority=PRIORITIES[request.priority],
        grammar=_grammar(asked.grammar) if asked.HasField("grammar") else None,
    )


def _sampling(sampling: pb.Sampling) -> Sampling:
    """What is set; for the rest core's defaults."""
    return Sampling(
        **{f.name: value for f, value in sampling.ListFields() if f.name not in NOT_PLAIN},
        logit_bias=tuple(sorted(sampling.logit_bias.items())),
        stop_token_ids=tuple(sampling.stop_token_ids),
    )


def _grammar(grammar: pb.Grammar) -> GrammarSpec:
    match grammar.WhichOneof("kind"):
        case None:
            raise InvalidArgument("a grammar needs one of its kinds", field="sampling.grammar")
        case "choices":
            return GrammarSpec("choices", tuple(grammar.choices.texts))
        case kind:
            return GrammarSpec(kind, (getattr(grammar, kind),))


def _response(update: Update) -> pb.GenerateResponse:
    usage = TokenUsage(
        input_tokens=update.input_tokens,
        cached_input_tokens=update.cached_input_tokens,
        output_tokens=update.output_tokens,
    )
    match update.event:
        case Started(queue_s):
            started = pb.GenerationStarted(queue_ms=queue_s * 1000)
            return pb.GenerateResponse(started=started, usage=usage)
        case PromptScored(logprobs):
            scored = pb.PromptScored(logprobs=_logprobs(logprobs))
            return pb.GenerateResponse(prompt_scored=scored, usage=usage)
        case Delta(token_ids, logprobs):
            delta = pb.GenerationDelta(
                token_ids=token_ids, logprobs=_logprobs(logprobs), output=update.output
            )
            return pb.GenerateResponse(delta=delta, usage=usage)
        case Finished(reason):
            finished = pb.GenerationFinished(reason=REASONS[reason], output=update.output)
            return pb.GenerateResponse(finished=finished, usage=usage)


def _logprobs(logprobs: Iterable[TokenLogprob]) -> list[pb.TokenLogprob]:
    return [
        pb.TokenLogprob(
            token_id=one.token_id,
            logprob=one.logprob,
            top=[pb.TopLogprob(token_id=token_id, logprob=value) for token_id, value in one.top],
        )
        for one in logprobs
    ]
