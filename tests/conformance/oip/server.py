"""A server of the Open Inference Protocol over models of numpy; says on stdout where it listens."""

import asyncio
import signal
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from weir_contracts.oip.v2.inference_pb2_grpc import add_GRPCInferenceServiceServicer_to_server
from weir_inference.core.tensor_engine import InferResult, TensorLoad
from weir_inference.core.tensor_models import (
    IndexEntry,
    InferAnswer,
    InferCall,
    ModelState,
    TensorModel,
    VersionStatistics,
    check_outputs,
)
from weir_inference.core.tensors import ANY, Datatype, Tensors, TensorSpec, check_inputs
from weir_inference.core.work import Work
from weir_inference.rpc.oip.servicer import OipServicer
from weir_kit.clock import SystemClock
from weir_kit.errors import ModelNotFound, Unavailable
from weir_kit.inbound import Inbound
from weir_kit.server import GrpcServer
from weir_kit.service import Servicer

VERSIONS = ("1", "2")


def model(
    name: str, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], platform: str
) -> TensorModel:
    return TensorModel(name, VERSIONS, platform, tuple(inputs), tuple(outputs))


def identity(datatype: Datatype) -> TensorModel:
    shape = (ANY, ANY)
    name = f"identity_{datatype.lower()}"
    return model(
        name, [TensorSpec("x", datatype, shape)], [TensorSpec("y", datatype, shape)], "identity"
    )


def add_sub() -> TensorModel:
    a, b, total, difference = (
        TensorSpec(name, Datatype.INT32, (ANY,)) for name in ("a", "b", "sum", "difference")
    )
    return model("add_sub", [a, b], [total, difference], "add_sub")


COMPUTE: dict[str, Callable[[Tensors], Tensors]] = {
    "identity": lambda inputs: {"y": inputs["x"]},
    "add_sub": lambda inputs: {
        "sum": np.add(inputs["a"], inputs["b"]),
        "difference": np.subtract(inputs["a"], inputs["b"]),
    },
}


class NumpyModels:
    """`TensorModels` that admits all."""

    def __init__(self, models: Sequence[TensorModel]) -> None:
        self._models = {one.name: one for one in models}
        self._unloaded: set[str] = set()
        self._calls: Counter[tuple[str, str]] = Counter()

    def all_ready(self) -> bool:
        return not self._unloaded

    def is_ready(self, model: str, version: str) -> bool:
        loaded = model in self._models and model not in self._unloaded
        return loaded and version in ("", *VERSIONS)

    def describe(self, model: str, version: str) -> TensorModel:
        if model not in self._models or version not in ("", *VERSIONS):
            raise ModelNotFound(f"no model {model!r} of version {version!r}", field="model_name")
        return self._models[model]

    async def infer(self, call: InferCall) -> InferAnswer:
        model = self.describe(call.model, call.version)
        if call.model in self._unloaded:
            raise Unavailable("the model is not loaded")
        check_inputs(model.inputs, call.request.inputs)
        check_outputs(model.outputs, call.request.outputs)
        version = call.version or VERSIONS[-1]
        self._calls[model.name, version] += 1
        outputs = COMPUTE[model.platform](call.request.inputs)
        return InferAnswer(version, InferResult(outputs, 0.001, 0.002, 1), Work(1, 2000))

    def index(self) -> Sequence[IndexEntry]:
        return [
            IndexEntry(name, VERSIONS[-1], ModelState.UNAVAILABLE, "unloaded")
            if name in self._unloaded
            else IndexEntry(name, VERSIONS[-1], ModelState.READY)
            for name in sorted(self._models)
        ]

    async def load(self, model: str) -> None:
        self.describe(model, "")
        self._unloaded.discard(model)

    async def unload(self, model: str) -> None:
        self.describe(model, "")
        self._unloaded.add(model)

    def statistics(self, model: str, version: str) -> Sequence[VersionStatistics]:
        self.describe(model, version)
        return [
            VersionStatistics(name, of, TensorLoad(requests=n, batches=n, rows=n, compute_s=0.5))
            for (name, of), n in sorted(self._calls.items())
            if name == model and version in ("", of)
        ]


async def main() -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    models = NumpyModels([add_sub(), *(identity(datatype) for datatype in Datatype)])
    server = GrpcServer(Inbound(service_token=None))
    server.add(
        Servicer(
            "inference.GRPCInferenceService",
            OipServicer(models, SystemClock(), "1.2.3"),
            add_GRPCInferenceServiceServicer_to_server,
        )
    )
    print(await server.start("127.0.0.1:0"), flush=True)
    await stop.wait()
    await server.drain(1.0)


asyncio.run(main())
