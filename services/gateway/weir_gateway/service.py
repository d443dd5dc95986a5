"""The gateway's composition root."""

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from weir_contracts.gateway.v1.generation_pb2_grpc import add_GenerationServiceServicer_to_server
from weir_contracts.gateway.v1.model_pb2_grpc import add_ModelServiceServicer_to_server
from weir_gateway.adapters.billing import BillingPeer
from weir_gateway.adapters.inference import InferencePeer
from weir_gateway.adapters.policy import PolicyPeer
from weir_gateway.adapters.readiness import HealthReadiness
from weir_gateway.adapters.tokenizer import TokenizerPeer
from weir_gateway.config import Config
from weir_gateway.core.catalogue import Catalogue
from weir_gateway.core.closings import Closings
from weir_gateway.core.generate import Generation
from weir_gateway.core.models import Models
from weir_gateway.core.ports import Ports
from weir_gateway.rpc.generation import GenerationServicer
from weir_gateway.rpc.models import ModelServicer
from weir_gateway.rpc.openai.app import openai_app
from weir_gateway.rpc.openai.server import serve_http
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
    generation = Generation(ports, models, closings, clock)
    catalogue = Catalogue(ports.policy, ports.tokenizer, models)
    timeout_s = config.request_timeout_s
    app = openai_app(
        generation,
        catalogue,
        HealthReadiness(channels),
        clock=clock,
        ids=ids,
        timeout_s=timeout_s,
    )
    generation_servicer = GenerationServicer(generation, catalogue, ids, timeout_s)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(closings.drain)
        try:
            announce(await stack.enter_async_context(serve_http(app, *config.http_listen)))
        except OSError as error:
            raise ConfigError(f"WEIR_HTTP_LISTEN is wrong: {error}") from error
        yield Service(
            "gateway",
            (
                Servicer(
                    "weir.gateway.v1.GenerationService",
                    generation_servicer,
                    add_GenerationServiceServicer_to_server,
                ),
                Servicer(
                    "weir.gateway.v1.ModelService",
                    ModelServicer(catalogue),
                    add_ModelServiceServicer_to_server,
                ),
            ),
        )


SPEC = ServiceSpec(name="gateway", config=Config, open=open_service)
