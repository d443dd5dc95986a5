"""The second witness: what was done for whom, whatever the gateway says (ARCHITECTURE §3)."""

from dataclasses import dataclass
from typing import Protocol

from weir_inference.core.request import EndReason


@dataclass(frozen=True)
class MeterRecord:
    """One request that ended. `at_s` counts from 1970-01-01 UTC.

    A model that answers in one piece counts no tokens but the `items` it looked at, at least one,
    and the microseconds of computing for them; `model_version` is the version that answered. An
    answer that was given ended with `STOP`: whatever else ended it is free.
    """

    request_id: str
    tenant_id: str
    model: str
    input_tokens: int
    output_tokens: int
    reason: EndReason
    at_s: float
    items: int = 0
    compute_us: int = 0
    model_version: str = ""


class Meter(Protocol):
    """Where records go."""

    def record(self, record: MeterRecord) -> None:
        """Take a record. Never waits and never raises."""
        ...
