"""What a caller asks of an engine, and how that can end."""

from dataclasses import dataclass
from enum import StrEnum

from weir_inference.core.sampling import Sampling


class EndReason(StrEnum):
    """Why a request ended; the values are those of the meter stream."""

    STOP = "stop"
    LENGTH = "length"
    CANCELLED = "cancelled"
    DEADLINE = "deadline"
    ERROR = "error"


@dataclass(frozen=True)
class Request:
    """One generation. `deadline_s` is on the monotonic clock; None means no deadline."""

    request_id: str
    prompt_token_ids: tuple[int, ...]
    max_output_tokens: int
    sampling: Sampling
    deadline_s: float | None = None


@dataclass(frozen=True)
class Ending:
    """What became of a request. Times are on the monotonic clock; None is a phase never reached."""

    reason: EndReason
    input_tokens: int
    output_tokens: int
    queued_at_s: float
    started_at_s: float | None
    first_token_at_s: float | None
    ended_at_s: float
