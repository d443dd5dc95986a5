"""`weir.gateway.v1.ModelService`."""

from typing import Any

from weir_contracts.gateway.v1 import model_pb2 as pb
from weir_contracts.gateway.v1 import model_pb2_grpc
from weir_gateway.core.catalogue import Catalogue
from weir_gateway.core.ports import Model
from weir_gateway.rpc.generation import api_key, naming_fields


class ModelServicer(model_pb2_grpc.ModelServiceServicer):
    """Lists models for gRPC clients."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    async def ListModels(
        self, request: pb.ListModelsRequest, context: Any
    ) -> pb.ListModelsResponse:
        models = await self._catalogue.models(api_key(context))
        return pb.ListModelsResponse(models=map(_model, models))

    async def GetModel(self, request: pb.GetModelRequest, context: Any) -> pb.GetModelResponse:
        with naming_fields({"model": "name"}):
            model = await self._catalogue.model(api_key(context), request.name)
        return pb.GetModelResponse(model=_model(model))


def _model(model: Model) -> pb.Model:
    return pb.Model(
        name=model.name,
        context_tokens=model.context_tokens,
        created_at_s=model.created_at_s,
        task=model.task,
        version=model.version,
    )
