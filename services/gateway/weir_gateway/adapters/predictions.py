"""Inference's models that answer in one piece, over its channel."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from weir_contracts.inference.v1 import prediction_pb2, prediction_pb2_grpc
from weir_contracts.oip.v2 import inference_pb2 as oip_pb2
from weir_contracts.oip.v2 import inference_pb2_grpc as oip_pb2_grpc
from weir_gateway.core.call import Work
from weir_gateway.core.ports import Admission
from weir_gateway.core.prediction import Answer, PredictionCall, Tensors
from weir_gateway.prediction_translation import input_to_proto, options_to_proto
from weir_gateway.translation import work_of_proto
from weir_kit.admission import METADATA_KEY
from weir_kit.channel import MESSAGE_BYTES_MAX
from weir_kit.errors import Internal, InvalidArgument, WeirError
from weir_kit.metadata import value_of
from weir_kit.status import raising_weir_errors

ITEMS_KEY = "weir-items"
COMPUTE_US_KEY = "weir-compute-us"


class PredictionPeer:
    """`Inference.predict`, by whichever of inference's two services the call is for."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = prediction_pb2_grpc.PredictionServiceStub(channel)
        self._tensors = oip_pb2_grpc.GRPCInferenceServiceStub(channel)

    async def predict(self, call: PredictionCall, admission: Admission, timeout_s: float) -> Answer:
        metadata = ((METADATA_KEY, admission.token),)
        if isinstance(call.input, Tensors):
            return await self._infer(call.input.message, metadata, timeout_s)
        request = prediction_pb2.PredictRequest(
            request_id=call.request_id,
            model=call.model,
            version=call.version,
            input=input_to_proto(call.input),
            options=options_to_proto(call.options),
        )
        _check_size(request.ByteSize(), "input")
        with _naming_fields(), raising_weir_errors():
            response = await self._stub.Predict(request, timeout=timeout_s, metadata=metadata)
        if len(response.predictions) != len(call.input):
            raise Internal("inference gave another number of answers than there were items")
        return Answer(response.version, response.predictions, work_of_proto(response.usage))

    async def _infer(
        self, request: oip_pb2.ModelInferRequest, metadata: Any, timeout_s: float
    ) -> Answer:
        _check_size(request.ByteSize(), "inputs")
        with raising_weir_errors():
            calling: Any = self._tensors.ModelInfer(request, timeout=timeout_s, metadata=metadata)
            response = await calling
            told = await calling.trailing_metadata()
        work = Work(1, _number(told, ITEMS_KEY, 9), _number(told, COMPUTE_US_KEY, 18))
        return Answer(response.model_version, response, work)


class TensorModelsPeer:
    """The port `TensorModels`."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = oip_pb2_grpc.GRPCInferenceServiceStub(channel)

    async def ready(self, name: str, version: str, timeout_s: float) -> bool:
        request = oip_pb2.ModelReadyRequest(name=name, version=version)
        with raising_weir_errors():
            response = await self._stub.ModelReady(request, timeout=timeout_s)
        return response.ready

    async def metadata(
        self, name: str, version: str, timeout_s: float
    ) -> oip_pb2.ModelMetadataResponse:
        request = oip_pb2.ModelMetadataRequest(name=name, version=version)
        with raising_weir_errors():
            return await self._stub.ModelMetadata(request, timeout=timeout_s)

    async def statistics(
        self, name: str, version: str, timeout_s: float
    ) -> oip_pb2.ModelStatisticsResponse:
        request = oip_pb2.ModelStatisticsRequest(name=name, version=version)
        with raising_weir_errors():
            return await self._stub.ModelStatistics(request, timeout=timeout_s)

    async def index(self, timeout_s: float) -> oip_pb2.RepositoryIndexResponse:
        with raising_weir_errors():
            return await self._stub.RepositoryIndex(
                oip_pb2.RepositoryIndexRequest(), timeout=timeout_s
            )


@contextmanager
def _naming_fields() -> Iterator[None]:
    """An error about the peer's request names core's field: `input.texts[1]` is `texts[1]`."""
    try:
        yield
    except WeirError as error:
        for prefix in ("input.rerank.", "input.", "options."):
            error.field = error.field and error.field.removeprefix(prefix)
        raise


def _check_size(n_bytes: int, field: str) -> None:
    if n_bytes > MESSAGE_BYTES_MAX:
        raise InvalidArgument(
            f"{field}: {n_bytes} bytes as a message, at most {MESSAGE_BYTES_MAX} fit: send fewer "
            "items at a time",
            field=field,
        )


def _number(metadata: Any, key: str, digits_max: int) -> int:
    """A number that fits its field whatever its digits are: 9 an int32, 18 an int64."""
    text = value_of(metadata, key)
    if not (text.isascii() and text.isdigit() and len(text) <= digits_max):
        raise Internal(f"inference did not tell what the call used ({key})")
    return int(text)
