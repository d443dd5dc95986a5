"""A small house: servicers of the four peers, real on the wire and simple behind it.

One token is one character; a token costs one nano. The gateway opens over them as in production.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest

from weir_contracts.billing.v1 import billing_pb2, billing_pb2_grpc
from weir_contracts.common.v1 import prediction_pb2 as pb
from weir_contracts.common.v1.finding_pb2 import ACTION_REDACT, Finding
from weir_contracts.common.v1.money_pb2 import Money
from weir_contracts.common.v1.usage_pb2 import TokenUsage, WorkUsage
from weir_contracts.inference.v1 import (
    inference_pb2,
    inference_pb2_grpc,
    prediction_pb2,
    prediction_pb2_grpc,
)
from weir_contracts.oip.v2 import inference_pb2 as oip_pb2
from weir_contracts.oip.v2 import inference_pb2_grpc as oip_pb2_grpc
from weir_contracts.policy.v1 import policy_pb2, policy_pb2_grpc
from weir_contracts.tokenizer.v1 import tokenizer_pb2, tokenizer_pb2_grpc
from weir_gateway.config import Config
from weir_gateway.service import open_service
from weir_kit.errors import InvalidApiKey, WeirError
from weir_kit.health import Health
from weir_kit.local import local_channel
from weir_kit.metadata import value_of
from weir_kit.service import Servicer

KEY = "weir_sk_test"
TEXT = "Once upon a time."
TASKS = {
    "moods": "text-classification",
    "names": "token-classification",
    "vectors": "embedding",
    "ranks": "rerank",
    "animals": "image-classification",
    "things": "object-detection",
    "letters": "ocr",
    "films": "recommendation",
    "group/sums": "tensors",
}


@dataclass
class House:
    """What the peers do, and what they saw. The RPC named in `errors` raises that error."""

    text: str = TEXT
    more_texts: tuple[str, ...] = ()  # of the outputs after the first
    context_tokens: int = 512
    errors: dict[str, WeirError] = field(default_factory=dict)
    redact_input: str = ""
    redact_texts: bool = False  # "@" becomes "*" in texts
    allowed_models: tuple[str, ...] = ()
    tells_work: bool = True  # inference's trailing metadata of calls with tensors
    predict_at: asyncio.Event | None = None  # models wait for it before they answer
    hold_at: int | None = None  # the engine stops before this token until `go` is set
    fail_at: int | None = None  # the engine raises `errors["token"]` at this token

    settled: list[TokenUsage] = field(default_factory=list)
    work: list[WorkUsage] = field(default_factory=list)  # settled
    admitted: list[policy_pb2.AdmitRequest] = field(default_factory=list)
    predicted: list[prediction_pb2.PredictRequest] = field(default_factory=list)
    inferred: list[oip_pb2.ModelInferRequest] = field(default_factory=list)
    predicting: int = 0
    released: list[str] = field(default_factory=list)
    records: list[policy_pb2.RecordRequest] = field(default_factory=list)
    generated: list[inference_pb2.GenerateRequest] = field(default_factory=list)
    decoder_options: list[tokenizer_pb2.DecodeStreamOptions] = field(default_factory=list)
    reserved: list[billing_pb2.ReserveRequest] = field(default_factory=list)
    encoded: list[tokenizer_pb2.EncodeRequest] = field(default_factory=list)
    engines: int = 0
    spelled: int = 0

    def __post_init__(self) -> None:
        self.go = asyncio.Event()
        self.changed = asyncio.Condition()

    def fail(self, rpc: str) -> None:
        if rpc in self.errors:
            raise self.errors[rpc]

    async def notify(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def until(self, true: Any) -> None:
        """Wait until `true()`; every RPC of the house looks again."""
        async with self.changed, asyncio.timeout(5):
            await self.changed.wait_for(true)


class PolicyRoom(policy_pb2_grpc.PolicyServiceServicer):
    def __init__(self, house: House) -> None:
        self.house = house

    async def Admit(self, request: Any, context: Any) -> Any:
        self.house.fail("Admit")
        if request.api_key != KEY:
            raise InvalidApiKey("the key is not known")
        self.house.admitted.append(request)
        response = policy_pb2.AdmitResponse(
            admission=f"jwt:{request.request_id}",
            principal=policy_pb2.Principal(tenant_id="acme", project_id="web", key_id="key_1"),
            rate_limit=policy_pb2.RateLimit(limit=60, remaining=59, reset_s=1.0),
            allowed_models=self.house.allowed_models,
        )
        if self.house.redact_input:
            response.redacted_text = self.house.redact_input
            response.findings.add(rule="email", action=ACTION_REDACT, where="input", start=0, end=3)
        if self.house.redact_texts and any("@" in text for text in request.texts.texts):
            response.redacted_texts.texts.extend(
                text.replace("@", "*") for text in request.texts.texts
            )
            response.findings.add(rule="at", action=ACTION_REDACT, where="input", start=1, end=2)
        return response

    async def Screen(self, requests: Any, context: Any) -> Any:
        text, released = "", 0
        async for request in requests:
            if request.WhichOneof("message") == "opening":
                assert request.opening.principal.tenant_id == "acme"
                continue
            text += request.text
            if (at := text.find("BOOM")) >= 0:
                yield policy_pb2.ScreenResponse(
                    text=text[released:at], screened_chars=at, blocked_by="boom"
                )
                return
            held = max(n for n in range(4) if text.endswith("BOOM"[:n]))
            out, released = text[released : len(text) - held], len(text) - held
            out = out.replace("@", "*")
            found = [Finding(rule="at", action=ACTION_REDACT, where="output")] * out.count("*")
            yield policy_pb2.ScreenResponse(text=out, screened_chars=released, findings=found)
        yield policy_pb2.ScreenResponse(text=text[released:], screened_chars=len(text))

    async def Record(self, request: Any, context: Any) -> Any:
        self.house.records.append(request)
        await self.house.notify()
        return policy_pb2.RecordResponse(sequence=len(self.house.records))


class TokenizerRoom(tokenizer_pb2_grpc.TokenizerServiceServicer):
    def __init__(self, house: House) -> None:
        self.house = house

    async def Encode(self, request: Any, context: Any) -> Any:
        self.house.fail("Encode")
        self.house.encoded.append(request)
        ids = tokenizer_pb2.TokenIds(ids=map(ord, _input_text(request)))
        return tokenizer_pb2.EncodeResponse(sequences=[ids])

    async def CountTokens(self, request: Any, context: Any) -> Any:
        return tokenizer_pb2.CountTokensResponse(counts=[len(_input_text(request))])

    async def Decode(self, request: Any, context: Any) -> Any:
        """Like some tokenizers' decoders, this one drops a blank at the start of a text."""
        assert request.keep_special_tokens and request.skip_unknown_ids
        texts = ["".join(map(chr, one.ids)).removeprefix(" ") for one in request.sequences]
        self.house.spelled += len(texts)
        return tokenizer_pb2.DecodeResponse(texts=texts)

    async def DecodeStream(self, requests: Any, context: Any) -> Any:
        text, stops, emitted = "", [], 0
        async for request in requests:
            if request.WhichOneof("message") == "options":
                self.house.decoder_options.append(request.options)
                stops = list(request.options.stop)
                continue
            self.house.fail("DecodeStream")
            text += "".join(map(chr, request.tokens.ids))
            for stop in stops:
                if (at := text.find(stop)) >= 0:
                    yield tokenizer_pb2.DecodeStreamResponse(
                        text=text[emitted:at], decoded_tokens=max(at, emitted), stop=stop
                    )
                    return
            upto = max(emitted, len(text) - max(map(len, stops), default=1) + 1)
            out, emitted = text[emitted:upto], upto
            yield tokenizer_pb2.DecodeStreamResponse(text=out, decoded_tokens=emitted)
        yield tokenizer_pb2.DecodeStreamResponse(text=text[emitted:], decoded_tokens=len(text))


class InferenceRoom(inference_pb2_grpc.InferenceServiceServicer):
    def __init__(self, house: House) -> None:
        self.house = house

    async def Generate(self, request: Any, context: Any) -> Any:
        house = self.house
        house.generated.append(request)
        house.fail("Generate")
        assert value_of(context, "weir-admission") == f"jwt:{request.request_id}"
        inputs = len(request.prompt_token_ids)
        house.engines += 1
        await house.notify()
        try:
            usage = TokenUsage(input_tokens=inputs)
            started = inference_pb2.GenerationStarted(queue_ms=0.1)
            yield inference_pb2.GenerateResponse(started=started, usage=usage)
            if request.HasField("prompt_top_logprobs"):
                ids = request.prompt_token_ids[1:]
                scored = inference_pb2.PromptScored(logprobs=logprobs(ids, request))
                yield inference_pb2.GenerateResponse(prompt_scored=scored, usage=usage)
            texts = [house.text, *house.more_texts][: request.n]
            for place in range(request.max_output_tokens):
                if place == house.hold_at:
                    await house.go.wait()
                if place == house.fail_at:
                    house.fail("token")
                for output, text in enumerate(texts):
                    if place >= len(text):
                        continue
                    usage.output_tokens += 1
                    ids = [ord(text[place])]
                    delta = inference_pb2.GenerationDelta(
                        token_ids=ids, output=output, logprobs=logprobs(ids, request)
                    )
                    yield inference_pb2.GenerateResponse(delta=delta, usage=usage)
                    await asyncio.sleep(0)
            for output, text in enumerate(texts):
                whole = len(text) <= request.max_output_tokens
                reason = (
                    inference_pb2.FINISH_REASON_STOP
                    if whole
                    else inference_pb2.FINISH_REASON_LENGTH
                )
                finished = inference_pb2.GenerationFinished(reason=reason, output=output)
                yield inference_pb2.GenerateResponse(finished=finished, usage=usage)
        finally:
            house.engines -= 1
            await house.notify()


def logprobs(token_ids: Any, request: Any) -> list[inference_pb2.TokenLogprob]:
    """Each token at -0.5, and the next characters after it, each half as likely."""
    if not request.HasField("top_logprobs"):
        return []
    return [
        inference_pb2.TokenLogprob(
            token_id=token_id,
            logprob=-0.5,
            top=[
                inference_pb2.TopLogprob(token_id=token_id + step, logprob=-0.5 - step)
                for step in range(request.top_logprobs)
            ],
        )
        for token_id in token_ids
    ]


class RepositoryRoom(inference_pb2_grpc.ModelRepositoryServiceServicer):
    def __init__(self, house: House) -> None:
        self.house = house

    async def ListModels(self, request: Any, context: Any) -> Any:
        self.house.fail("ListModels")
        models = [
            inference_pb2.Model(
                name=name, context_tokens=self.house.context_tokens, loaded_at_s=1_700_000_000
            )
            for name in ("tales", "group/rhymes")
        ]
        models += [
            inference_pb2.Model(name=name, loaded_at_s=1_700_000_000, task=task, version="2")
            for name, task in TASKS.items()
        ]
        return inference_pb2.ListModelsResponse(models=models)


class PredictionRoom(prediction_pb2_grpc.PredictionServiceServicer):
    """Every model says the same of every item."""

    def __init__(self, house: House) -> None:
        self.house = house

    async def Predict(self, request: Any, context: Any) -> Any:
        house = self.house
        assert value_of(context, "weir-admission") == f"jwt:{request.request_id}"
        house.predicted.append(request)
        house.fail("Predict")
        await computing(house)
        kind = request.input.WhichOneof("kind")
        items = request.input.rerank.documents if kind == "rerank" else None
        if items is None:
            items = getattr(getattr(request.input, kind), kind)
        predictions = [prediction(TASKS[request.model], n) for n in range(len(items))]
        usage = WorkUsage(requests=1, items=len(items), compute_us=700)
        return prediction_pb2.PredictResponse(version="2", predictions=predictions, usage=usage)


class TensorRoom(oip_pb2_grpc.GRPCInferenceServiceServicer):
    """One model: its output is its first input, under the name OUT."""

    def __init__(self, house: House) -> None:
        self.house = house

    async def ModelReady(self, request: Any, context: Any) -> Any:
        return oip_pb2.ModelReadyResponse(ready=request.version in ("", "2"))

    async def ModelMetadata(self, request: Any, context: Any) -> Any:
        metadata = oip_pb2.ModelMetadataResponse(
            name=request.name, versions=["2"], platform="onnxruntime_onnx"
        )
        metadata.inputs.add(name="IN", datatype="FP32", shape=[-1, 2])
        metadata.outputs.add(name="OUT", datatype="FP32", shape=[-1, 2])
        return metadata

    async def ModelStatistics(self, request: Any, context: Any) -> Any:
        names = [request.name] if request.name else [*TASKS]
        stats = [oip_pb2.ModelStatistics(name=name, version="2") for name in names]
        return oip_pb2.ModelStatisticsResponse(model_stats=stats)

    async def RepositoryIndex(self, request: Any, context: Any) -> Any:
        index = oip_pb2.RepositoryIndexResponse()
        for name in TASKS:
            index.models.add(name=name, version="2", state="READY")
        index.models.add(name="asleep", version="1", state="UNAVAILABLE")
        return index

    async def ModelInfer(self, request: Any, context: Any) -> Any:
        house = self.house
        assert value_of(context, "weir-admission").startswith("jwt:req_")
        house.inferred.append(request)
        house.fail("ModelInfer")
        await computing(house)
        response = oip_pb2.ModelInferResponse(
            model_name=request.model_name, model_version="2", id=request.id
        )
        first = request.inputs[0]
        output = response.outputs.add(name="OUT", datatype=first.datatype, shape=first.shape)
        if request.raw_input_contents:
            response.raw_output_contents.append(request.raw_input_contents[0])
        else:
            output.contents.CopyFrom(first.contents)
        if house.tells_work:
            rows = str(max(1, *first.shape[:1]))
            context.set_trailing_metadata((("weir-items", rows), ("weir-compute-us", "900")))
        return response


async def computing(house: House) -> None:
    """A model at work: until it may answer, or is cancelled."""
    house.predicting += 1
    await house.notify()
    try:
        if house.predict_at is not None:
            await house.predict_at.wait()
    finally:
        house.predicting -= 1
        await house.notify()


def prediction(task: str, n: int) -> pb.Prediction:
    """What a model of the task says of the item at place `n`."""
    box = pb.Box(x_min=1, y_min=2, x_max=3, y_max=4, label="cat", score=0.5)
    classes = pb.Classes(classes=[pb.ScoredClass(label="good", score=0.75)])
    spans = [pb.Span(start=0, end=2, label="name", score=0.5)]
    item = pb.Recommendation(id="m1", title="Solaris", score=2, because=["m0"])
    by_task = {
        "text-classification": pb.Prediction(classes=classes),
        "image-classification": pb.Prediction(classes=classes),
        "token-classification": pb.Prediction(spans=pb.Spans(spans=spans)),
        "embedding": pb.Prediction(embedding=pb.Embedding(values=[0.5, -0.25, n])),
        "rerank": pb.Prediction(score=float(n)),
        "object-detection": pb.Prediction(boxes=pb.Boxes(boxes=[box], width=8, height=6)),
        "ocr": pb.Prediction(lines=pb.Lines(lines=[pb.Line(box=box, text="EXIT", turned=180)])),
        "recommendation": pb.Prediction(recommendations=pb.Recommendations(items=[item])),
    }
    return by_task[task]


class BillingRoom(billing_pb2_grpc.BillingServiceServicer):
    def __init__(self, house: House) -> None:
        self.house = house

    async def Reserve(self, request: Any, context: Any) -> Any:
        self.house.fail("Reserve")
        assert value_of(context, "weir-admission") == f"jwt:{request.request_id}"
        self.house.reserved.append(request)
        hold = billing_pb2.Hold(state=billing_pb2.HOLD_STATE_HELD)
        return billing_pb2.ReserveResponse(hold=hold)

    async def Settle(self, request: Any, context: Any) -> Any:
        self.house.fail("Settle")
        assert value_of(context, "weir-admission") == f"jwt:{request.request_id}"
        if request.HasField("work"):
            self.house.work.append(request.work)
        else:
            self.house.settled.append(request.usage)
        await self.house.notify()
        nanos = request.usage.input_tokens + request.usage.output_tokens + 100 * request.work.items
        return billing_pb2.SettleResponse(charged=Money(nanos=nanos, currency_code="USD"))

    async def Release(self, request: Any, context: Any) -> Any:
        self.house.released.append(request.request_id)
        await self.house.notify()
        return billing_pb2.ReleaseResponse()


@dataclass
class Gateway:
    """A gateway that is open: its HTTP address and a channel to its gRPC services."""

    url: str
    channel: grpc.aio.Channel


@pytest.fixture
def house() -> House:
    """The peers, where everything works."""
    return House()


@pytest.fixture
def peers(house: House) -> "LocalPeers":
    """Channels to the peers."""
    return LocalPeers(house)


class LocalPeers:
    """`weir_kit.service.Peers` over one local channel."""

    def __init__(self, house: House) -> None:
        self._channel = local_channel(
            _servicer("policy.v1.PolicyService", policy_pb2_grpc, PolicyRoom(house)),
            _servicer("tokenizer.v1.TokenizerService", tokenizer_pb2_grpc, TokenizerRoom(house)),
            _servicer("inference.v1.InferenceService", inference_pb2_grpc, InferenceRoom(house)),
            _servicer(
                "inference.v1.ModelRepositoryService", inference_pb2_grpc, RepositoryRoom(house)
            ),
            _servicer("inference.v1.PredictionService", prediction_pb2_grpc, PredictionRoom(house)),
            Servicer(
                "inference.GRPCInferenceService",
                TensorRoom(house),
                oip_pb2_grpc.add_GRPCInferenceServiceServicer_to_server,
            ),
            _servicer("billing.v1.BillingService", billing_pb2_grpc, BillingRoom(house)),
            Health().servicer,
        )

    def channel(self, service: str) -> grpc.aio.Channel:
        return self._channel


@pytest.fixture
async def gateway(peers: LocalPeers) -> AsyncIterator[Gateway]:
    """The gateway, opened over the peers."""
    async with opened(peers) as open_gateway:
        yield open_gateway


@pytest.fixture
def open_gateway() -> Any:
    """`opened`, for tests that need a gateway of their own."""
    return opened


@asynccontextmanager
async def opened(peers: Any, timeout_s: float = 20.0) -> AsyncIterator[Gateway]:
    """A gateway over `peers`."""
    addresses: list[str] = []
    config = Config(http_listen=("127.0.0.1", 0), request_timeout_s=timeout_s)
    async with (
        open_service(config, peers, announce=addresses.append) as service,
        local_channel(*service.servicers) as channel,
    ):
        yield Gateway(f"http://{addresses[0]}", channel)


def _servicer(name: str, module: Any, implementation: Any) -> Servicer:
    short = name.rpartition(".")[2]
    return Servicer(
        f"weir.{name}", implementation, getattr(module, f"add_{short}Servicer_to_server")
    )


def _input_text(request: Any) -> str:
    if request.WhichOneof("input") == "chat":
        return "\n".join(message.content for message in request.chat.messages)
    return str(request.texts.texts[0])
