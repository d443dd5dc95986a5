"""What a client asks for, and what it gets: plain data, the same on every wire."""

from dataclasses import dataclass, field
from enum import StrEnum

from weir_gateway.core.logprob import TokenLogprob
from weir_gateway.core.sampling import Priority, Sampling


class FinishReason(StrEnum):
    """Why a generation ended."""

    STOP = "stop"  # the model ended the text, or a stop string was met
    LENGTH = "length"  # `max_output_tokens`, the context's end or its grammar's bounds were reached
    CONTENT_FILTER = "content_filter"  # a rule of the tenant's policy ended the text


class Action(StrEnum):
    """What is done about a finding."""

    ALLOW = "allow"
    FLAG = "flag"
    REDACT = "redact"
    BLOCK = "block"


@dataclass(frozen=True)
class Message:
    """One message of a conversation; `role` is `system`, `user` or `assistant`."""

    role: str
    content: str


Input = tuple[Message, ...] | str
"""A conversation, oldest message first, or a plain prompt."""


@dataclass(frozen=True)
class Call:
    """One request of a client.

    `streamed`: text goes out as it comes; otherwise the client gets nothing before the end.
    `timeout_s`: the whole request takes no longer. `trace_id`: 32 hexadecimal digits, or empty.
    `n`: outputs, each of `max_output_tokens` at most. `top_logprobs`: tell of each token how likely
    it was, with so many of the likeliest; None: tell nothing. `echo`: each text begins with the
    prompt, and what is told of tokens with the prompt's. `version`: of the model, "" for any.
    """

    request_id: str
    api_key: str = field(repr=False)
    model: str
    input: Input = field(repr=False)
    timeout_s: float
    streamed: bool
    max_output_tokens: int | None = None
    sampling: Sampling = field(default_factory=Sampling)
    stop: tuple[str, ...] = field(default=(), repr=False)
    trace_id: str = ""
    n: int = 1
    top_logprobs: int | None = None
    echo: bool = False
    priority: Priority = Priority.NORMAL
    version: str = ""


@dataclass(frozen=True)
class Prompt:
    """A call's input as the engine reads it, with the tokens that one output may have at most.

    `text` is what `token_ids` were made of, if that was a plain prompt.
    """

    token_ids: tuple[int, ...] = field(repr=False)
    max_output_tokens: int
    text: str = field(default="", repr=False)


@dataclass(frozen=True)
class Usage:
    """Tokens of one request. `cached_input_tokens` are included in `input_tokens`."""

    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True)
class Work:
    """What a call of a model that answers in one piece used; each count has a price of its own."""

    requests: int = 0
    items: int = 0
    compute_us: int = 0


Charge = Usage | Work
"""What is held, charged and recorded."""


@dataclass(frozen=True)
class Money:
    """An exact amount: nano units (1e-9) of an ISO 4217 currency."""

    nanos: int
    currency: str


@dataclass(frozen=True)
class Finding:
    """Where a rule matched: code points [start, end) of the `input` or `output`. No content."""

    rule: str
    action: Action
    where: str
    start: int
    end: int


@dataclass(frozen=True)
class RateLimit:
    """The key's requests-per-minute limit after this request; `limit` 0: there is none."""

    limit: int = 0
    remaining: int = 0
    reset_s: float = 0.0


@dataclass(frozen=True)
class Started:
    """The request was admitted, its price is held, and the engine runs it."""

    request_id: str
    rate_limit: RateLimit


@dataclass(frozen=True)
class Piece:
    """Text of one output that may reach the client, with where that output stands after it.

    `released_tokens`: tokens from the first one whose text has been handed out by now. `usage`: the
    prompt's tokens, and those of this output. `finish`: set on the output's last piece.
    """

    text: str = field(repr=False)
    released_tokens: int
    usage: Usage
    findings: tuple[Finding, ...] = ()
    finish: FinishReason | None = None
    output: int = 0
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True)
class Ended:
    """How one output ended, and what rules found in its text."""

    finish: FinishReason
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """How the outputs of a generation ended, in order, and what was charged for them.

    `cost` is None when billing was away at the end: it then charges the hold from the meter when it
    expires. `findings` are those in the input and in all outputs.
    """

    outputs: tuple[Ended, ...]
    usage: Usage
    cost: Money | None
    findings: tuple[Finding, ...]

    @property
    def finish(self) -> FinishReason:
        """One word for all outputs: cut by a rule if one was, cut by length if one was."""
        return max((output.finish for output in self.outputs), key=list(FinishReason).index)


@dataclass(frozen=True)
class Choice:
    """One output in one piece."""

    text: str = field(repr=False)
    ended: Ended
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True)
class Completion:
    """A generation in one piece."""

    started: Started
    choices: tuple[Choice, ...]
    outcome: Outcome
