"""An engine that is vLLM's `AsyncLLM`."""

import asyncio
import logging
import math
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors import safe_open

from weir_inference.adapters.engines.vllm.arguments import (
    GRAMMARS,
    VllmGrammar,
    engine_arguments,
    sampling_parameters,
)
from weir_inference.adapters.engines.vllm.library import Vllm
from weir_inference.adapters.engines.vllm.outputs import events_of
from weir_inference.adapters.engines.vllm.statistics import Statistics
from weir_inference.adapters.model_folder import (
    ADAPTER_WEIGHTS,
    ModelFolderNotFound,
    adapter_folder,
)
from weir_inference.core.engine import Event, Generation, Load, ModelDescription
from weir_inference.core.explanation import Explanation, ExplanationRequest
from weir_inference.core.grammar import Grammar, GrammarSpec
from weir_inference.core.request import Request
from weir_inference.core.streamed_requests import StreamedRequests
from weir_inference.core.vllm_spec import Policy, VllmSpec
from weir_kit.clock import Clock
from weir_kit.errors import (
    AlreadyExists,
    InvalidArgument,
    ModelNotFound,
    QueueFull,
    Unavailable,
)

log = logging.getLogger(__name__)

REQUESTS_MAX = 1024
DTYPES = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}


@asynccontextmanager
async def open_vllm_engine(
    name: str, folder: Path, spec: VllmSpec, clock: Clock, requests_max: int = REQUESTS_MAX
) -> AsyncIterator["VllmEngine"]:
    """The engine of the model in a folder; ready on entering, stopped after.

    Raises `VllmMissing`, and `ValueError` for what vLLM cannot run.
    """
    began_s = clock.monotonic_s()
    vllm = await asyncio.to_thread(Vllm)
    statistics = Statistics()
    # On a thread: it takes from seconds to minutes.
    llm = await asyncio.to_thread(_load, vllm, folder, spec, statistics)
    try:
        config = llm.vllm_config.model_config
        model = ModelDescription(
            name=name,
            engine="vllm",
            architecture=config.hf_config.model_type,
            context_tokens=config.max_model_len,
            vocab_size=config.get_vocab_size(),
            parameters=await asyncio.to_thread(_n_parameters, folder, "*.safetensors"),
            dtype=DTYPES.get(str(config.dtype).removeprefix("torch."), ""),
            loaded_at_s=clock.now_s(),
        )
        log.info("model %s ready in %.1f s by vLLM", name, clock.monotonic_s() - began_s)
        requests = StreamedRequests(model, requests_max, clock)
        try:
            yield VllmEngine(model, vllm, llm, spec, statistics, requests, clock)
        finally:
            await requests.stop()
    finally:
        await asyncio.to_thread(llm.shutdown)


def _load(vllm: Vllm, folder: Path, spec: VllmSpec, statistics: Statistics) -> Any:
    try:
        arguments = vllm.AsyncEngineArgs(**engine_arguments(folder, spec))
        return vllm.AsyncLLM.from_engine_args(arguments, stat_loggers=[statistics])
    except (RuntimeError, OSError) as error:
        raise ValueError(f"vLLM cannot run this model here: {error}") from error


class VllmEngine:
    """An `Engine`."""

    def __init__(
        self,
        model: ModelDescription,
        vllm: Vllm,
        llm: Any,
        spec: VllmSpec,
        statistics: Statistics,
        requests: StreamedRequests,
        clock: Clock,
    ) -> None:
        self.model: ModelDescription = model
        self._vllm = vllm
        self._llm = llm
        self._spec = spec
        self._statistics = statistics
        self._requests = requests
        self._clock = clock
        self._adapters: dict[str, Any] = {}
        self._n_adapters = 0  # ever loaded

    def submit(self, request: Request) -> Generation:
        """See `Engine.submit`."""
        return self._requests.submit(request, lambda: self._stream(request))

    def load(self) -> Load:
        """See `Engine.load`. Which requests run and wait is as vLLM's last step had it."""
        seen = self._requests.load()
        n_live = seen.queued_requests + seen.running_requests
        queued = min(self._statistics.waiting, n_live)
        blocks = self._llm.vllm_config.cache_config.num_gpu_blocks or 0
        return replace(
            seen,
            queued_requests=queued,
            running_requests=n_live - queued,
            kv_blocks_total=blocks,
            kv_blocks_held=round(self._statistics.kv_usage * blocks) if n_live else 0,
            steps=self._statistics.steps,
            preemptions=self._statistics.preemptions,
        )

    def stalled_s(self) -> float:
        """See `Engine.stalled_s`; vLLM tells only that it is dead, not how long a step takes."""
        return math.inf if self._llm.errored else 0.0

    async def compile_grammar(self, spec: GrammarSpec) -> Grammar:
        """See `Engine.compile_grammar`. What is wrong with it shows when it is submitted."""
        if spec.kind not in GRAMMARS:
            raise InvalidArgument(
                f"this model takes grammars of {', '.join(GRAMMARS)}",
                field=f"sampling.grammar.{spec.kind}",
            )
        return VllmGrammar(spec)

    async def load_adapter(self, name: str, source: str) -> ModelDescription:
        """See `Engine.load_adapter`."""
        if not self._spec.enable_lora:
            raise InvalidArgument(
                "this model takes no adapters: set vllm.enable_lora in its model.yaml",
                field="source",
            )
        if name in self._adapters:
            raise AlreadyExists(f"the adapter {name!r} is loaded")
        try:
            folder = await asyncio.to_thread(adapter_folder, source)
            parameters = await asyncio.to_thread(_n_parameters, folder, ADAPTER_WEIGHTS)
        except (ModelFolderNotFound, OSError) as error:
            raise InvalidArgument(str(error), field="source") from error
        self._n_adapters += 1
        # vLLM finds cached prefixes by an adapter's name: another one by that name must not.
        adapter = self._vllm.LoRARequest(
            f"{name}#{self._n_adapters}", self._n_adapters, str(folder)
        )
        try:
            fits = await self._llm.add_lora(adapter)
        except self._vllm.EngineDeadError:
            raise Unavailable("vLLM has died") from None
        except Exception as error:  # its kinds differ by what of the adapter is wrong
            log.warning("vLLM refuses an adapter: %s", error)
            fits = False
        if not fits:
            raise InvalidArgument("vLLM cannot apply this adapter to this model", field="source")
        self._adapters[name] = adapter
        return replace(
            self.model,
            name=name,
            base_model=self.model.name,
            parameters=parameters,
            loaded_at_s=self._clock.now_s(),
        )

    async def unload_adapter(self, name: str) -> None:
        """See `Engine.unload_adapter`."""
        adapter = self._adapters.pop(name, None)
        if adapter is None:
            raise ModelNotFound(f"there is no adapter {name!r}")
        await self._llm.remove_lora(adapter.lora_int_id)

    async def explain(self, request: ExplanationRequest) -> Explanation:
        """Refused."""
        raise InvalidArgument("a model that vLLM runs cannot be explained", field="model")

    async def _stream(self, request: Request) -> AsyncGenerator[Event, None]:
        vllm = self._vllm
        try:
            outputs = self._llm.generate(
                # The salt keeps prefixes of tenants apart.
                vllm.TokensPrompt(
                    prompt_token_ids=list(request.prompt_token_ids),
                    cache_salt=f"tenant {request.tenant_id}",
                ),
                sampling_parameters(vllm, request),
                f"{request.request_id}-{request.output}",
                lora_request=self._adapters[request.adapter] if request.adapter else None,
                priority=self._priority(request),
            )
            first = True
            async with aclosing(outputs):
                async for output in outputs:
                    for event in events_of(output, request, first):
                        yield event
                    first = False
        except vllm.QueueOverflowError:
            raise QueueFull("vLLM's queue is full", retry_after_s=1.0) from None
        except vllm.EngineDeadError:
            raise Unavailable("vLLM has died") from None
        except (vllm.ClientError, ValueError) as error:
            # By its kind alone: what it says may hold the request.
            log.info("vLLM refuses a request: %s", type(error).__name__)
            field = "sampling.grammar" if request.grammar is not None else None
            raise InvalidArgument("vLLM refuses this request", field=field) from None

    def _priority(self, request: Request) -> int:
        """vLLM refuses priorities where it does not serve by them."""
        return int(request.priority) if self._spec.scheduling_policy is Policy.PRIORITY else 0


def _n_parameters(folder: Path, pattern: str) -> int:
    """Numbers in safetensors files, from their headers. Raises `OSError` where there is none."""
    files = list(folder.glob(pattern))
    if not files:
        raise FileNotFoundError(f"{folder} has no {pattern}")
    total = 0
    for file in files:
        with safe_open(file, framework="np") as opened:
            names = opened.keys()
            total += sum(math.prod(opened.get_slice(name).get_shape()) for name in names)
    return total
