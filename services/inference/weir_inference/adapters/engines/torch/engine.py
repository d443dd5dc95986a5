"""The torch engine as the service sees it: the loop of its steps, and what is done beside it."""

from weir_inference.adapters.grammar import GrammarCompiler
from weir_inference.core.engine import Generation, Load, ModelDescription
from weir_inference.core.engine_loop import EngineLoop
from weir_inference.core.explanation import Explanation, ExplanationRequest
from weir_inference.core.grammar import Grammar, GrammarSpec
from weir_inference.core.request import Request


class TorchEngine:
    """An `Engine`. What it does not do is UNIMPLEMENTED to callers."""

    def __init__(self, steps: EngineLoop, grammars: GrammarCompiler) -> None:
        self.model: ModelDescription = steps.model
        self._steps = steps
        self._grammars = grammars

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
        raise NotImplementedError

    async def unload_adapter(self, name: str) -> None:
        """See `Engine.unload_adapter`."""
        raise NotImplementedError

    async def explain(self, request: ExplanationRequest) -> Explanation:
        """See `Engine.explain`."""
        raise NotImplementedError
