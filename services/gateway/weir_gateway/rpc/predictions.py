"""`weir.gateway.v1.PredictionService`."""

from typing import Any

from weir_contracts.gateway.v1 import prediction_pb2 as pb
from weir_contracts.gateway.v1 import prediction_pb2_grpc
from weir_gateway.core.predict import Predictions
from weir_gateway.core.prediction import PredictionCall
from weir_gateway.prediction_translation import input_of_proto, options_of_proto
from weir_gateway.rpc.generation import api_key, call_timeout_s, naming_fields
from weir_gateway.rpc.tracing import predicted_attributes, prediction_attributes
from weir_gateway.translation import findings_to_proto, money_to_proto, work_to_proto
from weir_kit import telemetry
from weir_kit.ids import Ids

# Core's names of fields, as this wire has them.
FIELDS = {
    "texts": "input.texts.texts",
    "pictures": "input.pictures.pictures",
    "blobs": "input.blobs.blobs",
    "query": "input.rerank.query",
    "documents": "input.rerank.documents",
    "users": "input.users.users",
    "top_k": "options.top_k",
    "min_score": "options.min_score",
    "dimensions": "options.dimensions",
}


class PredictionServicer(prediction_pb2_grpc.PredictionServiceServicer):
    """Predicts for gRPC clients, within `timeout_s` or the client's deadline if that is sooner."""

    def __init__(self, predictions: Predictions, ids: Ids, timeout_s: float) -> None:
        self._predictions = predictions
        self._ids = ids
        self._timeout_s = timeout_s

    async def Predict(self, request: pb.PredictRequest, context: Any) -> pb.PredictResponse:
        call = PredictionCall(
            request_id=request.request_id or self._ids.new("req"),
            api_key=api_key(context),
            model=request.model,
            input=input_of_proto(request.input),
            timeout_s=call_timeout_s(context, self._timeout_s),
            version=request.version,
            options=options_of_proto(request.options),
            trace_id=telemetry.current_trace_id(),
        )
        with (
            naming_fields(FIELDS),
            telemetry.span("predict", **prediction_attributes(call)) as span,
        ):
            predicted = await self._predictions.predict(call)
            span.annotate(**predicted_attributes(predicted))
        return pb.PredictResponse(
            request_id=call.request_id,
            model=call.model,
            version=predicted.answer.version,
            predictions=predicted.answer.content,
            usage=work_to_proto(predicted.answer.work),
            cost=money_to_proto(predicted.cost),
            findings=findings_to_proto(predicted.findings),
        )
