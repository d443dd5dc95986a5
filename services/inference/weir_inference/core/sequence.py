"""The state of one request inside the engine."""

from enum import Enum, auto

from weir_inference.core.prefix_chain import PrefixChain
from weir_inference.core.prompt_lookup import PromptLookup
from weir_inference.core.request import Ending, EndReason, Request
from weir_inference.core.token_logprob import TokenLogprob


class State(Enum):
    """Where a sequence is."""

    WAITING = auto()
    RUNNING = auto()
    ENDED = auto()


class Sequence:
    """Prompt and output as one list of tokens; the first `n_computed` have their KV in blocks.

    There is no prefill or decode phase: a step brings `n_computed` nearer to `len(token_ids)`, and
    when they meet, one more token is sampled. `block_ids` is replaced, never emptied, when the
    blocks are given back: a step under way keeps the list it was planned with. `number` is the
    order of arrival.
    """

    def __init__(
        self,
        request: Request,
        queued_at_s: float,
        number: int = 0,
        stop_token_ids: frozenset[int] = frozenset(),
        chain: PrefixChain | None = None,
    ) -> None:
        self.request = request
        self.number = number
        self.stop_token_ids = stop_token_ids
        self.n_prompt = len(request.prompt_token_ids)
        self.token_ids = list(request.prompt_token_ids)
        self.n_computed = 0
        self.block_ids: list[int] = []
        self.n_registered = 0  # of the blocks: those whose content others may find
        self.chain = chain or PrefixChain((request.tenant_id,), block_size=1)
        self.lookup = PromptLookup()
        self.cached_tokens = 0
        self.charged = False  # the prompt, to its tenant
        self.prompt_logprobs: list[TokenLogprob] = []
        self.prompt_scored = request.prompt_top_logprobs is None
        self.state = State.WAITING
        self.reason: EndReason | None = None
        self.queued_at_s = queued_at_s
        self.started_at_s: float | None = None
        self.first_token_at_s: float | None = None
        self.ended_at_s: float | None = None

    @property
    def n_output(self) -> int:
        """Tokens generated so far, the end-of-text token not among them."""
        return len(self.token_ids) - self.n_prompt

    @property
    def n_pending(self) -> int:
        """Known tokens whose KV is not computed yet; at least 1 until the sequence ends."""
        return len(self.token_ids) - self.n_computed

    def end(self, reason: EndReason, now_s: float) -> None:
        """Nothing happens to it any more."""
        self.state = State.ENDED
        self.reason = reason
        self.ended_at_s = now_s

    def ending(self) -> Ending:
        """The account of an ended sequence."""
        assert self.reason is not None
        assert self.ended_at_s is not None
        return Ending(
            reason=self.reason,
            input_tokens=self.n_prompt,
            output_tokens=self.n_output,
            queued_at_s=self.queued_at_s,
            started_at_s=self.started_at_s,
            first_token_at_s=self.first_token_at_s,
            ended_at_s=self.ended_at_s,
            cached_tokens=self.cached_tokens,
        )
