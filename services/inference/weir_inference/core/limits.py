"""The bounds of a native engine."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """The scheduler's bounds.

    `context_tokens` is what one request may hold, prompt and output together. `max_queued_tokens`
    bounds the prompt tokens that wait; a request larger than that waits alone. `draft_tokens` is
    how many tokens are guessed for a sequence in a step, 0 for never, and only while at most
    `draft_max_running` sequences run: in a large batch, wrong guesses cost more than right ones
    save.
    """

    n_blocks: int
    block_size: int
    context_tokens: int
    max_running: int
    max_queued: int
    step_tokens: int
    max_queued_tokens: int = 1 << 20
    prefix_caching: bool = True
    draft_tokens: int = 0
    draft_max_running: int = 4

    @property
    def chunk_tokens(self) -> int:
        """Of a step that tenants share, what prompts of those that decode may take: a third."""
        return max(1, self.step_tokens // 3)

    def __post_init__(self) -> None:
        assert min(self.block_size, self.max_running, self.max_queued) > 0
        assert self.max_queued_tokens > 0
        assert min(self.draft_tokens, self.draft_max_running) >= 0
        assert self.step_tokens >= self.max_running, "every running sequence gets its next token"
        assert 0 < self.context_tokens <= self.n_blocks * self.block_size, "one request fits alone"
