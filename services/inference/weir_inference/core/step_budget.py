"""The tokens of one step, given out to sequences."""

from weir_inference.core.sequence import Sequence


class StepBudget:
    """How many tokens of whom a step computes, at most `n_tokens`; one of each that decodes.

    A prompt makes a step long: everyone who decodes waits for it, and so does whoever comes
    meanwhile. Where tenants share the engine, prompts of those that decode already therefore get
    `n_beside` tokens of it, together; those of a tenant that still waits for its first token may
    fill it.
    """

    def __init__(self, n_tokens: int, n_beside: int, decoding: list[Sequence]) -> None:
        assert len(decoding) <= n_tokens
        self.n_left = n_tokens - len(decoding)
        self.n_beside = n_beside
        self.given = dict.fromkeys(decoding, 1)
        self._decoding = frozenset(decoding)
        self._served = {one.request.tenant_id for one in decoding}

    def left_for(self, sequence: Sequence) -> int:
        """How many tokens of its prompt it may still be given."""
        return min(self.n_left, self.n_beside) if self._is_beside(sequence) else self.n_left

    def give(self, sequence: Sequence, n_max: int) -> None:
        """Compute up to `n_max` of its tokens: as many as it has pending and as are left for it."""
        self.take_back(sequence)
        n_tokens = min(n_max, sequence.n_pending, self.left_for(sequence))
        if n_tokens > 0:
            self.given[sequence] = n_tokens
            self._spend(sequence, n_tokens)

    def take_back(self, sequence: Sequence) -> None:
        """Compute nothing of it."""
        self._spend(sequence, -self.given.pop(sequence, 0))

    def _spend(self, sequence: Sequence, n_tokens: int) -> None:
        self.n_left -= n_tokens
        if self._is_beside(sequence):
            self.n_beside -= n_tokens

    def _is_beside(self, sequence: Sequence) -> bool:
        return sequence.request.tenant_id in self._served and sequence not in self._decoding
