"""Phases of requests as spans of the call being served."""

from weir_inference.core.phase import Phase
from weir_kit.clock import Clock
from weir_kit.telemetry import record_span

NANOS = 1_000_000_000


class SpanTrace:
    """A `Trace` that writes spans of service `inference`, children of the current span."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def record(self, phase: Phase) -> None:
        """Write a phase down, moved from the monotonic clock to UTC."""
        offset_s = self._clock.now_s() - self._clock.monotonic_s()
        record_span(
            phase.name,
            round((phase.start_s + offset_s) * NANOS),
            round((phase.end_s + offset_s) * NANOS),
            service="inference",
            tokens=phase.tokens,
        )
