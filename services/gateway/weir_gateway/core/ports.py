"""What the gateway needs of its peers, in its own words.

Every method raises `WeirError`s and gives up after its `timeout_s`. Closing a stream (or cancelling
the task that reads it) cancels the work behind it.
"""

from collections.abc import AsyncGenerator, Collection, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from weir_gateway.core.call import (
    Call,
    Charge,
    Finding,
    FinishReason,
    Input,
    Money,
    Prompt,
    RateLimit,
    Usage,
)
from weir_gateway.core.logprob import Scored
from weir_gateway.core.prediction import Answer, PredictionCall

AnyCall = Call | PredictionCall
GENERATION = "generation"


@dataclass(frozen=True)
class Principal:
    """Who a key stands for."""

    tenant_id: str
    project_id: str
    key_id: str


@dataclass(frozen=True)
class Admission:
    """Policy's yes. `token`: its signed form; `redacted`: the input, if a rule changed it.

    `redacted_texts` are in the place of a prediction's texts, as many.
    """

    token: str = field(repr=False)
    principal: Principal
    findings: tuple[Finding, ...] = ()
    redacted: Input | None = field(default=None, repr=False)
    redacted_texts: tuple[str, ...] | None = field(default=None, repr=False)
    rate_limit: RateLimit = field(default_factory=RateLimit)
    allowed_models: frozenset[str] = frozenset()

    def may_use(self, model: str) -> bool:
        """Whether it is for the key to know of a model; a key without a list knows of all."""
        return not self.allowed_models or model in self.allowed_models


@dataclass(frozen=True)
class Screened:
    """Released text; `screened_chars` of what was fed are decided; `blocked_by` names a rule."""

    text: str = field(repr=False)
    screened_chars: int
    findings: tuple[Finding, ...] = ()
    blocked_by: str = ""


@dataclass(frozen=True)
class Decoded:
    """New text; the first `decoded_tokens` have all theirs out; `stopped` at a stop string."""

    text: str = field(repr=False)
    decoded_tokens: int
    stopped: bool = False


@dataclass(frozen=True)
class Delta:
    """New tokens of one output, and the tokens so far of the prompt and all outputs.

    The first has none: it says that the engine has started. What has neither tokens nor a `finish`
    concerns every output. `scored`: one for each of `token_ids`, if asked for. `prompt_scored`: one
    for each prompt token but the first, if asked for: before any token.
    """

    token_ids: tuple[int, ...] = field(repr=False)
    usage: Usage
    finish: FinishReason | None = None
    output: int = 0
    scored: tuple[Scored, ...] = field(default=(), repr=False)
    prompt_scored: tuple[Scored, ...] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Model:
    """A model that is loaded, or an adapter of `base_model`.

    `context_tokens`: prompt and output together, at most. `version`: the one that answers by
    default; empty for what has none.
    """

    name: str
    context_tokens: int
    created_at_s: int
    base_model: str = ""
    task: str = GENERATION
    version: str = ""

    @property
    def tokenizer(self) -> str:
        """Its tokenizer's name: a model's own, so an adapter's is its model's."""
        return self.base_model or self.name

    @property
    def generates(self) -> bool:
        """Whether it writes text, token by token; else it answers in one piece."""
        return self.task == GENERATION


@dataclass(frozen=True)
class Record:
    """The audit record. `outcome`: a finish reason, `disconnected` or an error's reason.

    `used` is what was charged; None: nothing. `model_version` answered, if the model has versions.
    """

    request_id: str
    principal: Principal
    model: str
    outcome: str
    used: Charge | None
    charged: Money | None
    findings: tuple[Finding, ...]
    trace_id: str
    started_at_s: float
    duration_ms: float
    model_version: str = ""


class Screener(Protocol):
    """A growing output under the tenant's rules."""

    async def feed(self, text: str, *, last: bool) -> Screened:
        """Screen more text; `last` releases what was held back."""
        ...


class Decoder(Protocol):
    """A growing sequence of token ids becoming text."""

    async def feed(self, token_ids: tuple[int, ...], *, last: bool) -> Decoded:
        """Decode more ids; `last` emits what was held back."""
        ...


class Policy(Protocol):
    """Who may do what, and what text may pass."""

    async def authenticate(self, api_key: str, timeout_s: float) -> Admission:
        """Check the key alone. Raises `InvalidApiKey`."""
        ...

    async def admit(self, call: AnyCall, timeout_s: float) -> Admission:
        """Decide on a request.

        Raises `InvalidApiKey`, `ModelNotAllowed`, `ContentBlocked`, `RateLimited`.
        """
        ...

    def screener(
        self, request_id: str, principal: Principal, timeout_s: float
    ) -> AbstractAsyncContextManager[Screener]:
        """Open a screen for the output of one request."""
        ...

    async def record(self, record: Record, timeout_s: float) -> None:
        """Write the audit record. Idempotent by request id."""
        ...


class Tokenizer(Protocol):
    """Text to token ids and back. `name` is a tokenizer's: `Model.tokenizer`."""

    async def encode(self, name: str, text: Input, timeout_s: float) -> tuple[int, ...]:
        """The ids of a conversation (by the model's chat template) or a plain prompt."""
        ...

    async def count(self, name: str, text: Input, timeout_s: float) -> int:
        """How many ids `encode` would give."""
        ...

    def decoder(
        self, name: str, prompt: Prompt, stop: tuple[str, ...], timeout_s: float
    ) -> AbstractAsyncContextManager[Decoder]:
        """Open a decoder for the output that follows `prompt`."""
        ...

    async def token_texts(
        self, name: str, token_ids: Collection[int], timeout_s: float
    ) -> Mapping[int, str]:
        """The text of each token as it stands inside a text; U+FFFD for parts of characters.

        No text where the tokenizer has no such token: a model's vocabulary may be padded.
        """
        ...


class Inference(Protocol):
    """Models that run."""

    async def models(self, timeout_s: float) -> tuple[Model, ...]:
        """What is loaded, by name."""
        ...

    def generate(
        self, call: Call, admission: Admission, prompt: Prompt, timeout_s: float
    ) -> AsyncGenerator[Delta, None]:
        """Generate `call.n` outputs: an empty delta at the start, `finish` on each one's last.

        Raises `QueueFull`, and `InvalidArgument` for what only the engine can judge.
        """
        ...

    async def predict(self, call: PredictionCall, admission: Admission, timeout_s: float) -> Answer:
        """Answer for every item.

        Raises `QueueFull`, `ModelNotFound` for a version that there is not, and `InvalidArgument`
        for what only the model can judge.
        """
        ...


class TensorModels(Protocol):
    """What models tell of themselves by the Open Inference Protocol: in the wire's own messages."""

    async def ready(self, name: str, version: str, timeout_s: float) -> bool:
        """Whether a model can be called."""
        ...

    async def metadata(self, name: str, version: str, timeout_s: float) -> Any:
        """What it takes and gives. Raises `ModelNotFound`."""
        ...

    async def statistics(self, name: str, version: str, timeout_s: float) -> Any:
        """What it has done; "" is every model, or version. Raises `ModelNotFound`."""
        ...

    async def index(self, timeout_s: float) -> Any:
        """All in the repository."""
        ...


class Billing(Protocol):
    """Money held before the work and charged after; every method is idempotent by request id."""

    async def reserve(
        self,
        call: AnyCall,
        model: Model,
        admission: Admission,
        worst: Charge,
        ttl_s: int,
        timeout_s: float,
    ) -> bool:
        """Hold the price of `worst`; False if the request's hold was closed before.

        Raises `InsufficientCredit`, `PriceNotFound`, `Conflict`.
        """
        ...

    async def settle(
        self, request_id: str, admission: Admission, charge: Charge, timeout_s: float
    ) -> Money:
        """Charge `charge` and give the rest of the hold back: the charge."""
        ...

    async def release(self, request_id: str, admission: Admission, timeout_s: float) -> None:
        """Give the whole hold back. Raises `NotFound` if there is none."""
        ...


@dataclass(frozen=True)
class Ports:
    """The four peers together."""

    policy: Policy
    tokenizer: Tokenizer
    inference: Inference
    billing: Billing


class Readiness(Protocol):
    """Whether the peers are there."""

    async def peers(self) -> dict[str, bool]:
        """Which peers serve, by name; answers within about a second."""
        ...
