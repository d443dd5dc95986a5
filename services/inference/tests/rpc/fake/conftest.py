"""The replica and its servicers over an engine that does what the test says."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from weir_contracts.inference.v1 import inference_pb2 as pb
from weir_contracts.inference.v1 import inference_pb2_grpc as rpc
from weir_inference.core.engine import Event, Finished, Load, ModelDescription
from weir_inference.core.explanation import Explanation, ExplanationRequest
from weir_inference.core.grammar import Grammar, GrammarSpec
from weir_inference.core.meter import MeterRecord
from weir_inference.core.model_host import ModelHost
from weir_inference.core.phase import Phase
from weir_inference.core.predictor import Predictor
from weir_inference.core.replica import Replica
from weir_inference.core.request import Ending, EndReason, Request
from weir_inference.core.served_models import ServedModels
from weir_inference.service import service_of
from weir_kit.admission import METADATA_KEY, Admission, AdmissionSigner, AdmissionVerifier
from weir_kit.clock import ManualClock
from weir_kit.errors import WeirError
from weir_kit.local import local_channel
from weir_kit.service import Service

MODEL = ModelDescription("base", "fake", "llama", 64, 50, 1000, "fp32", 1_800_000_000.0)


class FakeGeneration:
    """A request whose events the test tells."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.closed = False
        self.told: asyncio.Queue[Event | WeirError] = asyncio.Queue()
        self._reason: EndReason | None = None
        self._n_output = 0

    def tell(self, *news: Event | WeirError) -> None:
        for one in news:
            self._n_output += len(getattr(one, "token_ids", ()))
            if isinstance(one, Finished):
                self._reason = one.reason
            if isinstance(one, WeirError):
                self._reason = EndReason.ERROR
            self.told.put_nowait(one)

    async def events(self) -> AsyncGenerator[Event, None]:
        while True:
            event = await self.told.get()
            if isinstance(event, WeirError):
                raise event
            yield event
            if isinstance(event, Finished):
                return

    def close(self) -> Ending:
        self.closed = True
        reason = self._reason or EndReason.CANCELLED
        n_input = len(self.request.prompt_token_ids)
        return Ending(reason, n_input, self._n_output, 0.0, 1.0, 2.0, 3.0)


class FakeEngine:
    """An `Engine` that writes down what it is asked."""

    def __init__(self) -> None:
        self.model = MODEL
        self.submitted: list[FakeGeneration] = []
        self.compiled: list[GrammarSpec] = []
        self.explained: list[ExplanationRequest] = []
        self.loaded: dict[str, str] = {}
        self.refuses: WeirError | None = None
        self.stalled = 0.0
        self.may_explain = asyncio.Event()

    def submit(self, request: Request) -> FakeGeneration:
        if self.refuses is not None:
            raise self.refuses
        self.submitted.append(FakeGeneration(request))
        return self.submitted[-1]

    async def nth(self, n: int) -> FakeGeneration:
        """The n-th request, from 0, once it is submitted."""
        await until(lambda: len(self.submitted) > n)
        return self.submitted[n]

    def load(self) -> Load:
        return Load(*range(1, 14))

    def stalled_s(self) -> float:
        return self.stalled

    async def compile_grammar(self, spec: GrammarSpec) -> Grammar:
        self.compiled.append(spec)
        if self.refuses is not None:
            raise self.refuses
        return FakeGrammar(spec)

    async def load_adapter(self, name: str, source: str) -> ModelDescription:
        if self.refuses is not None:
            raise self.refuses
        self.loaded[name] = source
        return replace(MODEL, name=name, base_model=MODEL.name, parameters=7)

    async def unload_adapter(self, name: str) -> None:
        del self.loaded[name]

    async def explain(self, request: ExplanationRequest) -> Explanation:
        self.explained.append(request)
        await self.may_explain.wait()
        n_before = len(request.prompt_token_ids) + len(request.output_token_ids) - 1
        return Explanation(-0.5, tuple(range(n_before)))


@dataclass(frozen=True)
class FakeGrammar:
    """A `Grammar` that says what it was made of."""

    spec: GrammarSpec

    def matcher(self) -> Any:
        raise AssertionError("nothing is sampled here")


class Notes:
    """A `Meter` and a `Trace` that keep what they are given."""

    def __init__(self) -> None:
        self.metered: list[MeterRecord] = []
        self.phases: list[Phase] = []

    def record(self, one: Any) -> None:
        (self.metered if isinstance(one, MeterRecord) else self.phases).append(one)


@dataclass(frozen=True)
class FakeBench:
    """A running replica, its fake engine, and what a gateway would hold."""

    engine: FakeEngine
    notes: Notes
    service: Service
    channel: grpc.aio.Channel
    signer: AdmissionSigner

    @property
    def inference(self) -> rpc.InferenceServiceStub:
        return rpc.InferenceServiceStub(self.channel)

    @property
    def models(self) -> rpc.ModelRepositoryServiceStub:
        return rpc.ModelRepositoryServiceStub(self.channel)

    @property
    def explanations(self) -> rpc.ExplanationServiceStub:
        return rpc.ExplanationServiceStub(self.channel)

    def generate(
        self, *, timeout: float = 30.0, **fields: Any
    ) -> "grpc.aio.UnaryStreamCall[pb.GenerateRequest, pb.GenerateResponse]":
        usual = {
            "request_id": "req_1",
            "model": "base",
            "prompt_token_ids": [3, 4, 5],
            "max_output_tokens": 8,
        }
        request = pb.GenerateRequest(**(usual | fields))
        admission = Admission(request.request_id, "ten_1", "prj", "key", request.model, 2e9)
        metadata = ((METADATA_KEY, self.signer.sign(admission)),)
        return self.inference.Generate(request, metadata=metadata, timeout=timeout)


async def until(holds: Any) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0)


@dataclass(frozen=True)
class AdmissionKey:
    """Policy's key pair."""

    signer: AdmissionSigner
    public_pem: bytes


def new_key() -> AdmissionKey:
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return AdmissionKey(AdmissionSigner(private), public)


@asynccontextmanager
async def open_fake() -> AsyncIterator[FakeBench]:
    key = new_key()
    engine, notes = FakeEngine(), Notes()
    verifier = AdmissionVerifier(key.public_pem)
    clock, served = ManualClock(), ServedModels({"base": engine})
    replica = Replica(served, verifier, notes, notes, clock, lambda: 2**64 - 2)
    host = ModelHost(None, served, clock, budget_mb=1)  # type: ignore[arg-type]
    predictor = Predictor(host, verifier, notes, notes, clock)
    service = service_of(replica, predictor, clock, stall_exit_s=30.0)
    async with local_channel(*service.servicers) as channel:
        yield FakeBench(engine, notes, service, channel, key.signer)


@pytest.fixture(scope="session")
def opened_fake() -> Any:
    """`async with opened_fake() as bench`, for tests that need more than one."""
    return open_fake


@pytest.fixture(scope="session")
def admission_key() -> AdmissionKey:
    return new_key()


@pytest.fixture
async def fake() -> AsyncIterator[FakeBench]:
    async with open_fake() as bench:
        yield bench
