"""The second witness: what was generated for whom, whatever the gateway says (ARCHITECTURE §3)."""

from dataclasses import dataclass
from typing import Protocol

from weir_inference.core.request import EndReason


@dataclass(frozen=True)
class MeterRecord:
    """One request that ended. `at_s` counts from 1970-01-01 UTC."""

    request_id: str
    tenant_id: str
    model: str
    input_tokens: int
    output_tokens: int
    reason: EndReason
    at_s: float


class Meter(Protocol):
    """Where records go."""

    def record(self, record: MeterRecord) -> None:
        """Take a record. Never waits and never raises."""
        ...
