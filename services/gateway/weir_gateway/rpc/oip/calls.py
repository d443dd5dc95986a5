"""Calls by the Open Inference Protocol on either wire: tensors to predictions, texts to texts."""

from collections.abc import Awaitable, Callable

from weir_contracts.oip.v2 import inference_pb2 as pb
from weir_gateway.core.call import Outcome, Piece, RateLimit, Started
from weir_gateway.core.catalogue import Catalogue
from weir_gateway.core.ports import Model
from weir_gateway.core.predict import Predictions
from weir_gateway.core.prediction import PredictionCall
from weir_gateway.rpc.generation import naming_fields
from weir_gateway.rpc.oip.caller import Caller
from weir_gateway.rpc.oip.tensors import tensors_of
from weir_gateway.rpc.oip.text_calls import OIP_NAMES, TextCalls
from weir_gateway.rpc.oip.text_models import STREAM, TextAsked, read_text_asked
from weir_gateway.rpc.oip.text_tensors import fields_of, text_response
from weir_gateway.rpc.oip.told import tell_outcome, tell_predicted
from weir_gateway.rpc.tracing import predicted_attributes, prediction_attributes
from weir_kit import telemetry
from weir_kit.errors import InvalidArgument

Send = Callable[[pb.ModelInferResponse], Awaitable[None]]


class OipCalls:
    """Answers `ModelInferRequest`s, governed and metered like everything else."""

    def __init__(self, texts: TextCalls, predictions: Predictions, catalogue: Catalogue) -> None:
        self._texts = texts
        self._predictions = predictions
        self._catalogue = catalogue

    async def infer(
        self, request: pb.ModelInferRequest, caller: Caller
    ) -> tuple[pb.ModelInferResponse, RateLimit]:
        """The answer in one piece, and the state of the key's limit."""
        model = await self._catalogue.generating(request.model_name)
        if model is None:
            return await self._predict(request, caller)
        asked = read_text_asked(fields_of(request))
        if asked.streamed:
            raise InvalidArgument(
                f"{STREAM} is only for ModelStreamInfer and generate_stream", field=STREAM
            )
        return await self._complete(request, model, asked, caller)

    async def stream(self, request: pb.ModelInferRequest, caller: Caller, send: Send) -> None:
        """The answer as it comes: one response a delta where text is streamed, else one in all.

        The last one says so by the parameter `triton_final_response`.
        """
        model = await self._catalogue.generating(request.model_name)
        if model is None:
            response, _ = await self._predict(request, caller)
        else:
            asked = read_text_asked(fields_of(request))
            if asked.streamed:
                await self._generate(request, model, asked, caller, send)
                return
            response, _ = await self._complete(request, model, asked, caller)
        response.parameters["triton_final_response"].bool_param = True
        await send(response)

    async def _predict(
        self, request: pb.ModelInferRequest, caller: Caller
    ) -> tuple[pb.ModelInferResponse, RateLimit]:
        call = PredictionCall(
            request_id=caller.request_id,
            api_key=caller.api_key,
            model=request.model_name,
            input=tensors_of(request),
            timeout_s=caller.timeout_s,
            version=request.model_version,
            trace_id=caller.trace_id,
        )
        with (
            naming_fields(OIP_NAMES),
            telemetry.span("predict", **prediction_attributes(call)) as span,
        ):
            predicted = await self._predictions.predict(call)
            span.annotate(**predicted_attributes(predicted))
        response: pb.ModelInferResponse = predicted.answer.content
        tell_predicted(response, predicted)
        return response, predicted.rate_limit

    async def _complete(
        self, request: pb.ModelInferRequest, model: Model, asked: TextAsked, caller: Caller
    ) -> tuple[pb.ModelInferResponse, RateLimit]:
        call = asked.call(model.name, request.model_version, caller)
        completion = await self._texts.complete(call, asked.names)
        response = text_response(request, model.version, completion.choices[0].text)
        tell_outcome(response, call.request_id, completion.outcome)
        return response, completion.started.rate_limit

    async def _generate(
        self,
        request: pb.ModelInferRequest,
        model: Model,
        asked: TextAsked,
        caller: Caller,
        send: Send,
    ) -> None:
        call = asked.call(model.name, request.model_version, caller)

        async def send_event(event: Started | Piece | Outcome) -> None:
            match event:
                case Piece():
                    await send(text_response(request, model.version, event.text, last=False))
                case Outcome():
                    last = text_response(request, model.version, "", last=True)
                    tell_outcome(last, call.request_id, event)
                    await send(last)

        await self._texts.stream(call, asked.names, send_event)
