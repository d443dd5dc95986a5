"""Guessing a sequence's next tokens from its own text: prompt look-up decoding.

A. Saxena, "Prompt Lookup Decoding", 2023. Text repeats itself (quotes, names, code): what followed
the last few tokens when they stood there before is a good guess at what follows them now, and
costs no model.
"""

from collections.abc import Sequence as ReadOnlyList
from itertools import pairwise

LONG, SHORT = 3, 2  # tokens that must agree; the longer agreement is tried first
INDEXED_TOKENS = 8192  # of the past; twice as much at most
TRIAL_TOKENS = 32
ACCEPTED_SHARE_MIN = 0.2
PAUSE_TOKENS = 64


class PromptLookup:
    """Guesses for one sequence.

    Keeps an index of where each n-gram last stood, so that a guess takes as long as the tokens that
    are new. Where fewer than a fifth of the guesses come true it stops guessing for a while.
    """

    def __init__(self) -> None:
        self._after_long: dict[tuple[int, int, int], int] = {}
        self._after_short: dict[tuple[int, int], int] = {}
        self._n_indexed = 0
        self._n_tried = self._n_accepted = 0
        self._resume_at = 0

    def propose(self, token_ids: ReadOnlyList[int], n_max: int) -> list[int]:
        """At most `n_max` tokens that may follow `token_ids`, which only ever grow."""
        n = len(token_ids)
        if n_max < 1 or n <= LONG or n < self._resume_at:
            return []
        self._index(token_ids)
        at = self._after_long.get((token_ids[-3], token_ids[-2], token_ids[-1]))
        if at is None:
            at = self._after_short.get((token_ids[-2], token_ids[-1]))
        if at is None:
            return []
        draft = list(token_ids[at : at + n_max])
        for i in range(n_max - len(draft)):
            draft.append(draft[i])  # a text that repeats itself just now is taken to go on so
        return draft

    def learn(self, n_tokens: int, n_drafted: int, n_accepted: int) -> None:
        """How a guess came out; the sequence has `n_tokens` now."""
        self._n_tried += n_drafted
        self._n_accepted += n_accepted
        if self._n_tried < TRIAL_TOKENS:
            return
        if self._n_accepted < ACCEPTED_SHARE_MIN * self._n_tried:
            self._resume_at = n_tokens + PAUSE_TOKENS
        self._n_tried = self._n_accepted = 0

    def _index(self, token_ids: ReadOnlyList[int]) -> None:
        """Take in all n-grams that something follows: not the last one, which is looked up."""
        n = len(token_ids)
        first = max(self._n_indexed, n - 1 - INDEXED_TOKENS)
        if len(self._after_long) > INDEXED_TOKENS:
            self._after_long.clear()
            self._after_short.clear()
            first = n - 1 - INDEXED_TOKENS // 2
        # Of equal n-grams the later overwrites the earlier.
        past = token_ids[max(0, first - (LONG - 1)) : n - 1]
        ends = range(n - len(past) + LONG - 1, n)
        self._after_long.update(zip(zip(past, past[1:], past[2:], strict=False), ends, strict=True))
        past = token_ids[max(0, first - (SHORT - 1)) : n - 1]
        ends = range(n - len(past) + SHORT - 1, n)
        self._after_short.update(zip(pairwise(past), ends, strict=True))
        self._n_indexed = n - 1
