"""Who calls, and for how long."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Caller:
    """The client behind one call; fields as in core's `Call`."""

    request_id: str
    api_key: str = field(repr=False)
    timeout_s: float
    trace_id: str
