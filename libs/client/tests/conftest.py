"""A gateway that answers by the contract, on a real port."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from weir_contracts.common.v1.finding_pb2 import ACTION_REDACT, Finding
from weir_contracts.common.v1.money_pb2 import Money
from weir_contracts.common.v1.usage_pb2 import TokenUsage
from weir_contracts.gateway.v1 import generation_pb2 as pb
from weir_contracts.gateway.v1 import generation_pb2_grpc, model_pb2, model_pb2_grpc
from weir_contracts.inference.v1.inference_pb2 import FINISH_REASON_LENGTH, FINISH_REASON_STOP
from weir_kit.errors import InvalidApiKey, WeirError
from weir_kit.inbound import Inbound
from weir_kit.metadata import value_of
from weir_kit.server import GrpcServer
from weir_kit.service import Servicer

LOGPROBS = [
    pb.TokenLogprob(text="Once", top=[pb.TopLogprob(text="Once", logprob=-0.5)], start=0),
    pb.TokenLogprob(text=" upon", logprob=-0.25, start=4),
]
FINDING = Finding(rule="email", action=ACTION_REDACT, where="output", start=1, end=5)
RESULT = pb.GenerationResult(
    finish_reason=FINISH_REASON_LENGTH,
    usage=TokenUsage(input_tokens=3, cached_input_tokens=1, output_tokens=2),
    cost=Money(nanos=4500, currency_code="USD"),
    findings=[FINDING],
    choices=[
        pb.Choice(finish_reason=FINISH_REASON_LENGTH, findings=[FINDING]),
        pb.Choice(finish_reason=FINISH_REASON_STOP),
    ],
)


@dataclass
class Room(generation_pb2_grpc.GenerationServiceServicer, model_pb2_grpc.ModelServiceServicer):
    """Notes what it is asked, raises `error` if there is one, may hang after the first text."""

    address: str = ""
    error: WeirError | None = None
    has_cost: bool = True
    hangs: bool = False
    specs: list[pb.GenerationSpec] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.cancelled = asyncio.Event()

    def check(self, context: Any) -> None:
        if value_of(context, "authorization") != "Bearer weir_sk_test":
            raise InvalidApiKey("the key is not known")
        if self.error is not None:
            raise self.error

    @property
    def result(self) -> pb.GenerationResult:
        result = pb.GenerationResult()
        result.CopyFrom(RESULT)
        if not self.has_cost:
            result.ClearField("cost")
        return result

    async def Generate(self, request: Any, context: Any) -> Any:
        self.check(context)
        self.specs.append(request.spec)
        if self.hangs:
            await asyncio.Event().wait()
        result = self.result
        result.choices[0].text, result.choices[1].text = "Once upon", "Long ago"
        result.choices[0].logprobs.extend(LOGPROBS)
        return pb.GenerateResponse(
            request_id=request.request_id or "req_1",
            model=request.spec.model,
            text="Once upon",
            result=result,
        )

    async def StreamGenerate(self, request: Any, context: Any) -> Any:
        self.check(context)
        self.specs.append(request.spec)
        started = pb.StreamStarted(request_id="req_1", model=request.spec.model)
        yield pb.StreamGenerateResponse(started=started)
        first = pb.StreamDelta(text="Once", logprobs=LOGPROBS[:1])
        yield pb.StreamGenerateResponse(delta=first)
        if self.hangs:
            try:
                await asyncio.Event().wait()
            finally:
                self.cancelled.set()
        yield pb.StreamGenerateResponse(delta=pb.StreamDelta(text="Long ago", choice=1))
        yield pb.StreamGenerateResponse(delta=pb.StreamDelta(text=" upon", logprobs=LOGPROBS[1:]))
        yield pb.StreamGenerateResponse(finished=self.result)

    async def CountTokens(self, request: Any, context: Any) -> Any:
        self.check(context)
        chars = len(request.prompt) + sum(len(m.content) for m in request.chat.messages)
        return pb.CountTokensResponse(input_tokens=chars)

    async def ListModels(self, request: Any, context: Any) -> Any:
        self.check(context)
        model = model_pb2.Model(name="weir-tales", context_tokens=512, created_at_s=7)
        return model_pb2.ListModelsResponse(models=[model])

    async def GetModel(self, request: Any, context: Any) -> Any:
        raise NotImplementedError


@pytest.fixture
async def room() -> AsyncIterator[Room]:
    """The gateway, serving at `room.address`."""
    room = Room()
    server = GrpcServer(Inbound(None))
    for name, add in (
        ("GenerationService", generation_pb2_grpc.add_GenerationServiceServicer_to_server),
        ("ModelService", model_pb2_grpc.add_ModelServiceServicer_to_server),
    ):
        server.add(Servicer(f"weir.gateway.v1.{name}", room, add))
    room.address = await server.start("127.0.0.1:0")
    yield room
    await server.drain(0)
