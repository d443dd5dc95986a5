"""Inference, over its channel."""

from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any

import grpc

from weir_contracts.inference.v1 import inference_pb2, inference_pb2_grpc
from weir_gateway.core.call import Call, FinishReason, Prompt, Sampling
from weir_gateway.core.ports import Admission, Delta, Model
from weir_gateway.translation import FINISH_REASONS_OF_PROTO, usage_of_proto
from weir_kit.admission import METADATA_KEY
from weir_kit.errors import Internal
from weir_kit.status import raising_weir_errors


class InferencePeer:
    """The port `Inference`."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = inference_pb2_grpc.InferenceServiceStub(channel)
        self._repository = inference_pb2_grpc.ModelRepositoryServiceStub(channel)

    async def models(self, timeout_s: float) -> tuple[Model, ...]:
        with raising_weir_errors():
            request = inference_pb2.ListModelsRequest()
            response = await self._repository.ListModels(request, timeout=timeout_s)
        return tuple(Model(m.name, m.context_tokens, m.loaded_at_s) for m in response.models)

    async def generate(
        self, call: Call, admission: Admission, prompt: Prompt, timeout_s: float
    ) -> AsyncGenerator[Delta, None]:
        request = inference_pb2.GenerateRequest(
            request_id=call.request_id,
            model=call.model,
            prompt_token_ids=prompt.token_ids,
            max_output_tokens=prompt.max_output_tokens,
            sampling=_sampling(call.sampling),
        )
        metadata = ((METADATA_KEY, admission.token),)
        stream: Any = self._stub.Generate(request, timeout=timeout_s, metadata=metadata)
        try:
            while True:
                with raising_weir_errors():
                    response = await stream.read()
                if response is grpc.aio.EOF:
                    return
                delta = _delta(response)
                if delta.finish is not None:
                    # Its status too: whoever gets the last delta stops reading, and a call that
                    # is left before its status counts as cancelled in the trace.
                    with suppress(grpc.aio.AioRpcError):
                        await stream.read()
                yield delta
        finally:
            stream.cancel()  # of no effect on a stream that has ended


def _sampling(sampling: Sampling) -> inference_pb2.Sampling:
    return inference_pb2.Sampling(
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        seed=sampling.seed,
        ignore_eos=sampling.ignore_eos,
    )


def _delta(response: inference_pb2.GenerateResponse) -> Delta:
    finish: FinishReason | None = None
    if response.WhichOneof("event") == "finished":
        finish = FINISH_REASONS_OF_PROTO.get(response.finished.reason)
        if finish is None:
            raise Internal("inference finished for a reason that the gateway does not know")
    return Delta(tuple(response.delta.token_ids), usage_of_proto(response.usage), finish)
