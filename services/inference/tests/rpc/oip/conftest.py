"""The servicer over models that write down what they are asked, behind the in-process channel."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import grpc
import pytest

from weir_contracts.oip.v2.inference_pb2_grpc import (
    GRPCInferenceServiceStub,
    add_GRPCInferenceServiceServicer_to_server,
)
from weir_inference.core.tensor_engine import InferResult, TensorLoad
from weir_inference.core.tensor_models import (
    IndexEntry,
    InferAnswer,
    InferCall,
    ModelState,
    TensorModel,
    VersionStatistics,
)
from weir_inference.core.tensors import ANY, Datatype, TensorSpec
from weir_inference.core.work import Work
from weir_inference.rpc.oip.servicer import OipServicer
from weir_kit.clock import ManualClock
from weir_kit.errors import ModelNotFound, QueueFull, Unauthenticated
from weir_kit.local import local_channel
from weir_kit.service import Servicer

LOAD = TensorLoad(requests=9, batches=4, rows=21, failures=2, queue_s=0.5, compute_s=1.25)


class FakeModels:
    """`TensorModels`: `echo` gives back its inputs, `full` has no room, `broken` breaks."""

    def __init__(self) -> None:
        self.calls: list[InferCall] = []
        self.changes: list[str] = []
        self.asked_statistics: list[tuple[str, str]] = []
        self.ready = True

    def all_ready(self) -> bool:
        return self.ready

    def is_ready(self, model: str, version: str) -> bool:
        return (model, version) in [("echo", ""), ("echo", "3")]

    def describe(self, model: str, version: str) -> TensorModel:
        self._check(model)
        spec = TensorSpec("x", Datatype.BF16, (ANY, 4))
        return TensorModel(model, ("2", "3"), "fake", (spec,), (spec,))

    async def infer(self, call: InferCall) -> InferAnswer:
        if call.admission_token != "yes":
            raise Unauthenticated("the call carries no valid admission (metadata weir-admission)")
        self._check(call.model)
        if call.model == "full":
            raise QueueFull("the queue is full", retry_after_s=1.5)
        if call.model == "broken":
            raise RuntimeError("secret")
        self.calls.append(call)
        result = InferResult(call.request.inputs, 0.0, 0.0, 1)
        return InferAnswer(call.version or "3", result, Work(items=2, compute_us=350))

    def index(self) -> Sequence[IndexEntry]:
        return [
            IndexEntry("echo", "3", ModelState.READY),
            IndexEntry("slow", "1", ModelState.LOADING, "it is large"),
        ]

    async def load(self, model: str) -> None:
        self._check(model)
        self.changes.append(f"load {model}")

    async def unload(self, model: str) -> None:
        self._check(model)
        self.changes.append(f"unload {model}")

    def statistics(self, model: str, version: str) -> Sequence[VersionStatistics]:
        self.asked_statistics.append((model, version))
        return [VersionStatistics("echo", "3", LOAD, 1_800_000_000.25)]

    def _check(self, model: str) -> None:
        if model not in ("echo", "full", "broken"):
            raise ModelNotFound(f"this replica serves no model {model!r}", field="model_name")


@dataclass(frozen=True)
class Bench:
    """A client's stub, and what is behind it."""

    stub: GRPCInferenceServiceStub
    models: FakeModels
    clock: ManualClock


@pytest.fixture
async def oip() -> AsyncIterator[Bench]:
    """The servicer, its models and its clock."""
    models, clock = FakeModels(), ManualClock()
    servicer = Servicer(
        "inference.GRPCInferenceService",
        OipServicer(models, clock, "1.2.3"),
        add_GRPCInferenceServiceServicer_to_server,
    )
    channel: grpc.aio.Channel
    async with local_channel(servicer) as channel:
        yield Bench(GRPCInferenceServiceStub(channel), models, clock)
