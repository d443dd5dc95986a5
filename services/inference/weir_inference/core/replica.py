"""What this replica does for its callers: generate, say how busy it is, list its models."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace

from weir_inference.core.engine import Delta, Engine, Event, Load, ModelDescription
from weir_inference.core.meter import Meter, MeterRecord
from weir_inference.core.phase import Trace, phases_of
from weir_inference.core.request import Request
from weir_inference.core.sampling import Sampling
from weir_kit.admission import Admission, AdmissionVerifier
from weir_kit.clock import Clock
from weir_kit.errors import InvalidArgument, ModelNotFound, PermissionDenied


@dataclass(frozen=True)
class GenerateCall:
    """A call as it came in. `remaining_s` is the time left to its deadline, None without one."""

    admission_token: str
    request_id: str
    model: str
    prompt_token_ids: tuple[int, ...]
    max_output_tokens: int
    sampling: Sampling
    remaining_s: float | None


@dataclass(frozen=True)
class Update:
    """An event and the tokens so far."""

    event: Event
    input_tokens: int
    output_tokens: int


class Replica:
    """The models of one process, each behind its engine, and who may use them."""

    def __init__(
        self,
        engines: Mapping[str, Engine],
        verifier: AdmissionVerifier,
        meter: Meter,
        trace: Trace,
        clock: Clock,
        draw_seed: Callable[[], int],
    ) -> None:
        self._engines = engines
        self._verifier = verifier
        self._meter = meter
        self._trace = trace
        self._clock = clock
        self._draw_seed = draw_seed

    async def generate(self, call: GenerateCall) -> AsyncGenerator[Update, None]:
        """Generate for an admitted call.

        However this ends (to the end, by an error, or closed half-way by a caller that went away),
        the request's memory is freed and the meter gets its record.
        """
        admission = self._admitted(call)
        engine = self._engine(call.model)
        generation = engine.submit(self._request(call, engine.model.vocab_size))
        n_input, n_output = len(call.prompt_token_ids), 0
        try:
            async with aclosing(generation.events()) as events:
                async for event in events:
                    if isinstance(event, Delta):
                        n_output += len(event.token_ids)
                    yield Update(event, n_input, n_output)
        finally:
            ending = generation.close()
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

    def load(self) -> Load:
        """How busy all engines together are."""
        loads = [engine.load() for engine in self._engines.values()]
        return Load(
            queued_requests=sum(load.queued_requests for load in loads),
            running_requests=sum(load.running_requests for load in loads),
            kv_blocks_held=sum(load.kv_blocks_held for load in loads),
            kv_blocks_total=sum(load.kv_blocks_total for load in loads),
            steps=sum(load.steps for load in loads),
            input_tokens=sum(load.input_tokens for load in loads),
            output_tokens=sum(load.output_tokens for load in loads),
        )

    def models(self) -> list[ModelDescription]:
        """All models in the order of their names."""
        return [self._engines[name].model for name in sorted(self._engines)]

    def _admitted(self, call: GenerateCall) -> Admission:
        admission = self._verifier.verify(call.admission_token, self._clock.now_s())
        if admission.request_id != call.request_id:
            raise PermissionDenied("the admission is for another request_id")
        if admission.model != call.model:
            raise PermissionDenied("the admission is for another model")
        return admission

    def _engine(self, model: str) -> Engine:
        engine = self._engines.get(model)
        if engine is None:
            raise ModelNotFound(f"this replica serves no model {model!r}", field="model")
        return engine

    def _request(self, call: GenerateCall, vocab_size: int) -> Request:
        if not call.prompt_token_ids:
            raise InvalidArgument("the prompt needs at least one token", field="prompt_token_ids")
        if max(call.prompt_token_ids) >= vocab_size:
            raise InvalidArgument(
                f"every token id must be below the vocabulary's {vocab_size}",
                field="prompt_token_ids",
            )
        if call.max_output_tokens < 1:
            raise InvalidArgument("max_output_tokens must be at least 1", field="max_output_tokens")
        sampling = call.sampling
        if sampling.seed is None:
            sampling = replace(sampling, seed=self._draw_seed())
        remaining_s = call.remaining_s
        deadline_s = None if remaining_s is None else self._clock.monotonic_s() + remaining_s
        return Request(
            call.request_id, call.prompt_token_ids, call.max_output_tokens, sampling, deadline_s
        )
