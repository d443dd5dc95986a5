"""`inference.GRPCInferenceService` at the gateway: for unmodified clients of Triton and KServe."""

from collections.abc import AsyncIterator
from typing import Any

from weir_contracts.oip.v2 import inference_pb2 as pb
from weir_contracts.oip.v2.inference_pb2_grpc import GRPCInferenceServiceServicer
from weir_gateway.core.catalogue import Catalogue
from weir_gateway.core.ports import Readiness
from weir_gateway.rpc.generation import api_key, call_timeout_s
from weir_gateway.rpc.oip.caller import Caller
from weir_gateway.rpc.oip.calls import OipCalls
from weir_gateway.rpc.oip.tensor_catalogue import TensorCatalogue
from weir_kit import telemetry
from weir_kit.errors import InvalidArgument, PermissionDenied, WeirError
from weir_kit.ids import Ids


class OipServicer(GRPCInferenceServiceServicer):
    """Tensors in, tensors out. A call takes `timeout_s` at most; of a stream, each of its calls."""

    def __init__(
        self,
        calls: OipCalls,
        models: TensorCatalogue,
        catalogue: Catalogue,
        readiness: Readiness,
        ids: Ids,
        timeout_s: float,
    ) -> None:
        self._calls = calls
        self._models = models
        self._catalogue = catalogue
        self._readiness = readiness
        self._ids = ids
        self._timeout_s = timeout_s

    async def ServerLive(
        self, request: pb.ServerLiveRequest, context: Any
    ) -> pb.ServerLiveResponse:
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(
        self, request: pb.ServerReadyRequest, context: Any
    ) -> pb.ServerReadyResponse:
        peers = await self._readiness.peers()
        return pb.ServerReadyResponse(ready=all(peers.values()))

    async def ServerMetadata(
        self, request: pb.ServerMetadataRequest, context: Any
    ) -> pb.ServerMetadataResponse:
        return self._models.server()

    async def ModelReady(
        self, request: pb.ModelReadyRequest, context: Any
    ) -> pb.ModelReadyResponse:
        ready = await self._models.ready(api_key(context), request.name, request.version)
        return pb.ModelReadyResponse(ready=ready)

    async def ModelMetadata(
        self, request: pb.ModelMetadataRequest, context: Any
    ) -> pb.ModelMetadataResponse:
        return await self._models.metadata(api_key(context), request.name, request.version)

    async def ModelStatistics(
        self, request: pb.ModelStatisticsRequest, context: Any
    ) -> pb.ModelStatisticsResponse:
        return await self._models.statistics(api_key(context), request.name, request.version)

    async def RepositoryIndex(
        self, request: pb.RepositoryIndexRequest, context: Any
    ) -> pb.RepositoryIndexResponse:
        if request.repository_name:
            raise InvalidArgument(
                "repository_name: leave it empty, there is one repository", field="repository_name"
            )
        return await self._models.index(api_key(context), only_ready=request.ready)

    async def RepositoryModelLoad(
        self, request: pb.RepositoryModelLoadRequest, context: Any
    ) -> pb.RepositoryModelLoadResponse:
        raise await self._operators_only(context)

    async def RepositoryModelUnload(
        self, request: pb.RepositoryModelUnloadRequest, context: Any
    ) -> pb.RepositoryModelUnloadResponse:
        raise await self._operators_only(context)

    async def ModelInfer(
        self, request: pb.ModelInferRequest, context: Any
    ) -> pb.ModelInferResponse:
        response, _ = await self._calls.infer(request, self._caller(context))
        return response

    async def ModelStreamInfer(  # type: ignore[override]  # it writes by itself, as grpc.aio allows
        self, requests: AsyncIterator[pb.ModelInferRequest], context: Any
    ) -> None:
        async def send(response: pb.ModelInferResponse) -> None:
            await context.write(pb.ModelStreamInferResponse(infer_response=response))

        api_key(context)  # without one the stream ends at once
        async for request in requests:
            try:
                await self._calls.stream(request, self._caller(context), send)
            except WeirError as error:
                failed = pb.ModelInferResponse(model_name=request.model_name, id=request.id)
                await context.write(
                    pb.ModelStreamInferResponse(error_message=error.message, infer_response=failed)
                )

    def _caller(self, context: Any) -> Caller:
        return Caller(
            self._ids.new("req"),
            api_key(context),
            call_timeout_s(context, self._timeout_s),
            telemetry.current_trace_id(),
        )

    async def _operators_only(self, context: Any) -> PermissionDenied:
        await self._catalogue.admission(api_key(context))
        return PermissionDenied("operators load and unload models: `weir models load`")
