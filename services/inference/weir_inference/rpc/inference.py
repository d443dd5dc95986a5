"""`weir.inference.v1.InferenceService` over the replica."""

from collections.abc import AsyncIterator
from contextlib import aclosing

import grpc

from weir_contracts.common.v1.usage_pb2 import TokenUsage
from weir_contracts.inference.v1 import inference_pb2 as pb
from weir_contracts.inference.v1.inference_pb2_grpc import InferenceServiceServicer
from weir_inference.core.engine import Delta, Finished, Started
from weir_inference.core.replica import GenerateCall, Replica, Update
from weir_inference.core.request import EndReason
from weir_inference.core.sampling import Sampling
from weir_kit import deadline
from weir_kit.admission import METADATA_KEY
from weir_kit.metadata import value_of

REASONS = {
    EndReason.STOP: pb.FINISH_REASON_STOP,
    EndReason.LENGTH: pb.FINISH_REASON_LENGTH,
}


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
            running_requests=load.running_requests,
            kv_blocks_used=load.kv_blocks_held,
            kv_blocks_total=load.kv_blocks_total,
            steps=load.steps,
            input_tokens=load.input_tokens,
            output_tokens=load.output_tokens,
        )


def _call(request: pb.GenerateRequest, admission_token: str) -> GenerateCall:
    return GenerateCall(
        admission_token=admission_token,
        request_id=request.request_id,
        model=request.model,
        prompt_token_ids=tuple(request.prompt_token_ids),
        max_output_tokens=request.max_output_tokens,
        sampling=_sampling(request.sampling),
        remaining_s=deadline.remaining_s(),
    )


def _sampling(sampling: pb.Sampling) -> Sampling:
    """What is set; for the rest core's defaults."""
    chosen = {
        name: getattr(sampling, name)
        for name in ("temperature", "top_p", "top_k", "seed")
        if sampling.HasField(name)
    }
    return Sampling(**chosen, ignore_eos=sampling.ignore_eos)


def _response(update: Update) -> pb.GenerateResponse:
    usage = TokenUsage(input_tokens=update.input_tokens, output_tokens=update.output_tokens)
    match update.event:
        case Started(queue_s):
            started = pb.GenerationStarted(queue_ms=queue_s * 1000)
            return pb.GenerateResponse(started=started, usage=usage)
        case Delta(token_ids):
            delta = pb.GenerationDelta(token_ids=token_ids)
            return pb.GenerateResponse(delta=delta, usage=usage)
        case Finished(reason):
            finished = pb.GenerationFinished(reason=REASONS[reason])
            return pb.GenerateResponse(finished=finished, usage=usage)
