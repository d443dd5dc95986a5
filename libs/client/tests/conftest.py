"""A gateway that answers by the contract, on a real port, and both clients of it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

import weir
from weir_contracts.common.v1.finding_pb2 import ACTION_REDACT, Finding
from weir_contracts.common.v1.money_pb2 import Money
from weir_contracts.common.v1.prediction_pb2 import Prediction
from weir_contracts.common.v1.usage_pb2 import TokenUsage, WorkUsage
from weir_contracts.gateway.v1 import generation_pb2 as pb
from weir_contracts.gateway.v1 import (
    generation_pb2_grpc,
    model_pb2,
    model_pb2_grpc,
    prediction_pb2,
    prediction_pb2_grpc,
)
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
class Room(
    generation_pb2_grpc.GenerationServiceServicer,
    model_pb2_grpc.ModelServiceServicer,
    prediction_pb2_grpc.PredictionServiceServicer,
):
    """Notes what it is asked, raises `error` if there is one, may hang after the first text."""

    address: str = ""
    error: WeirError | None = None
    has_cost: bool = True
    hangs: bool = False
    specs: list[pb.GenerationSpec] = field(default_factory=list)
    predictions: list[Prediction] = field(default_factory=list)
    predict_requests: list[prediction_pb2.PredictRequest] = field(default_factory=list)

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
        model = model_pb2.Model(
            name="weir-digits", created_at_s=7, task="image-classification", version="2"
        )
        return model_pb2.ListModelsResponse(models=[model])

    async def GetModel(self, request: Any, context: Any) -> Any:
        raise NotImplementedError

    async def Predict(self, request: Any, context: Any) -> Any:
        self.check(context)
        self.predict_requests.append(request)
        if self.hangs:
            await asyncio.Event().wait()
        return prediction_pb2.PredictResponse(
            request_id=request.request_id or "req_1",
            model=request.model,
            version="2",
            predictions=self.predictions,
            usage=WorkUsage(requests=1, items=len(self.predictions), compute_us=1500),
            cost=Money(nanos=4500, currency_code="USD") if self.has_cost else None,
            findings=[FINDING],
        )


@pytest.fixture
async def room() -> AsyncIterator[Room]:
    """The gateway, serving at `room.address`."""
    room = Room()
    server = GrpcServer(Inbound(None))
    for name, add in (
        ("GenerationService", generation_pb2_grpc.add_GenerationServiceServicer_to_server),
        ("ModelService", model_pb2_grpc.add_ModelServiceServicer_to_server),
        ("PredictionService", prediction_pb2_grpc.add_PredictionServiceServicer_to_server),
    ):
        server.add(Servicer(f"weir.gateway.v1.{name}", room, add))
    room.address = await server.start("127.0.0.1:0")
    yield room
    await server.drain(0)


class InThreads:
    """The synchronous client, used from threads, so that the gateway beside it can answer."""

    def __init__(self, client: weir.Client) -> None:
        self.client = client

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: asyncio.to_thread(
            getattr(self.client, name), *args, **kwargs
        )

    async def pieces(self, *args: Any, **kwargs: Any) -> list[weir.Piece]:
        def collect() -> list[weir.Piece]:
            with self.client.stream(*args, **kwargs) as stream:
                return [*stream.pieces()]

        return await asyncio.to_thread(collect)

    async def told(self, *args: Any, take: int = 99, **kwargs: Any) -> tuple[list[str], Any]:
        def tell() -> tuple[list[str], Any]:
            texts = []
            with self.client.stream(*args, **kwargs) as stream:
                for text in stream:
                    texts.append(text)
                    if len(texts) == take:
                        break
            return texts, stream

        return await asyncio.to_thread(tell)


class InLoop:
    """The asynchronous client."""

    def __init__(self, client: weir.AsyncClient) -> None:
        self.client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self.client, name)

    async def pieces(self, *args: Any, **kwargs: Any) -> list[weir.Piece]:
        async with self.client.stream(*args, **kwargs) as stream:
            return [piece async for piece in stream.pieces()]

    async def told(self, *args: Any, take: int = 99, **kwargs: Any) -> tuple[list[str], Any]:
        texts = []
        async with self.client.stream(*args, **kwargs) as stream:
            async for text in stream:
                texts.append(text)
                if len(texts) == take:
                    break
        return texts, stream


@pytest.fixture(params=["sync", "async"])
async def client(request: Any, room: Any) -> AsyncIterator[Any]:
    if request.param == "sync":
        with weir.Client(room.address, "weir_sk_test") as client:
            yield InThreads(client)
    else:
        async with weir.AsyncClient(room.address, "weir_sk_test") as client:
            yield InLoop(client)
