"""The tokens of one step, given out to sequences."""

from weir_inference.core.sequence import Sequence


class StepBudget:
    """How many tokens of whom a step computes, at most `n_tokens`; one of each that decodes."""

    def __init__(self, n_tokens: int, decoding: list[Sequence]) -> None:
        assert len(decoding) <= n_tokens
        self.n_left = n_tokens - len(decoding)
        self.given = dict.fromkeys(decoding, 1)

    def give(self, sequence: Sequence, n_max: int) -> None:
        """Compute up to `n_max` of its tokens: as many as it has pending and as are left."""
        self.take_back(sequence)
        n_tokens = min(n_max, sequence.n_pending, self.n_left)
        if n_tokens > 0:
            self.given[sequence] = n_tokens
            self.n_left -= n_tokens

    def take_back(self, sequence: Sequence) -> None:
        """Compute nothing of it."""
        self.n_left += self.given.pop(sequence, 0)
