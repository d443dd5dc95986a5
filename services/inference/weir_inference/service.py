"""The composition root of the inference service."""

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from weir_contracts.inference.v1 import inference_pb2_grpc as rpc
from weir_inference.adapters.redis_meter import open_redis_meter
from weir_inference.adapters.span_trace import SpanTrace
from weir_inference.config import Config
from weir_inference.core.engine import Engine
from weir_inference.core.replica import Replica
from weir_inference.core.stall import condition_of
from weir_inference.rpc.explanation import ExplanationServicer
from weir_inference.rpc.inference import InferenceServicer
from weir_inference.rpc.model_repository import ModelRepositoryServicer
from weir_kit.admission import AdmissionVerifier
from weir_kit.clock import Clock, SystemClock
from weir_kit.condition import Condition
from weir_kit.service import Peers, Service, Servicer, ServiceSpec


def draw_seed() -> int:
    """A seed for a request that brings none."""
    return secrets.randbits(64)


@asynccontextmanager
async def open_service(
    config: Config,
    peers: Peers,
    *,
    clock: Clock | None = None,
    seeds: Callable[[], int] = draw_seed,
) -> AsyncIterator[Service]:
    """Load every model, then serve. Inference calls no peer."""
    del peers
    # Only here: torch takes seconds to import, and a wrong setting is told before.
    from weir_inference.adapters.engines.torch.torch_engine import TorchSettings, open_torch_engine

    clock = clock or SystemClock()
    settings = TorchSettings(
        device=config.device,
        dtype=config.dtype,
        threads=config.threads,
        pin_threads=config.pin_threads,
        kv_mb=config.kv_mb,
        max_running=config.max_running,
        max_queued=config.max_queued,
        max_queued_tokens=config.max_queued_tokens,
        step_tokens=config.step_tokens,
        prefix_caching=config.prefix_caching,
        draft_tokens=config.draft_tokens,
        quantize=config.quantize,
        kernels=config.kernels,
        cuda_graphs=config.cuda_graphs,
    )
    async with AsyncExitStack() as opened:
        # The meter opens first and closes last: requests that end with the engines are metered too.
        meter = await opened.enter_async_context(open_redis_meter(config.redis_url))
        engines: dict[str, Engine] = {}
        for model in config.models:
            engine = open_torch_engine(model.name, model.source, settings, clock)
            engines[model.name] = await opened.enter_async_context(engine)
        verifier = AdmissionVerifier(config.admission_public_key)
        replica = Replica(engines, verifier, meter, SpanTrace(clock), clock, seeds)
        yield service_of(replica, config.stall_exit_s)


def service_of(replica: Replica, stall_exit_s: float) -> Service:
    """The service of a replica, as well as its engines' steps go on."""

    def condition() -> Condition:
        return condition_of(replica.stalled_s(), broken_after_s=stall_exit_s)

    return Service("inference", servicers(replica), condition)


def servicers(replica: Replica) -> tuple[Servicer, ...]:
    """The gRPC services of a replica."""
    return (
        Servicer(
            "weir.inference.v1.InferenceService",
            InferenceServicer(replica),
            rpc.add_InferenceServiceServicer_to_server,
        ),
        Servicer(
            "weir.inference.v1.ModelRepositoryService",
            ModelRepositoryServicer(replica),
            rpc.add_ModelRepositoryServiceServicer_to_server,
        ),
        Servicer(
            "weir.inference.v1.ExplanationService",
            ExplanationServicer(replica),
            rpc.add_ExplanationServiceServicer_to_server,
        ),
    )


SPEC = ServiceSpec(name="inference", config=Config, open=open_service)
