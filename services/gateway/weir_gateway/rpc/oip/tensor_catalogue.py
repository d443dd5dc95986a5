"""What clients are told of models by the Open Inference Protocol: only of those they may use."""

from weir_contracts.oip.v2 import inference_pb2 as pb
from weir_gateway.core.catalogue import TIMEOUT_S, Catalogue
from weir_gateway.core.ports import TensorModels
from weir_gateway.core.tasks import check_generates
from weir_gateway.rpc.oip.text_tensors import metadata_of
from weir_kit.errors import InvalidArgument, ModelNotFound

SERVER_NAME = "weir"
EXTENSIONS = (
    "binary_tensor_data", "model_repository", "parameters", "schedule_policy", "statistics",
)  # fmt: skip
READY = "READY"


class TensorCatalogue:
    """Inference's answers for models that answer in one piece, the gateway's own for the others."""

    def __init__(self, catalogue: Catalogue, models: TensorModels, version: str) -> None:
        self._catalogue = catalogue
        self._models = models
        self._version = version

    def server(self) -> pb.ServerMetadataResponse:
        """What the server is."""
        return pb.ServerMetadataResponse(
            name=SERVER_NAME, version=self._version, extensions=EXTENSIONS
        )

    async def ready(self, key: str, name: str, version: str) -> bool:
        """Whether a model can be called; False where there is none for this key."""
        try:
            model = await self._catalogue.model(key, name)
            if model.generates:
                check_generates(model, version)
                return True
        except ModelNotFound:
            return False
        return await self._models.ready(name, version, TIMEOUT_S)

    async def metadata(self, key: str, name: str, version: str) -> pb.ModelMetadataResponse:
        """What a model takes and gives. Raises `ModelNotFound`."""
        model = await self._catalogue.model(key, name)
        if model.generates:
            check_generates(model, version)
            return metadata_of(model)
        metadata: pb.ModelMetadataResponse = await self._models.metadata(name, version, TIMEOUT_S)
        return metadata

    async def statistics(self, key: str, name: str, version: str) -> pb.ModelStatisticsResponse:
        """What a model, or every model, has done. Raises `ModelNotFound`."""
        if name and (await self._catalogue.model(key, name)).generates:
            raise InvalidArgument(
                f"name: the model {name!r} generates; what it does is in the metrics", field="name"
            )
        admission = await self._catalogue.admission(key)
        told: pb.ModelStatisticsResponse = await self._models.statistics(name, version, TIMEOUT_S)
        return pb.ModelStatisticsResponse(
            model_stats=[one for one in told.model_stats if admission.may_use(one.name)]
        )

    async def index(self, key: str, *, only_ready: bool) -> pb.RepositoryIndexResponse:
        """The models in the repository, and those that generate."""
        admission = await self._catalogue.admission(key)
        told: pb.RepositoryIndexResponse = await self._models.index(TIMEOUT_S)
        index = [one for one in told.models if admission.may_use(one.name)]
        known = {one.name for one in index}
        for model in await self._catalogue.models(key):
            if model.generates and model.name not in known:
                entry = pb.RepositoryIndexResponse.ModelIndex(
                    name=model.name, version=model.version, state=READY
                )
                index.append(entry)
        if only_ready:
            index = [one for one in index if one.state == READY]
        index.sort(key=lambda one: (one.name, len(one.version), one.version))
        return pb.RepositoryIndexResponse(models=index)
