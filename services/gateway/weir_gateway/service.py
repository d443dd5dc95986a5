"""The gateway's composition root."""

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version

from starlette.applications import Starlette

from weir_contracts.gateway.v1.generation_pb2_grpc import add_GenerationServiceServicer_to_server
from weir_contracts.gateway.v1.model_pb2_grpc import add_ModelServiceServicer_to_server
from weir_contracts.gateway.v1.prediction_pb2_grpc import add_PredictionServiceServicer_to_server
from weir_contracts.oip.v2.inference_pb2_grpc import add_GRPCInferenceServiceServicer_to_server
from weir_gateway.adapters.billing import BillingPeer
from weir_gateway.adapters.inference import InferencePeer
from weir_gateway.adapters.policy import PolicyPeer
from weir_gateway.adapters.predictions import TensorModelsPeer
from weir_gateway.adapters.readiness import HealthReadiness
from weir_gateway.adapters.tokenizer import TokenizerPeer
from weir_gateway.config import Config
from weir_gateway.core.catalogue import Catalogue
from weir_gateway.core.closings import Closings
from weir_gateway.core.generate import Generation
from weir_gateway.core.models import Models
from weir_gateway.core.ports import Ports, Readiness
from weir_gateway.core.predict import Predictions
from weir_gateway.core.running import Running
from weir_gateway.rpc.generation import GenerationServicer
from weir_gateway.rpc.models import ModelServicer
from weir_gateway.rpc.oip.calls import OipCalls
from weir_gateway.rpc.oip.rest import oip_routes
from weir_gateway.rpc.oip.rest_generate import GenerateHandlers
from weir_gateway.rpc.oip.servicer import OipServicer
from weir_gateway.rpc.oip.tensor_catalogue import TensorCatalogue
from weir_gateway.rpc.oip.text_calls import TextCalls
from weir_gateway.rpc.openai.app import openai_app
from weir_gateway.rpc.openai.server import serve_http
from weir_gateway.rpc.predictions import PredictionServicer
from weir_kit.clock import Clock, SystemClock
from weir_kit.config import ConfigError
from weir_kit.ids import Ids, RandomIds
from weir_kit.service import Peers, Service, Servicer, ServiceSpec

log = logging.getLogger(__name__)

PEERS = ("policy", "tokenizer", "inference", "billing")
SYSTEM_CLOCK = SystemClock()
RANDOM_IDS = RandomIds()


def log_address(address: str) -> None:
    """Say in the log where HTTP is served."""
    log.info("HTTP on %s", address)


@asynccontextmanager
async def open_service(
    config: Config,
    peers: Peers,
    *,
    clock: Clock = SYSTEM_CLOCK,
    ids: Ids = RANDOM_IDS,
    announce: Callable[[str], None] = log_address,
) -> AsyncGenerator[Service, None]:
    """Serve HTTP while open, and hand out the gRPC servicers; `announce` is told HTTP's address.

    On the way out: HTTP drains first, then what was used is settled and recorded.
    """
    channels = {name: peers.channel(name) for name in PEERS}
    ports = Ports(
        policy=PolicyPeer(channels["policy"]),
        tokenizer=TokenizerPeer(channels["tokenizer"]),
        inference=InferencePeer(channels["inference"]),
        billing=BillingPeer(channels["billing"]),
    )
    models, closings = Models(ports.inference, clock), Closings()
    around = (ports, models, Running(closings), closings, clock)
    catalogue = Catalogue(ports.policy, ports.tokenizer, models)
    tensor_models = TensorModelsPeer(channels["inference"])
    house = _House(
        Generation(*around),
        Predictions(*around),
        catalogue,
        TensorCatalogue(catalogue, tensor_models, version("weir-gateway")),
        HealthReadiness(channels),
        clock,
        ids,
        config.request_timeout_s,
    )
    async with AsyncExitStack() as stack:
        stack.push_async_callback(closings.drain)
        serving = serve_http(_app(house), *config.http_listen)
        try:
            announce(await stack.enter_async_context(serving))
        except OSError as error:
            raise ConfigError(f"WEIR_HTTP_LISTEN is wrong: {error}") from error
        yield Service("gateway", _servicers(house))


@dataclass(frozen=True)
class _House:
    """What both wires are built over."""

    generation: Generation
    predictions: Predictions
    catalogue: Catalogue
    tensors: TensorCatalogue
    readiness: Readiness
    clock: Clock
    ids: Ids
    timeout_s: float

    @property
    def calls(self) -> OipCalls:
        """Calls by the Open Inference Protocol."""
        return OipCalls(TextCalls(self.generation), self.predictions, self.catalogue)


def _app(house: _House) -> Starlette:
    generate = GenerateHandlers(TextCalls(house.generation), house.catalogue, house.timeout_s)
    oip = oip_routes(
        house.calls,
        generate,
        house.tensors,
        house.readiness,
        ids=house.ids,
        timeout_s=house.timeout_s,
    )
    return openai_app(
        house.generation,
        house.predictions,
        house.catalogue,
        house.readiness,
        clock=house.clock,
        ids=house.ids,
        timeout_s=house.timeout_s,
        more=oip,
    )


def _servicers(house: _House) -> tuple[Servicer, ...]:
    catalogue, ids, timeout_s = house.catalogue, house.ids, house.timeout_s
    return (
        Servicer(
            "weir.gateway.v1.GenerationService",
            GenerationServicer(house.generation, catalogue, ids, timeout_s),
            add_GenerationServiceServicer_to_server,
        ),
        Servicer(
            "weir.gateway.v1.PredictionService",
            PredictionServicer(house.predictions, ids, timeout_s),
            add_PredictionServiceServicer_to_server,
        ),
        Servicer(
            "weir.gateway.v1.ModelService",
            ModelServicer(catalogue),
            add_ModelServiceServicer_to_server,
        ),
        Servicer(
            "inference.GRPCInferenceService",
            OipServicer(house.calls, house.tensors, catalogue, house.readiness, ids, timeout_s),
            add_GRPCInferenceServiceServicer_to_server,
        ),
    )


SPEC = ServiceSpec(name="gateway", config=Config, open=open_service)
