"""What one engine step computes, and what came of it."""

from collections.abc import Sequence as ReadOnlyList
from dataclasses import dataclass

from weir_inference.core.request import EndReason, Request
from weir_inference.core.sequence import Sequence
from weir_inference.core.token_logprob import TokenLogprob


@dataclass(frozen=True)
class Slice:
    """The tokens of one sequence that a step computes.

    `token_ids` stand at positions `start`, `start + 1`, …; their keys and values go into
    `block_ids`, which also hold all earlier ones. `samples` says that the slice holds the last
    known token, so that the step chooses the next one: output number `n_output`. The last `n_draft`
    of the `token_ids` are guesses at the tokens that follow it: a token is chosen after each of
    them, too, as if they were right.

    `follows` is for a step that starts before the one before it is over: the slice's only token is
    the one that slice number `follows` of that step chooses, whatever stands in `token_ids`.
    """

    sequence: Sequence
    start: int
    token_ids: ReadOnlyList[int]
    block_ids: ReadOnlyList[int]
    samples: bool
    n_output: int
    n_draft: int = 0
    follows: int | None = None

    @property
    def request(self) -> Request:
        """The request that the slice belongs to."""
        return self.sequence.request

    @property
    def end(self) -> int:
        """Tokens whose keys and values are in the cache after the step."""
        return self.start + len(self.token_ids)

    @property
    def n_sampled(self) -> int:
        """Tokens that the step chooses: after the last known one and after each draft."""
        return 1 + self.n_draft if self.samples else 0


@dataclass(frozen=True)
class StepPlan:
    """One step: slices of different sequences, and who left the queue for it."""

    slices: tuple[Slice, ...]
    started: tuple[Sequence, ...] = ()

    @property
    def follows(self) -> bool:
        """Whether it starts before the step before it is over."""
        return any(one.follows is not None for one in self.slices)


@dataclass(frozen=True)
class SliceResult:
    """What the runner made of a slice.

    `token_ids` are the `n_sampled` chosen ones, `logprobs` tell of each of them if the request asks
    for it. `prompt_logprobs` tell of the prompt tokens that follow those of the slice. `cut_at` is
    the first of the `token_ids` of which the request's grammar could not say what may stand there:
    the output ends before it. A step that `misled` its follower took another token there than this
    one: what the follower computed counts for nothing.
    """

    token_ids: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    prompt_logprobs: tuple[TokenLogprob, ...] = ()
    cut_at: int | None = None
    misled: bool = False


@dataclass(frozen=True)
class Advance:
    """What a step gave one sequence: tokens (none at the end of text), and the end if it came.

    `prompt_logprobs` are all of the prompt's, with the step that completes them.
    """

    sequence: Sequence
    token_ids: tuple[int, ...]
    logprobs: tuple[TokenLogprob, ...]
    prompt_logprobs: tuple[TokenLogprob, ...] | None
    reason: EndReason | None
