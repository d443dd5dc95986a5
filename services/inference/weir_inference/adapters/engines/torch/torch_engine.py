"""A torch engine from a model folder: load, warm up, then turn steps, all on one thread."""

import asyncio
import importlib.util
import logging
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from weir_inference.adapters.engines.torch.backend import Backend, TorchBackend
from weir_inference.adapters.engines.torch.checkpoint import load_weights, n_parameters
from weir_inference.adapters.engines.torch.decoder import Rope
from weir_inference.adapters.engines.torch.engine import TorchEngine
from weir_inference.adapters.engines.torch.explain import Explainer
from weir_inference.adapters.engines.torch.forward import Forward, PlainForward
from weir_inference.adapters.engines.torch.kv_cache import BLOCK_SIZE
from weir_inference.adapters.engines.torch.model_config import ModelConfig
from weir_inference.adapters.engines.torch.model_runner import ModelRunner
from weir_inference.adapters.engines.torch.native.backend import NativeBackend, unfit
from weir_inference.adapters.engines.torch.native.forward import NativeForward
from weir_inference.adapters.engines.torch.native.library import library
from weir_inference.adapters.engines.torch.weights import DecoderWeights
from weir_inference.adapters.grammar import GrammarCompiler
from weir_inference.adapters.model_folder import model_folder
from weir_inference.core.engine import ModelDescription
from weir_inference.core.engine_loop import EngineLoop
from weir_inference.core.scheduler import Limits, Scheduler
from weir_kit.clock import Clock

log = logging.getLogger(__name__)

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


@dataclass(frozen=True)
class TorchSettings:
    """How to run a model.

    `device`: auto, cpu or cuda; `dtype`: auto, bf16 or fp32; `threads`: 0 for torch's choice;
    `pin_threads`: the kernels' threads keep to a CPU each;
    `quantize`: none, int8 or int4; `kernels`: auto, native or torch; `draft_tokens`: 0 for none.
    `cuda_graphs` counts where the device is cuda.
    """

    device: str = "auto"
    dtype: str = "auto"
    threads: int = 0
    pin_threads: bool = False
    kv_mb: int = 256
    max_running: int = 32
    max_queued: int = 256
    max_queued_tokens: int = 262_144
    step_tokens: int = 256
    prefix_caching: bool = True
    draft_tokens: int = 4
    quantize: str = "none"
    kernels: str = "auto"
    cuda_graphs: bool = True
    adapters_max: int = 16


class KernelsUnfit(ValueError):
    """The native kernels were asked for and cannot run the model here."""


class KVCacheTooSmall(ValueError):
    """The memory for keys and values does not hold a single block."""


@asynccontextmanager
async def open_torch_engine(
    name: str, source: str, settings: TorchSettings, clock: Clock
) -> AsyncIterator[TorchEngine]:
    """The engine of the model at `source`, a folder or hub id; ready on entering, stopped after.

    Raises `ModelFolderNotFound`, `UnsupportedModel`, `BadCheckpoint`, `KVCacheTooSmall`,
    `KernelsUnfit`.
    """
    event_loop = asyncio.get_running_loop()
    began_s = clock.monotonic_s()
    folder = await asyncio.to_thread(model_folder, source)
    config = ModelConfig.load(folder)
    with ThreadPoolExecutor(1, thread_name_prefix=f"engine-{name}") as thread:
        runner, limits = await event_loop.run_in_executor(
            thread, load_runner, folder, config, settings
        )
        model = ModelDescription(
            name=name,
            engine="torch",
            architecture=config.architecture,
            context_tokens=limits.context_tokens,
            vocab_size=config.vocab_size,
            parameters=n_parameters(config),
            dtype=dtype_of(config, settings),
            loaded_at_s=clock.now_s(),
            quantization="" if settings.quantize == "none" else settings.quantize,
        )
        engine = EngineLoop(model, Scheduler(limits, config.eos_token_ids), runner, clock)
        turning = event_loop.run_in_executor(thread, engine.run)
        log.info(
            "model %s ready in %.1f s: %s, %.1f M parameters, %s%s, %s kernels, %d KV blocks",
            name,
            clock.monotonic_s() - began_s,
            config.architecture,
            model.parameters / 1e6,
            model.dtype,
            model.quantization and f" as {model.quantization}",
            runner.backend.name,
            limits.n_blocks,
        )
        explainer = Explainer(runner)
        try:
            yield TorchEngine(engine, runner, GrammarCompiler(folder), explainer, clock)
        finally:
            engine.stop()
            await turning
            await asyncio.to_thread(explainer.close)


def load_runner(
    folder: Path, config: ModelConfig, settings: TorchSettings
) -> tuple[ModelRunner, Limits]:
    """A warm runner and the scheduler's bounds.

    Called on the engine's thread, which alone uses the runner from then on.
    """
    if settings.threads:
        torch.set_num_threads(settings.threads)
    backend = open_backend(config, settings)
    limits = limits_of(config, settings, backend.block_bytes)
    weights = load_weights(folder, config, backend)
    backend.open_cache(limits.n_blocks, Rope.of(config, limits.context_tokens))
    forward = open_forward(config, weights, backend, settings)
    runner = ModelRunner(config, weights, backend, forward, settings.adapters_max)
    runner.warm_up()
    # Last: a thread that torch starts inherits where its starter may run.
    pins = settings.pin_threads and isinstance(backend, NativeBackend)
    if pins and not library().weir_pin_threads():
        log.warning("the threads that compute are not pinned: the system refused")
    return runner, limits


def open_backend(config: ModelConfig, settings: TorchSettings) -> Backend:
    """The device's kernels where they can run this model, else torch.

    Raises `KernelsUnfit` where the settings ask for the kernels and they cannot.
    """
    device, dtype = device_of(settings.device), dtype_of(config, settings)
    if settings.kernels != "torch":
        why_not = "the device is not the CPU" if device != "cpu" else unfit(config)
        if why_not is None:
            return NativeBackend(config, dtype, settings.quantize)
        if settings.kernels == "native":
            raise KernelsUnfit(f"the native kernels cannot run this model here: {why_not}")
        if device == "cuda" and importlib.util.find_spec("triton") is not None:
            # Only here: Triton comes with torch's CUDA builds alone.
            from weir_inference.adapters.engines.torch.cuda.backend import CudaBackend

            return CudaBackend(config, DTYPES[dtype], torch.device(device), settings.quantize)
        log.info("torch computes: %s", "there is no triton" if device == "cuda" else why_not)
    return TorchBackend(config, DTYPES[dtype], torch.device(device), settings.quantize)


def open_forward(
    config: ModelConfig, weights: DecoderWeights, backend: Backend, settings: TorchSettings
) -> Forward:
    """How a backend, its cache open, runs the model. CUDA graphs are captured here."""
    if isinstance(backend, NativeBackend):
        return NativeForward(config, weights, backend)
    if backend.name != "cuda":
        return PlainForward(config, weights, backend)
    from weir_inference.adapters.engines.torch.cuda.backend import CudaBackend
    from weir_inference.adapters.engines.torch.cuda.capture import capture_on
    from weir_inference.adapters.engines.torch.cuda.forward import CudaForward

    assert isinstance(backend, CudaBackend)
    capture = capture_on(backend.device) if settings.cuda_graphs else None
    with torch.inference_mode():
        return CudaForward(config, weights, backend, capture, settings.max_running)


def limits_of(config: ModelConfig, settings: TorchSettings, block_bytes: int) -> Limits:
    """The scheduler's bounds; a cache smaller than the model's context shortens what is served."""
    n_blocks = settings.kv_mb * 2**20 // block_bytes
    if n_blocks == 0:
        raise KVCacheTooSmall(
            f"{settings.kv_mb} MB of KV cache hold no block: one takes {block_bytes / 2**20:.1f} MB"
        )
    context_tokens = min(config.max_positions, n_blocks * BLOCK_SIZE)
    if context_tokens < config.max_positions:
        log.warning(
            "the KV cache of %d MB holds %d tokens: fewer than the model's context of %d",
            settings.kv_mb,
            context_tokens,
            config.max_positions,
        )
    return Limits(
        n_blocks=n_blocks,
        block_size=BLOCK_SIZE,
        context_tokens=context_tokens,
        max_running=settings.max_running,
        max_queued=settings.max_queued,
        max_queued_tokens=settings.max_queued_tokens,
        step_tokens=settings.step_tokens,
        prefix_caching=settings.prefix_caching,
        draft_tokens=settings.draft_tokens,
    )


def dtype_of(config: ModelConfig, settings: TorchSettings) -> str:
    """`bf16` or `fp32`."""
    return config.dtype if settings.dtype == "auto" else settings.dtype


def device_of(wish: str) -> str:
    """`auto` is CUDA where there is a GPU."""
    if wish != "auto":
        return wish
    return "cuda" if torch.cuda.is_available() else "cpu"
