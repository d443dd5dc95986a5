"""What the next token of a sequence depends on beside its logits."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from weir_inference.core.request import Request
from weir_inference.core.step_plan import Slice


@dataclass(frozen=True)
class Tally:
    """The tokens before a row, each once: `prompt` of the prompt, `output` with its `counts`."""

    prompt: NDArray[np.int64]
    output: NDArray[np.int64]
    counts: NDArray[np.float32]


class History:
    """A sequence's tokens, counted as it grows, and where its output stands in its grammar."""

    def __init__(self, request: Request) -> None:
        self._prompt = np.unique(np.array(request.prompt_token_ids, dtype=np.int64))
        self._matcher = None if request.grammar is None else request.grammar.matcher()
        self._n_counted = 0
        self._counts: Counter[int] = Counter()

    def mask(self, logits: Tensor, one: Slice) -> int | None:
        """Set the logits of tokens that the grammar forbids to -inf: [n_sampled, vocab], in place.

        Behind a draft that the grammar forbids no token is forbidden: none of them will be taken.
        Nor from the row on that is returned: there the grammar could not go on.
        """
        if self._matcher is None:
            return None
        output, drafts, vocab = output_of(one), drafts_of(one), logits.shape[1]
        for n, row in enumerate(logits):
            mask = self._matcher.allowed(output + drafts[:n])
            if mask is None:
                return n
            # Padded with zeros: a tokenizer may have fewer tokens than its model.
            bits = np.frombuffer(mask, dtype=np.uint8)
            allowed = np.unpackbits(bits, count=vocab, bitorder="little")
            row.masked_fill_(torch.from_numpy(allowed == 0).to(row.device), -torch.inf)
            if n < len(drafts) and not allowed[drafts[n]]:
                break
        return None

    def tallies(self, one: Slice) -> list[Tally]:
        """What stands before each of the slice's rows."""
        output = output_of(one)
        if len(output) < self._n_counted:  # a step was taken back
            self._n_counted, self._counts = 0, Counter()
        self._counts.update(output[self._n_counted :])
        self._n_counted = len(output)
        counts, tallies = self._counts, [self._tally(self._counts)]
        for draft in drafts_of(one):
            counts = counts + Counter([draft])
            tallies.append(self._tally(counts))
        return tallies

    def _tally(self, counts: Counter[int]) -> Tally:
        return Tally(
            self._prompt,
            np.fromiter(counts.keys(), np.int64, len(counts)),
            np.fromiter(counts.values(), np.float32, len(counts)),
        )


def output_of(one: Slice) -> list[int]:
    """The tokens generated before the step."""
    n_prompt = len(one.request.prompt_token_ids)
    return one.sequence.token_ids[n_prompt : n_prompt + one.n_output]


def drafts_of(one: Slice) -> list[int]:
    """The guesses at the tokens that follow those."""
    return list(one.token_ids[len(one.token_ids) - one.n_draft :])
