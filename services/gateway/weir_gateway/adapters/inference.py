"""Inference, over its channel."""

from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import grpc

from weir_contracts.inference.v1 import inference_pb2, inference_pb2_grpc
from weir_gateway.adapters.predictions import PredictionPeer
from weir_gateway.core.call import Call, Prompt
from weir_gateway.core.limits import input_field
from weir_gateway.core.logprob import Scored
from weir_gateway.core.ports import GENERATION, Admission, Delta, Model
from weir_gateway.core.prediction import Answer, PredictionCall
from weir_gateway.translation import (
    FINISH_REASONS_OF_PROTO,
    PRIORITIES,
    sampling_to_proto,
    usage_of_proto,
)
from weir_kit.admission import METADATA_KEY
from weir_kit.errors import Internal, WeirError
from weir_kit.status import raising_weir_errors


class InferencePeer:
    """The port `Inference`."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = inference_pb2_grpc.InferenceServiceStub(channel)
        self._repository = inference_pb2_grpc.ModelRepositoryServiceStub(channel)
        self._predictions = PredictionPeer(channel)

    async def models(self, timeout_s: float) -> tuple[Model, ...]:
        with raising_weir_errors():
            request = inference_pb2.ListModelsRequest()
            response = await self._repository.ListModels(request, timeout=timeout_s)
        return tuple(map(_model, response.models))

    async def generate(
        self, call: Call, admission: Admission, prompt: Prompt, timeout_s: float
    ) -> AsyncGenerator[Delta, None]:
        request = inference_pb2.GenerateRequest(
            request_id=call.request_id,
            model=call.model,
            prompt_token_ids=prompt.token_ids,
            max_output_tokens=prompt.max_output_tokens,
            sampling=sampling_to_proto(call.sampling),
            n=call.n,
            top_logprobs=call.top_logprobs,
            prompt_top_logprobs=call.top_logprobs if call.echo else None,
            priority=PRIORITIES[call.priority],
        )
        metadata = ((METADATA_KEY, admission.token),)
        stream: Any = self._stub.Generate(request, timeout=timeout_s, metadata=metadata)
        n_running = call.n
        try:
            while True:
                with _naming_fields(call), raising_weir_errors():
                    response = await stream.read()
                if response is grpc.aio.EOF:
                    return
                delta = _delta(response)
                n_running -= delta.finish is not None
                if not n_running:
                    # Its status too: whoever gets the last delta stops reading, and a call that
                    # is left before its status counts as cancelled in the trace.
                    with suppress(grpc.aio.AioRpcError):
                        await stream.read()
                yield delta
        finally:
            stream.cancel()  # of no effect on a stream that has ended

    async def predict(self, call: PredictionCall, admission: Admission, timeout_s: float) -> Answer:
        return await self._predictions.predict(call, admission, timeout_s)


@contextmanager
def _naming_fields(call: Call) -> Iterator[None]:
    """An error about the peer's request names core's field: `grammar` for all of a grammar."""
    try:
        yield
    except WeirError as error:
        name = (error.field or "").removeprefix("sampling.")
        if name.startswith("grammar"):
            name = "grammar"
        names = {"prompt_token_ids": input_field(call.input), "prompt_top_logprobs": "top_logprobs"}
        error.field = names.get(name, name) or None
        raise


def _model(model: inference_pb2.Model) -> Model:
    return Model(
        model.name,
        model.context_tokens,
        model.loaded_at_s,
        model.base_model,
        model.task or GENERATION,  # inference says none where it knows nothing but generation
        model.version,
    )


def _delta(response: inference_pb2.GenerateResponse) -> Delta:
    usage = usage_of_proto(response.usage)
    match response.WhichOneof("event"):
        case "delta":
            delta = response.delta
            scored = tuple(map(_scored, delta.logprobs))
            return Delta(tuple(delta.token_ids), usage, output=delta.output, scored=scored)
        case "finished":
            finish = FINISH_REASONS_OF_PROTO.get(response.finished.reason)
            if finish is None:
                raise Internal("inference finished for a reason that the gateway does not know")
            return Delta((), usage, finish, response.finished.output)
        case "prompt_scored":
            scored = tuple(map(_scored, response.prompt_scored.logprobs))
            return Delta((), usage, prompt_scored=scored)
    return Delta((), usage)


def _scored(logprob: inference_pb2.TokenLogprob) -> Scored:
    top = tuple((one.token_id, one.logprob) for one in logprob.top)
    return Scored(logprob.token_id, logprob.logprob, top)
