"""What a caller asks of an engine, and how that can end."""

from dataclasses import dataclass
from enum import IntEnum, StrEnum

from weir_inference.core.grammar import Grammar
from weir_inference.core.sampling import Sampling


class EndReason(StrEnum):
    """Why a request ended; the values are those of the meter stream."""

    STOP = "stop"
    LENGTH = "length"
    CANCELLED = "cancelled"
    DEADLINE = "deadline"
    ERROR = "error"


class Priority(IntEnum):
    """Who goes first among a tenant's waiting requests: the lower number."""

    HIGH = 0
    NORMAL = 1
    LOW = 2


@dataclass(frozen=True)
class Request:
    """One output to generate.

    A call for several outputs makes as many requests, told apart by `output`. `deadline_s` is on
    the monotonic clock; None means no deadline. `top_logprobs` and `prompt_top_logprobs` are how
    many of the likeliest tokens to tell with each token; None tells nothing. `adapter` is the LoRA
    adapter to apply; its prefixes and those of other tenants are never shared.
    """

    request_id: str
    prompt_token_ids: tuple[int, ...]
    max_output_tokens: int
    sampling: Sampling
    deadline_s: float | None = None
    output: int = 0
    tenant_id: str = ""
    priority: Priority = Priority.NORMAL
    adapter: str | None = None
    grammar: Grammar | None = None
    top_logprobs: int | None = None
    prompt_top_logprobs: int | None = None


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
    cached_tokens: int = 0
