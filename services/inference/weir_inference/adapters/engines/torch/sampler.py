"""Choosing tokens from logits, for a whole step at once.

A row's random number is a function of its request's seed and of which output token it chooses. So
a request draws the same whatever runs beside it, however its prompt is cut into steps, after
preemption, and whether a token is chosen behind drafts or in a step of its own; there is no
generator to keep.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from weir_inference.adapters.engines.torch.batch_draw import BatchDraw
from weir_inference.adapters.engines.torch.history import History
from weir_inference.adapters.engines.torch.logprobs import tell
from weir_inference.adapters.engines.torch.penalties import penalize
from weir_inference.adapters.engines.torch.row_draw import (
    Likeliest,
    draw_rows,
    likeliest_by_numpy,
)
from weir_inference.core.sampling import Sampling
from weir_inference.core.sequence import Sequence as TokenSequence
from weir_inference.core.step_plan import Slice, SliceResult

GOLDEN = 0x9E3779B97F4A7C15
WORD = 2**64 - 1


class Sampler:
    """Chooses tokens, in the order of vLLM's steps (docs.vllm.ai, `vllm.v1.sample.sampler`).

    grammar → logit bias → repetition, frequency and presence penalty → the likeliest token, where
    the request is greedy; else temperature → min-p → top-k → top-p of what those leave → a draw.
    Used by one thread.
    """

    def __init__(self, likeliest: Likeliest = likeliest_by_numpy) -> None:
        self._likeliest = likeliest
        # Only of sequences with penalties or a grammar, and no longer than those live.
        self._histories: WeakKeyDictionary[TokenSequence, History] = WeakKeyDictionary()

    @torch.inference_mode()
    def start(self, logits: Tensor, slices: Sequence[Slice]) -> "Choice":
        """Choose the tokens of each slice.

        `logits`: [rows, vocab] fp32 or bf16, the slices' `n_sampled` rows end to end. Masks and
        penalties, where a request has them, are applied in place.
        """
        ends = accumulate((one.n_sampled for one in slices), initial=0)
        spans = [range(start, end) for start, end in pairwise(ends)]
        of_row = [one for one in slices for _ in range(one.n_sampled)]
        assert len(of_row) == logits.shape[0], "a row of logits for each token to choose"
        logits = logits.float()
        # A copy, from before masks and penalties.
        told = [row for row, one in enumerate(of_row) if one.request.top_logprobs is not None]
        raw = logits[told] if told else None
        cuts = self._constrain(logits, slices, spans)
        samplings = [one.request.sampling for one in of_row]
        numbers = [number for one in slices for number in numbers_of(one)]
        return Choice(
            choose(logits, samplings, numbers, self._likeliest),
            spans,
            cuts,
            {row: of_row[row].request.top_logprobs or 0 for row in told},
            raw,
        )

    def _constrain(
        self, logits: Tensor, slices: Sequence[Slice], spans: Sequence[range]
    ) -> dict[int, int]:
        """Grammars, then bias and penalties, on the rows that have them, in place.

        By their first rows: the slices that their grammars cut off, and at which of their tokens.
        """
        penalized, cuts = [], {}
        for one, span in zip(slices, spans, strict=True):
            sampling = one.request.sampling
            if not span or (one.request.grammar is None and not sampling.changes_logits):
                continue
            history = self._histories.get(one.sequence)
            if history is None:
                history = self._histories[one.sequence] = History(one.request)
            cut_at = history.mask(logits[span.start : span.stop], one)
            if cut_at is not None:
                cuts[span.start] = cut_at
            if sampling.changes_logits:
                tallies = history.tallies(one)
                penalized += [
                    (row, sampling, seen) for row, seen in zip(span, tallies, strict=True)
                ]
        if penalized:
            penalize(logits, penalized)
        return cuts


@dataclass(frozen=True)
class Choice:
    """What a step chooses: on a GPU, before the host knows it.

    `spans` are the slices' rows, `cuts` the slices that their grammars cut off and where, by their
    first rows. `tops` are the rows whose log-probabilities are told, with how many beside the
    token's, and `raw` their logits.
    """

    draw: BatchDraw | list[int]
    spans: Sequence[range]
    cuts: Mapping[int, int]
    tops: Mapping[int, int]
    raw: Tensor | None

    @property
    def tokens(self) -> Tensor | None:
        """[rows] int64 on the device, for a step that follows; None where the host chose."""
        return self.draw.tokens if isinstance(self.draw, BatchDraw) else None

    @torch.inference_mode()
    def results(self) -> list[SliceResult]:
        """The tokens of each slice, in order; an empty result where none is chosen. Waits."""
        tokens, unsettled = (
            self.draw.chosen() if isinstance(self.draw, BatchDraw) else (self.draw, [])
        )
        logprobs = {}
        if self.raw is not None:
            scored = tell(self.raw, [tokens[row] for row in self.tops], list(self.tops.values()))
            logprobs = dict(zip(self.tops, scored, strict=True))
        return [
            SliceResult(
                token_ids=tuple(tokens[row] for row in span),
                logprobs=tuple(logprobs[row] for row in span if row in logprobs),
                cut_at=self.cuts.get(span.start) if span else None,
                misled=any(row in unsettled for row in span),
            )
            for span in self.spans
        ]


def choose(
    logits: Tensor,
    samplings: Sequence[Sampling],
    numbers: Sequence[float],
    likeliest: Likeliest,
) -> BatchDraw | list[int]:
    """A token for each row of `logits`, [rows, vocab] fp32, by its random number in [0, 1).

    On a CPU a row at a time, while it is in the cache: that is several times faster than all at
    once, and what a row gives cannot depend on its neighbours.
    """
    if logits.device.type == "cpu":
        return draw_rows(logits, samplings, numbers, likeliest)
    return BatchDraw(logits, samplings, numbers)


def numbers_of(one: Slice) -> list[float]:
    """The random numbers of a slice's rows."""
    if one.request.sampling.greedy:
        return [0.0] * one.n_sampled
    seed = one.request.sampling.seed
    assert seed is not None, "the service draws a seed where the caller gave none"
    return [uniform(seed, one.n_output + n) for n in range(one.n_sampled)]


def uniform(seed: int, n_output: int) -> float:
    """The number in [0, 1) with which a request draws its output token `n_output` (SplitMix64)."""
    return (_mix(_mix(seed) + (n_output + 1) * GOLDEN) >> 11) / 2**53


def _mix(word: int) -> int:
    """SplitMix64's finalizer (Steele, Lea & Flood 2014)."""
    word &= WORD
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 & WORD
    word = (word ^ (word >> 27)) * 0x94D049BB133111EB & WORD
    return word ^ (word >> 31)
