"""The composition root of the inference service."""

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from weir_contracts.inference.v1 import inference_pb2_grpc as rpc
from weir_contracts.inference.v1 import prediction_pb2_grpc as prediction_rpc
from weir_contracts.oip.v2 import inference_pb2_grpc as oip_rpc
from weir_inference.adapters.engines.onnx.onnx_settings import OnnxSettings
from weir_inference.adapters.engines.openai.openai_settings import OpenAiSettings
from weir_inference.adapters.redis_meter import open_redis_meter
from weir_inference.adapters.repository.model_cache import ModelCache
from weir_inference.adapters.repository.open_model import ModelOpener
from weir_inference.adapters.repository.shelf import Shelf
from weir_inference.adapters.repository.state import StateFile
from weir_inference.adapters.span_trace import SpanTrace
from weir_inference.config import Config
from weir_inference.core.model_host import ModelHost
from weir_inference.core.predictor import Predictor
from weir_inference.core.replica import Replica
from weir_inference.core.served_models import ServedModels
from weir_inference.core.stall import condition_of
from weir_inference.rpc.explanation import ExplanationServicer
from weir_inference.rpc.inference import InferenceServicer
from weir_inference.rpc.model_repository import ModelRepositoryServicer
from weir_inference.rpc.oip.servicer import OipServicer
from weir_inference.rpc.prediction import PredictionServicer
from weir_kit.admission import AdmissionVerifier
from weir_kit.clock import Clock, SystemClock
from weir_kit.condition import Condition
from weir_kit.service import Peers, Service, Servicer, ServiceSpec

CACHE_BYTES_MAX = 16 << 30


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
    from weir_inference.adapters.engines.torch.torch_engine import TorchSettings

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
        state = Path(config.model_state or opened.enter_context(TemporaryDirectory()))
        upstreams = OpenAiSettings(
            allow_private=config.upstream_private,
            keys=Path(config.upstream_keys) if config.upstream_keys else None,
        )
        opener = ModelOpener(settings, OnnxSettings(), clock, upstreams)
        shelf = open_shelf(config, state, opener, clock)
        served = ServedModels({})
        required = [model.name for model in config.models]
        host = ModelHost(shelf, served, clock, config.model_mb, required)
        await opened.enter_async_context(host.running())
        verifier, trace = AdmissionVerifier(config.admission_public_key), SpanTrace(clock)
        replica = Replica(served, verifier, meter, trace, clock, seeds)
        predictor = Predictor(host, verifier, meter, trace, clock)
        yield service_of(replica, predictor, clock, config.stall_exit_s)


def open_shelf(config: Config, state: Path, opener: ModelOpener, clock: Clock) -> Shelf:
    """The models of the settings, with what is fetched and decided in `state`."""
    fetched = state / "models"
    fetched.mkdir(parents=True, exist_ok=True)
    folders = [fetched, *([Path(config.repository)] if config.repository else [])]
    return Shelf(
        folders,
        {model.name: model.source for model in config.models},
        ModelCache(state / "cache", CACHE_BYTES_MAX, clock),
        StateFile(state / "decisions.json"),
        opener,
    )


def service_of(
    replica: Replica, predictor: Predictor, clock: Clock, stall_exit_s: float
) -> Service:
    """The service of a replica, as well as its engines' steps go on."""

    def condition() -> Condition:
        return condition_of(replica.stalled_s(), broken_after_s=stall_exit_s)

    return Service("inference", servicers(replica, predictor, clock), condition)


def servicers(replica: Replica, predictor: Predictor, clock: Clock) -> tuple[Servicer, ...]:
    """The gRPC services of a replica."""
    return (
        Servicer(
            "weir.inference.v1.InferenceService",
            InferenceServicer(replica),
            rpc.add_InferenceServiceServicer_to_server,
        ),
        Servicer(
            "weir.inference.v1.PredictionService",
            PredictionServicer(predictor, clock),
            prediction_rpc.add_PredictionServiceServicer_to_server,
        ),
        Servicer(
            "inference.GRPCInferenceService",
            OipServicer(predictor, clock, version("weir-inference")),
            oip_rpc.add_GRPCInferenceServiceServicer_to_server,
        ),
        Servicer(
            "weir.inference.v1.ModelRepositoryService",
            ModelRepositoryServicer(replica, predictor.host),
            rpc.add_ModelRepositoryServiceServicer_to_server,
        ),
        Servicer(
            "weir.inference.v1.ExplanationService",
            ExplanationServicer(replica),
            rpc.add_ExplanationServiceServicer_to_server,
        ),
    )


SPEC = ServiceSpec(name="inference", config=Config, open=open_service)
