"""`weir.inference.v1.ModelRepositoryService` over the replica and its host of models."""

from collections.abc import AsyncIterator
from contextlib import aclosing

import grpc

from weir_contracts.inference.v1 import inference_pb2 as pb
from weir_contracts.inference.v1.inference_pb2_grpc import ModelRepositoryServiceServicer
from weir_inference.core.engine import ModelDescription
from weir_inference.core.model_changes import Change
from weir_inference.core.model_host import ModelHost
from weir_inference.core.model_versions import NAME, VERSION
from weir_inference.core.replica import Replica
from weir_inference.core.tensors import TensorSpec
from weir_kit.errors import InvalidArgument


class ModelRepositoryServicer(ModelRepositoryServiceServicer):
    """The models that this replica serves."""

    def __init__(self, replica: Replica, host: ModelHost) -> None:
        self._replica = replica
        self._host = host

    async def ListModels(
        self,
        request: pb.ListModelsRequest,
        context: "grpc.aio.ServicerContext[pb.ListModelsRequest, pb.ListModelsResponse]",
    ) -> pb.ListModelsResponse:
        """All models and adapters in the order of their names."""
        generating = self._replica.models()
        names = {model.name for model in generating}
        in_one_piece = [model for model in self._host.reachable if model.name not in names]
        models = sorted([*generating, *in_one_piece], key=lambda one: one.name)
        return pb.ListModelsResponse(models=[_model(model) for model in models])

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

    async def LoadModel(
        self,
        request: pb.LoadModelRequest,
        context: "grpc.aio.ServicerContext[pb.LoadModelRequest, pb.LoadModelResponse]",
    ) -> pb.LoadModelResponse:
        """Serve a version from now on."""
        name = _name(request.name)
        hosted = await self._host.load(name, _version(request.version), request.source)
        return pb.LoadModelResponse(model=_model(hosted.opened.description))

    async def UnloadModel(
        self,
        request: pb.UnloadModelRequest,
        context: "grpc.aio.ServicerContext[pb.UnloadModelRequest, pb.UnloadModelResponse]",
    ) -> pb.UnloadModelResponse:
        """Serve a version, or all of a model, no longer."""
        await self._host.unload(_name(request.name), _version(request.version))
        return pb.UnloadModelResponse()

    async def SetAlias(
        self,
        request: pb.SetAliasRequest,
        context: "grpc.aio.ServicerContext[pb.SetAliasRequest, pb.SetAliasResponse]",
    ) -> pb.SetAliasResponse:
        """Let an alias mean a version."""
        version = _version(request.version)
        await self._host.point(_name(request.name), request.alias, version)
        return pb.SetAliasResponse()

    async def WatchModels(
        self,
        request: pb.WatchModelsRequest,
        context: "grpc.aio.ServicerContext[pb.WatchModelsRequest, pb.WatchModelsResponse]",
    ) -> AsyncIterator[pb.WatchModelsResponse]:
        """What is served, then each change."""
        async with aclosing(self._host.watch()) as changes:
            async for change in changes:
                yield _change(change)


def _name(name: str) -> str:
    if not NAME.fullmatch(name):
        raise InvalidArgument("a name is 1 to 128 of A-Z a-z 0-9 _ . : / -", field="name")
    return name


def _version(version: str) -> int | None:
    if not version:
        return None
    if not VERSION.fullmatch(version):
        raise InvalidArgument("a version is a whole number from 1 on", field="version")
    return int(version)


def _change(change: Change) -> pb.WatchModelsResponse:
    if change.served:
        kind = pb.WatchModelsResponse.CHANGE_SERVED
        return pb.WatchModelsResponse(change=kind, model=_model(change.model))
    gone = pb.Model(name=change.model.name, version=change.model.version)
    return pb.WatchModelsResponse(change=pb.WatchModelsResponse.CHANGE_GONE, model=gone)


def _tensor(spec: TensorSpec) -> pb.TensorSpec:
    return pb.TensorSpec(name=spec.name, datatype=spec.datatype, shape=spec.shape)


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
        task=model.task,
        version=model.version,
        digest=model.digest,
        labels=dict(model.labels),
        inputs=map(_tensor, model.inputs),
        outputs=map(_tensor, model.outputs),
    )
