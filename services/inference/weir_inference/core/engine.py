"""The ports between the service, its engines and what runs their steps."""

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Protocol

from weir_inference.core.explanation import Explanation, ExplanationRequest
from weir_inference.core.grammar import Grammar, GrammarSpec
from weir_inference.core.request import Ending, EndReason, Request
from weir_inference.core.step_plan import SliceResult, StepPlan
from weir_inference.core.tensors import TensorSpec
from weir_inference.core.token_logprob import TokenLogprob


@dataclass(frozen=True)
class ModelDescription:
    """A loaded model. `dtype` is `bf16` or `fp32`; `loaded_at_s` counts from 1970-01-01 UTC.

    `task` is one of model.yaml's. `digest` is that of its manifest. A model that takes tensors
    tells which: such a model has no context, vocabulary or dtype.
    """

    name: str
    engine: str
    architecture: str
    context_tokens: int
    vocab_size: int
    parameters: int
    dtype: str
    loaded_at_s: float
    base_model: str = ""
    quantization: str = ""
    task: str = "generation"
    version: str = ""
    digest: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()


@dataclass(frozen=True)
class Load:
    """How busy an engine is; from `steps` on, counted since its start."""

    queued_requests: int = 0
    queued_tokens: int = 0
    running_requests: int = 0
    kv_blocks_held: int = 0
    kv_blocks_total: int = 0
    steps: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    preemptions: int = 0
    queue_s: float = 0.0
    draft_tokens: int = 0
    accepted_draft_tokens: int = 0


@dataclass(frozen=True)
class Started:
    """The request left the queue after `queue_s`, `cached_tokens` of its prompt in the cache."""

    queue_s: float
    cached_tokens: int = 0


@dataclass(frozen=True)
class PromptScored:
    """One for each prompt token but the first."""

    logprobs: tuple[TokenLogprob, ...]


@dataclass(frozen=True)
class Delta:
    """New tokens: all that were pending; never empty. `logprobs` are as many, or none."""

    token_ids: tuple[int, ...]
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True)
class Finished:
    """The end, by `stop` or `length`; every other end is an error."""

    reason: EndReason


Event = Started | PromptScored | Delta | Finished


class Generation(Protocol):
    """A request inside an engine, seen by its caller."""

    def events(self) -> AsyncGenerator[Event, None]:
        """`Started`, `PromptScored` if asked for, `Delta`s, then `Finished`.

        Raises the WeirError that ended the request.
        """
        ...

    def close(self) -> Ending:
        """Free all that the request holds, if it has not ended, and say what became of it."""
        ...


class Engine(Protocol):
    """One way to run one model."""

    @property
    def model(self) -> ModelDescription:
        """The model that it runs."""
        ...

    def submit(self, request: Request) -> Generation:
        """Queue a request.

        Raises `ContextLengthExceeded`, `QueueFull` (for a call's first output only),
        `AlreadyExists`, `Unavailable`.
        """
        ...

    def load(self) -> Load:
        """How busy it is."""
        ...

    def stalled_s(self) -> float:
        """How long the step under way has been computed; 0 between steps, inf once broken."""
        ...

    async def compile_grammar(self, spec: GrammarSpec) -> Grammar:
        """Compile a grammar for the model's vocabulary, off the event loop and the engine's thread.

        The caller bounds its size. Raises `InvalidArgument` (field `sampling.grammar`, or its kind
        below that) for one that is wrong, takes too long or is not supported; `QueueFull` while too
        many are compiled.
        """
        ...

    async def load_adapter(self, name: str, source: str) -> ModelDescription:
        """Load a LoRA adapter of the model from a folder in PEFT's format, or a hub id.

        From when this returns requests may name it as their `adapter`. The description is the
        model's but for `name`, `base_model` (the model's name), `parameters` (the adapter's own)
        and `loaded_at_s`. Requests go on meanwhile. Cancelled or failed, it leaves nothing loaded.
        Raises `InvalidArgument` (field `source`) where there is none, or none that fits the model
        or can be run faithfully; `AlreadyExists` for a name that is loaded; `QueueFull` where no
        memory is left for it.
        """
        ...

    async def unload_adapter(self, name: str) -> None:
        """Free an adapter and the cached prefixes made with it. Raises `ModelNotFound`.

        No request names it any more: the caller sees to that.
        """
        ...

    async def explain(self, request: ExplanationRequest) -> Explanation:
        """Attribute an output token to the tokens before it; the request was checked.

        Delays no running request by more than one step, and holds the engine's thread for no
        longer than a step takes at a time, which `stalled_s` counts. Stops within one such piece
        when cancelled. Raises `InvalidArgument` for a method or model that it cannot explain;
        `QueueFull` where memory is lacking.
        """
        ...


class Runner(Protocol):
    """What computes the steps of a native engine, in the order in which they start."""

    @property
    def overlaps(self) -> bool:
        """Whether a step may start that follows one whose results are not asked for yet."""
        ...

    def start(self, plan: StepPlan) -> Callable[[], list[SliceResult]]:
        """Compute a step, or begin to; what is returned waits for its results.

        A result for each slice, in order.
        """
        ...
