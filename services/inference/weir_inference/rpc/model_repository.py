"""`weir.inference.v1.ModelRepositoryService` over the replica."""

import grpc

from weir_contracts.inference.v1 import inference_pb2 as pb
from weir_contracts.inference.v1.inference_pb2_grpc import ModelRepositoryServiceServicer
from weir_inference.core.engine import ModelDescription
from weir_inference.core.replica import Replica


class ModelRepositoryServicer(ModelRepositoryServiceServicer):
    """The models that this replica serves."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica

    async def ListModels(
        self,
        request: pb.ListModelsRequest,
        context: "grpc.aio.ServicerContext[pb.ListModelsRequest, pb.ListModelsResponse]",
    ) -> pb.ListModelsResponse:
        """All models and adapters in the order of their names."""
        return pb.ListModelsResponse(models=[_model(model) for model in self._replica.models()])

    async def LoadAdapter(
        self,
        request: pb.LoadAdapterRequest,
        context: "grpc.aio.ServicerContext[pb.LoadAdapterRequest, pb.LoadAdapterResponse]",
    ) -> pb.LoadAdapterResponse:
        """Serve a LoRA adapter under a name of its own."""
        model = await self._replica.load_adapter(request.name, request.base_model, request.source)
        return pb.LoadAdapterResponse(model=_model(model))

    async def UnloadAdapter(
        self,
        request: pb.UnloadAdapterRequest,
        context: "grpc.aio.ServicerContext[pb.UnloadAdapterRequest, pb.UnloadAdapterResponse]",
    ) -> pb.UnloadAdapterResponse:
        """Serve an adapter no longer; waits for its running requests until the deadline."""
        await self._replica.unload_adapter(request.name)
        return pb.UnloadAdapterResponse()


def _model(model: ModelDescription) -> pb.Model:
    return pb.Model(
        name=model.name,
        engine=model.engine,
        architecture=model.architecture,
        context_tokens=model.context_tokens,
        vocab_size=model.vocab_size,
        parameters=model.parameters,
        dtype=model.dtype,
        loaded_at_s=int(model.loaded_at_s),
        base_model=model.base_model,
        quantization=model.quantization,
    )
