"""A stack of fakes that answer by the contracts, on a real port, and commands run against it."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from weir_cli import screen
from weir_cli.main import main
from weir_cli.stack import state
from weir_cli.stack.home import Home
from weir_cli.stack.program import created_at_s
from weir_cli.stack.secrets import Secrets, write
from weir_cli.stack.state import ProcessState, StackState
from weir_contracts.billing.v1 import account_pb2, account_pb2_grpc, price_pb2, price_pb2_grpc
from weir_contracts.common.v1.money_pb2 import Money
from weir_contracts.common.v1.prediction_pb2 import Prediction
from weir_contracts.common.v1.usage_pb2 import WorkUsage
from weir_contracts.gateway.v1 import model_pb2, model_pb2_grpc, prediction_pb2, prediction_pb2_grpc
from weir_contracts.inference.v1 import inference_pb2, inference_pb2_grpc
from weir_contracts.policy.v1 import tenant_pb2, tenant_pb2_grpc
from weir_kit.errors import NotFound, WeirError
from weir_kit.inbound import Inbound
from weir_kit.metadata import value_of
from weir_kit.server import GrpcServer
from weir_kit.service import Servicer

SERVICES = ("gateway", "inference", "billing", "policy", "tokenizer")


@dataclass
class Gateway(model_pb2_grpc.ModelServiceServicer, prediction_pb2_grpc.PredictionServiceServicer):
    """Has models of the `tasks`, and answers each call with `predictions`."""

    tasks: dict[str, str] = field(default_factory=dict)
    predictions: list[Prediction] = field(default_factory=list)
    asked: list[prediction_pb2.PredictRequest] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)

    async def ListModels(self, request: Any, context: Any) -> Any:
        self.keys.append(value_of(context, "authorization") or "")
        models = [model_pb2.Model(name=name, task=task) for name, task in self.tasks.items()]
        return model_pb2.ListModelsResponse(models=models)

    async def Predict(self, request: Any, context: Any) -> Any:
        self.asked.append(request)
        return prediction_pb2.PredictResponse(
            request_id="req_1",
            model=request.model,
            version="2",
            predictions=self.predictions,
            usage=WorkUsage(requests=1, items=len(self.predictions), compute_us=1500),
            cost=Money(nanos=20_000, currency_code="USD"),
        )


@dataclass
class Inference(inference_pb2_grpc.ModelRepositoryServiceServicer):
    """Serves `models`; each stream of a watch gives the next of `streams`, then its error."""

    models: list[inference_pb2.Model] = field(default_factory=list)
    asked: list[Any] = field(default_factory=list)
    error: WeirError | None = None
    streams: list[tuple[list[inference_pb2.WatchModelsResponse], WeirError | None]] = field(
        default_factory=list
    )

    async def ListModels(self, request: Any, context: Any) -> Any:
        return inference_pb2.ListModelsResponse(models=self.models)

    async def LoadModel(self, request: Any, context: Any) -> Any:
        self._note(request)
        return inference_pb2.LoadModelResponse(model=self.models[0])

    async def UnloadModel(self, request: Any, context: Any) -> Any:
        self._note(request)
        return inference_pb2.UnloadModelResponse()

    async def SetAlias(self, request: Any, context: Any) -> Any:
        self._note(request)
        return inference_pb2.SetAliasResponse()

    async def WatchModels(self, request: Any, context: Any) -> Any:
        changes, error = self.streams.pop(0)
        for change in changes:
            yield change
        if error:
            raise error

    def _note(self, request: Any) -> None:
        self.asked.append(request)
        if self.error:
            raise self.error


@dataclass
class Billing(price_pb2_grpc.PriceServiceServicer, account_pb2_grpc.AccountServiceServicer):
    """Keeps price books, and has `entries`."""

    books: list[price_pb2.PriceBook] = field(default_factory=list)
    entries: list[account_pb2.Entry] = field(default_factory=list)

    async def GetPriceBook(self, request: Any, context: Any) -> Any:
        if not self.books:
            raise NotFound("no price book is published")
        return price_pb2.GetPriceBookResponse(price_book=self.books[-1])

    async def PublishPriceBook(self, request: Any, context: Any) -> Any:
        self.books.append(
            price_pb2.PriceBook(
                version=len(self.books) + 1,
                currency_code=request.currency_code,
                prices=request.prices,
            )
        )
        return price_pb2.PublishPriceBookResponse(price_book=self.books[-1])

    async def ListEntries(self, request: Any, context: Any) -> Any:
        return account_pb2.ListEntriesResponse(entries=self.entries)


@dataclass
class Policy(tenant_pb2_grpc.TenantServiceServicer):
    """Has `keys`."""

    keys: list[tenant_pb2.Key] = field(default_factory=list)

    async def ListKeys(self, request: Any, context: Any) -> Any:
        return tenant_pb2.ListKeysResponse(keys=self.keys)


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its answer, which must be one line."""
        assert (self.code, self.out.count("\n")) == (0, 1), self.err
        return json.loads(self.out)


@dataclass
class FakeStack:
    """The services, and `await weir("models", "--json")`."""

    weir: Callable[..., Any]
    gateway: Gateway = field(default_factory=Gateway)
    inference: Inference = field(default_factory=Inference)
    billing: Billing = field(default_factory=Billing)
    policy: Policy = field(default_factory=Policy)


@pytest.fixture
async def stack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> AsyncIterator[FakeStack]:
    def run(arguments: tuple[str, ...]) -> Done:
        monkeypatch.setattr(sys, "argv", ["weir", *arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        code = ended.value.code or 0
        assert isinstance(code, int)
        return Done(code, *capfd.readouterr())

    stack = FakeStack(lambda *arguments: asyncio.to_thread(run, arguments))
    home = Home(tmp_path / "home")
    home.make()
    secrets = Secrets(home.secrets)
    write(secrets.demo_key, b"weir_sk_demo")
    write(secrets.service_token, b"token")
    monkeypatch.setenv("WEIR_HOME", str(home.folder))
    monkeypatch.delenv("WEIR_API_KEY", raising=False)
    for variable in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(variable, "127.0.0.1,localhost")
    monkeypatch.setattr(screen.out, "width", 80)
    server = GrpcServer(Inbound(None))
    for name, servicer, add in (
        ("gateway.v1.ModelService", stack.gateway, model_pb2_grpc),
        ("gateway.v1.PredictionService", stack.gateway, prediction_pb2_grpc),
        ("inference.v1.ModelRepositoryService", stack.inference, inference_pb2_grpc),
        ("billing.v1.PriceService", stack.billing, price_pb2_grpc),
        ("billing.v1.AccountService", stack.billing, account_pb2_grpc),
        ("policy.v1.TenantService", stack.policy, tenant_pb2_grpc),
    ):
        add_to_server = getattr(add, f"add_{name.rsplit('.', 1)[1]}Servicer_to_server")
        server.add(Servicer(f"weir.{name}", servicer, add_to_server))
    address = await server.start("127.0.0.1:0")
    state.write(home, _running(address))
    with home.lock():
        yield stack
    await server.drain(0)


def _running(address: str) -> StackState:
    return StackState(
        mode="embedded",
        http_url="http://127.0.0.1:1",
        grpc_address=address,
        model="weir-tales",
        addresses=dict.fromkeys(SERVICES, address),
        supervisor=ProcessState("weir up", os.getpid(), created_at_s(os.getpid()), ()),
        processes=(),
        ready=True,
    )
