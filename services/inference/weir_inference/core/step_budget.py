"""The tokens of one step, given out to sequences."""

from weir_inference.core.sequence import Sequence


class StepBudget:
    """How many tokens of whom a step computes; the sum never passes `n_tokens`."""

    def __init__(self, n_tokens: int) -> None:
        self.n_left = n_tokens
        self.given: dict[Sequence, int] = {}

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
