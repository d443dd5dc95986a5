"""`inference.GRPCInferenceService` over the models that take tensors."""

from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from typing import Any, TypeAlias

import grpc

from weir_contracts.oip.v2 import inference_pb2 as pb
from weir_contracts.oip.v2.inference_pb2_grpc import GRPCInferenceServiceServicer
from weir_inference.core.tensor_models import (
    InferCall,
    ModelState,
    TensorModels,
    VersionStatistics,
)
from weir_inference.core.tensors import TensorSpec
from weir_inference.rpc.oip.codec import call_of, response_of
from weir_inference.rpc.oip.ordered import answers_in_order
from weir_inference.rpc.oip.refusal import refusal
from weir_kit import deadline
from weir_kit.admission import METADATA_KEY
from weir_kit.clock import Clock
from weir_kit.errors import WeirError
from weir_kit.metadata import value_of

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

SERVER_NAME = "weir"
EXTENSIONS = ("model_repository", "schedule_policy", "statistics")
ITEMS_KEY, COMPUTE_US_KEY = "weir-items", "weir-compute-us"
STREAM_AHEAD = 32  # requests of a stream that are worked on at a time


class OipServicer(GRPCInferenceServiceServicer):
    """Tensors in, tensors out."""

    def __init__(self, models: TensorModels, clock: Clock, version: str) -> None:
        self._models = models
        self._clock = clock
        self._version = version

    async def ServerLive(
        self, request: pb.ServerLiveRequest, context: Context
    ) -> pb.ServerLiveResponse:
        """It answers, so it lives."""
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(
        self, request: pb.ServerReadyRequest, context: Context
    ) -> pb.ServerReadyResponse:
        """Whether every model can be called."""
        return pb.ServerReadyResponse(ready=self._models.all_ready())

    async def ModelReady(
        self, request: pb.ModelReadyRequest, context: Context
    ) -> pb.ModelReadyResponse:
        """Whether a model can be called."""
        return pb.ModelReadyResponse(ready=self._models.is_ready(request.name, request.version))

    async def ServerMetadata(
        self, request: pb.ServerMetadataRequest, context: Context
    ) -> pb.ServerMetadataResponse:
        """Name, version and extensions."""
        return pb.ServerMetadataResponse(
            name=SERVER_NAME, version=self._version, extensions=EXTENSIONS
        )

    async def ModelMetadata(
        self, request: pb.ModelMetadataRequest, context: Context
    ) -> pb.ModelMetadataResponse:
        """What a model takes and gives."""
        model = self._models.describe(request.name, request.version)
        return pb.ModelMetadataResponse(
            name=model.name,
            versions=model.versions,
            platform=model.platform,
            inputs=_tensors(model.inputs),
            outputs=_tensors(model.outputs),
        )

    async def ModelInfer(
        self, request: pb.ModelInferRequest, context: Context
    ) -> pb.ModelInferResponse:
        """Call a model. The trailing metadata tells the work: `weir-items`, `weir-compute-us`."""
        call = self._call(request, value_of(context, METADATA_KEY))
        answer = await self._models.infer(call)
        work = answer.work
        context.set_trailing_metadata(
            ((ITEMS_KEY, str(work.items)), (COMPUTE_US_KEY, str(work.compute_us)))
        )
        return response_of(request, answer)

    async def ModelStreamInfer(
        self, requests: AsyncIterator[pb.ModelInferRequest], context: Context
    ) -> AsyncIterator[pb.ModelStreamInferResponse]:
        """Call models, one call after the other; an error answers its call alone."""
        admission_token = value_of(context, METADATA_KEY)

        async def answer(request: pb.ModelInferRequest) -> pb.ModelStreamInferResponse:
            try:
                call = self._call(request, admission_token)
                response = response_of(request, await self._models.infer(call))
            except WeirError as error:
                failed = pb.ModelInferResponse(id=request.id)
                return pb.ModelStreamInferResponse(
                    error_message=error.message, infer_response=failed
                )
            response.parameters["triton_final_response"].bool_param = True
            return pb.ModelStreamInferResponse(infer_response=response)

        async with aclosing(answers_in_order(requests, answer, STREAM_AHEAD)) as answers:
            async for response in answers:
                yield response

    async def ModelStatistics(
        self, request: pb.ModelStatisticsRequest, context: Context
    ) -> pb.ModelStatisticsResponse:
        """What models have done."""
        found = self._models.statistics(request.name, request.version)
        return pb.ModelStatisticsResponse(model_stats=[_statistics(one) for one in found])

    async def RepositoryIndex(
        self, request: pb.RepositoryIndexRequest, context: Context
    ) -> pb.RepositoryIndexResponse:
        """The models in the repository."""
        _check_repository(request.repository_name)
        entries = [
            pb.RepositoryIndexResponse.ModelIndex(
                name=one.name, version=one.version, state=one.state, reason=one.reason
            )
            for one in self._models.index()
            if one.state is ModelState.READY or not request.ready
        ]
        return pb.RepositoryIndexResponse(models=entries)

    async def RepositoryModelLoad(
        self, request: pb.RepositoryModelLoadRequest, context: Context
    ) -> pb.RepositoryModelLoadResponse:
        """Load a model."""
        model = _model_of(request)
        if request.parameters:
            raise refusal("parameters", "give none: a model is loaded as its folder says")
        await self._models.load(model)
        return pb.RepositoryModelLoadResponse(model_name=model, isLoaded=True)

    async def RepositoryModelUnload(
        self, request: pb.RepositoryModelUnloadRequest, context: Context
    ) -> pb.RepositoryModelUnloadResponse:
        """Unload a model."""
        model = _model_of(request)
        await self._models.unload(model)
        return pb.RepositoryModelUnloadResponse(model_name=model, isUnloaded=True)

    def _call(self, request: pb.ModelInferRequest, admission_token: str) -> InferCall:
        now_s = self._clock.monotonic_s()
        return call_of(request, admission_token, now_s, deadline.remaining_s())


def _tensors(specs: Iterable[TensorSpec]) -> list[pb.ModelMetadataResponse.TensorMetadata]:
    return [
        pb.ModelMetadataResponse.TensorMetadata(
            name=spec.name, datatype=spec.datatype, shape=spec.shape
        )
        for spec in specs
    ]


def _statistics(one: VersionStatistics) -> pb.ModelStatistics:
    load = one.load
    return pb.ModelStatistics(
        name=one.name,
        version=one.version,
        last_inference=round(one.last_call_at_s * 1e3),
        inference_count=load.rows,
        execution_count=load.batches,
        inference_stats=pb.InferStatistics(
            success=_duration(load.requests - load.failures, load.queue_s + load.compute_s),
            fail=_duration(load.failures, 0.0),
            queue=_duration(load.requests, load.queue_s),
            compute_infer=_duration(load.batches, load.compute_s),
        ),
    )


def _duration(count: int, seconds: float) -> pb.StatisticDuration:
    return pb.StatisticDuration(count=count, ns=round(seconds * 1e9))


def _check_repository(name: str) -> None:
    if name:
        raise refusal("repository_name", "leave it empty: there is one repository")


def _model_of(
    request: pb.RepositoryModelLoadRequest | pb.RepositoryModelUnloadRequest,
) -> str:
    """The model's name: KServe's clients have it where Triton's have the repository's."""
    if not request.model_name:
        return request.repository_name
    _check_repository(request.repository_name)
    return request.model_name
