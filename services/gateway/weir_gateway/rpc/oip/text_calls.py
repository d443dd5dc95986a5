"""Generation by the Open Inference Protocol, on either wire."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing

from weir_gateway.core.call import Call, Completion, Outcome, Piece, Started
from weir_gateway.core.generate import Generation
from weir_gateway.rpc.generation import naming_fields
from weir_gateway.rpc.tracing import call_attributes, outcome_attributes
from weir_kit import telemetry

Names = Mapping[str, str]
SendEvent = Callable[[Started | Piece | Outcome], Awaitable[None]]
OIP_NAMES = {"model": "model_name", "version": "model_version"}


class TextCalls:
    """Generates, traced; `names`: core's fields, where the client sent them under another name."""

    def __init__(self, generation: Generation) -> None:
        self._generation = generation

    async def complete(self, call: Call, names: Names) -> Completion:
        """The text in one piece."""
        with (
            naming_fields({**OIP_NAMES, **names}),
            telemetry.span("generate", **call_attributes(call)) as span,
        ):
            completion = await self._generation.complete(call)
            span.annotate(**outcome_attributes(completion.outcome))
        return completion

    async def stream(self, call: Call, names: Names, send: SendEvent) -> None:
        """Send the events of a generation as they come."""
        with (
            naming_fields({**OIP_NAMES, **names}),
            telemetry.span("generate", **call_attributes(call)) as span,
        ):
            async with aclosing(self._generation.generate(call)) as events:
                async for event in events:
                    if isinstance(event, Outcome):
                        span.annotate(**outcome_attributes(event))
                    await send(event)
