"""What this replica does for its callers: generate, explain, say how it is, change its adapters."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, fields, replace

from weir_inference.core.admitted import admitted
from weir_inference.core.engine import Delta, Event, Load, ModelDescription, Started
from weir_inference.core.explanation import Explanation, ExplanationRequest, check_explanation
from weir_inference.core.generate_call import GenerateCall, check_call
from weir_inference.core.meter import Meter, MeterRecord
from weir_inference.core.outputs import Outputs
from weir_inference.core.phase import Trace, phases_of
from weir_inference.core.request import Ending, Request
from weir_inference.core.served_models import ServedModel, ServedModels
from weir_kit.admission import Admission, AdmissionVerifier
from weir_kit.clock import Clock
from weir_kit.errors import PermissionDenied, QueueFull

EXPLANATIONS_MAX = 2  # at once: each holds the activations of its whole text
EXPLANATION_RETRY_S = 1.0


@dataclass(frozen=True)
class Update:
    """An event of an output, and the tokens so far of all outputs."""

    event: Event
    output: int
    input_tokens: int
    cached_input_tokens: int
    output_tokens: int


class Replica:
    """The models of one process, each behind its engine, and who may use them."""

    def __init__(
        self,
        served: ServedModels,
        verifier: AdmissionVerifier,
        meter: Meter,
        trace: Trace,
        clock: Clock,
        draw_seed: Callable[[], int],
    ) -> None:
        self._served = served
        self._verifier = verifier
        self._meter = meter
        self._trace = trace
        self._clock = clock
        self._draw_seed = draw_seed
        self._n_explanations = 0

    async def generate(self, call: GenerateCall) -> AsyncGenerator[Update, None]:
        """Generate for an admitted call.

        However this ends (to the end, by an error, or closed half-way by a caller that went away),
        the request's memory is freed and the meter gets its record.
        """
        came_at_s = self._clock.monotonic_s()
        admission = self._admitted(call)
        with self._served.using(call.model) as served:
            check_call(call, served.model.vocab_size)
            request = await self._request(call, served, admission.tenant_id, came_at_s)
            outputs = Outputs(served.engine, request, call.n)
            n_cached, n_output = 0, 0
            try:
                async with aclosing(outputs.events()) as events:
                    async for output, event in events:
                        if isinstance(event, Started):
                            n_cached = event.cached_tokens
                        if isinstance(event, Delta):
                            n_output += len(event.token_ids)
                        n_input = len(call.prompt_token_ids)
                        yield Update(event, output, n_input, n_cached, n_output)
            finally:
                self._witness(call, admission, outputs.close())

    async def explain(self, model: str, request: ExplanationRequest) -> Explanation:
        """Why a token was chosen. Raises `QueueFull` while `EXPLANATIONS_MAX` are under way."""
        with self._served.using(model) as served:
            check_explanation(request, served.model.vocab_size, served.model.context_tokens)
            if self._n_explanations >= EXPLANATIONS_MAX:
                raise QueueFull(
                    f"{EXPLANATIONS_MAX} explanations are under way",
                    retry_after_s=EXPLANATION_RETRY_S,
                )
            self._n_explanations += 1
            try:
                return await served.engine.explain(replace(request, adapter=served.adapter))
            finally:
                self._n_explanations -= 1

    async def load_adapter(self, name: str, base_model: str, source: str) -> ModelDescription:
        """See `ServedModels.load_adapter`."""
        return await self._served.load_adapter(name, base_model, source)

    async def unload_adapter(self, name: str) -> None:
        """See `ServedModels.unload_adapter`."""
        await self._served.unload_adapter(name)

    def models(self) -> list[ModelDescription]:
        """All models and adapters in the order of their names."""
        return self._served.descriptions

    def load(self) -> Load:
        """How busy all engines together are."""
        loads = [engine.load() for engine in self._served.engines]
        names = [field.name for field in fields(Load)]
        return Load(**{name: sum(getattr(load, name) for load in loads) for name in names})

    def stalled_s(self) -> float:
        """The longest `Engine.stalled_s`."""
        return max((engine.stalled_s() for engine in self._served.engines), default=0.0)

    def _admitted(self, call: GenerateCall) -> Admission:
        now_s = self._clock.now_s()
        admission = admitted(self._verifier, call.admission_token, call.model, now_s)
        if admission.request_id != call.request_id:
            raise PermissionDenied("the admission is for another request_id")
        return admission

    async def _request(
        self, call: GenerateCall, served: ServedModel, tenant_id: str, came_at_s: float
    ) -> Request:
        """Output 0's request; a grammar is compiled first, on the call's time."""
        sampling = call.sampling
        if sampling.seed is None:
            sampling = replace(sampling, seed=self._draw_seed())
        grammar = None
        if call.grammar is not None:
            grammar = await served.engine.compile_grammar(call.grammar)
        return Request(
            request_id=call.request_id,
            prompt_token_ids=call.prompt_token_ids,
            max_output_tokens=call.max_output_tokens,
            sampling=sampling,
            deadline_s=None if call.remaining_s is None else came_at_s + call.remaining_s,
            tenant_id=tenant_id,
            priority=call.priority,
            adapter=served.adapter,
            grammar=grammar,
            top_logprobs=call.top_logprobs,
            prompt_top_logprobs=call.prompt_top_logprobs,
        )

    def _witness(self, call: GenerateCall, admission: Admission, ending: Ending) -> None:
        for phase in phases_of(ending):
            self._trace.record(phase)
        self._meter.record(
            MeterRecord(
                request_id=call.request_id,
                tenant_id=admission.tenant_id,
                model=call.model,
                input_tokens=ending.input_tokens,
                output_tokens=ending.output_tokens,
                reason=ending.reason,
                at_s=self._clock.now_s(),
            )
        )
