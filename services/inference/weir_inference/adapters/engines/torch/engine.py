"""The torch engine as the service sees it: the loop of its steps, and what is done beside it."""

import asyncio
from dataclasses import replace

from weir_inference.adapters.engines.torch.explain import Explainer
from weir_inference.adapters.engines.torch.lora import LoraAdapter
from weir_inference.adapters.engines.torch.model_runner import ModelRunner
from weir_inference.adapters.engines.torch.peft_folder import read_peft_folder
from weir_inference.adapters.grammar import GrammarCompiler
from weir_inference.adapters.model_folder import ModelFolderNotFound, adapter_folder
from weir_inference.core.engine import Generation, Load, ModelDescription
from weir_inference.core.engine_loop import EngineLoop
from weir_inference.core.explanation import Explanation, ExplanationRequest
from weir_inference.core.grammar import Grammar, GrammarSpec
from weir_inference.core.request import Request
from weir_kit.clock import Clock
from weir_kit.errors import InvalidArgument


class TorchEngine:
    """An `Engine`."""

    def __init__(
        self,
        steps: EngineLoop,
        runner: ModelRunner,
        grammars: GrammarCompiler,
        explainer: Explainer,
        clock: Clock,
    ) -> None:
        self.model: ModelDescription = steps.model
        self._steps = steps
        self._runner = runner
        self._grammars = grammars
        self._explainer = explainer
        self._clock = clock

    def submit(self, request: Request) -> Generation:
        """See `Engine.submit`."""
        return self._steps.submit(request)

    def load(self) -> Load:
        """See `Engine.load`."""
        return self._steps.load()

    def stalled_s(self) -> float:
        """See `Engine.stalled_s`."""
        return self._steps.stalled_s()

    async def compile_grammar(self, spec: GrammarSpec) -> Grammar:
        """See `Engine.compile_grammar`."""
        return await self._grammars.compile(spec)

    async def load_adapter(self, name: str, source: str) -> ModelDescription:
        """See `Engine.load_adapter`."""
        loading = asyncio.create_task(asyncio.to_thread(self._load_adapter, name, source))
        try:
            adapter = await asyncio.shield(loading)
        except asyncio.CancelledError:
            # A thread cannot be stopped: what it loads is let go as soon as it is there.
            loading.add_done_callback(lambda done: self._drop(name, done))
            raise
        return replace(
            self.model,
            name=name,
            base_model=self.model.name,
            parameters=adapter.n_parameters,
            loaded_at_s=self._clock.now_s(),
        )

    async def unload_adapter(self, name: str) -> None:
        """See `Engine.unload_adapter`."""
        self._runner.adapters.unload(name)
        self._steps.forget_adapters()

    async def explain(self, request: ExplanationRequest) -> Explanation:
        """See `Engine.explain`."""
        return await self._explainer.explain(request)

    def _load_adapter(self, name: str, source: str) -> LoraAdapter:
        try:
            folder = adapter_folder(source)
        except ModelFolderNotFound as error:
            raise InvalidArgument(str(error), field="source") from error
        pairs = read_peft_folder(folder, self._runner.config)
        return self._runner.adapters.load(name, pairs)

    def _drop(self, name: str, loading: "asyncio.Task[LoraAdapter]") -> None:
        if not loading.cancelled() and loading.exception() is None:
            self._runner.adapters.unload(name)
