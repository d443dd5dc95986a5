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
        """All models in the order of their names."""
        return pb.ListModelsResponse(models=[_model(model) for model in self._replica.models()])


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
    )
