"""Choosing tokens from logits, for a whole batch at once.

A request's random numbers are a function of its seed and of how many tokens it has generated, one
number a token. So a request draws the same whatever runs beside it, however its prompt is cut into
steps and after preemption, and there is no generator to keep. The number picks the token by
inverting the cumulative distribution.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from weir_inference.core.step_plan import Slice

# How many of the likeliest tokens to look at for a cut, before all: sorting a vocabulary is dear.
WIDTHS = (256, 4096)
GOLDEN = 0x9E3779B97F4A7C15
WORD = 2**64 - 1


@dataclass(frozen=True)
class Draws:
    """How some rows are drawn: one value a row, [rows, 1] float32, but `top_k` int64.

    `top_k` is the vocabulary's size where all tokens count. `numbers` are uniform in [0, 1).
    """

    temperature: Tensor
    top_k: Tensor
    top_p: Tensor
    numbers: Tensor

    def of(self, rows: Tensor) -> "Draws":
        """Those of some rows, [n] int64 or [rows] bool."""
        return Draws(self.temperature[rows], self.top_k[rows], self.top_p[rows], self.numbers[rows])


def sample(logits: Tensor, slices: Sequence[Slice]) -> list[int]:
    """One token per row. logits: [rows, vocab] of any float type; `slices`: the rows' own."""
    tokens = logits.argmax(dim=-1)
    drawn = [row for row, one in enumerate(slices) if not one.request.sampling.greedy]
    if drawn:
        rows = torch.tensor(drawn, device=logits.device)
        draws = _draws([slices[row] for row in drawn], logits)
        tokens[rows] = draw(logits[rows].float() / draws.temperature, draws)
    chosen: list[int] = tokens.tolist()
    return chosen


def draw(scaled: Tensor, draws: Draws) -> Tensor:
    """Each row by the cheapest way that is exact for it, so by its own logits and parameters alone.

    `scaled`: [rows, vocab] logits over temperature → [rows] int64.
    """
    vocab = scaled.shape[1]
    tokens = torch.empty(scaled.shape[0], dtype=torch.int64, device=scaled.device)
    cut = ((draws.top_k < vocab) | (draws.top_p < 1.0)).squeeze(1)
    uncut = ~cut
    if uncut.any():
        tokens[uncut] = _invert(scaled[uncut].softmax(-1), draws.numbers[uncut])
    if cut.any():
        tokens[cut] = _draw_cut(scaled[cut], draws.of(cut))
    return tokens


def uniform(seed: int, n_output: int) -> float:
    """The number in [0, 1) with which a request draws its output token `n_output` (SplitMix64)."""
    return (_mix(_mix(seed) + (n_output + 1) * GOLDEN) >> 11) / 2**53


def _draws(slices: Sequence[Slice], logits: Tensor) -> Draws:
    vocab = logits.shape[1]
    choices = [one.request.sampling for one in slices]

    def column(values: list[float] | list[int], dtype: torch.dtype) -> Tensor:
        return torch.tensor(values, dtype=dtype, device=logits.device).unsqueeze(1)

    numbers = []
    for one, choice in zip(slices, choices, strict=True):
        assert choice.seed is not None, "the service draws a seed where the caller gave none"
        numbers.append(uniform(choice.seed, one.n_output))
    return Draws(
        temperature=column([choice.temperature for choice in choices], torch.float32),
        top_k=column([min(choice.top_k or vocab, vocab) for choice in choices], torch.int64),
        top_p=column([choice.top_p for choice in choices], torch.float32),
        numbers=column(numbers, torch.float32),
    )


def _draw_cut(scaled: Tensor, draws: Draws) -> Tensor:
    """Top-k, then top-p of what is left, among the likeliest tokens; more of them where too few."""
    vocab = scaled.shape[1]
    tokens = torch.empty(scaled.shape[0], dtype=torch.int64, device=scaled.device)
    left = torch.arange(scaled.shape[0], device=scaled.device)
    for width in (*(width for width in WIDTHS if width < vocab), vocab):
        rows, mine = scaled[left], draws.of(left)
        values, ids = rows.topk(width, dim=-1)
        mass = (values - rows.logsumexp(-1, keepdim=True)).exp().sum(-1, keepdim=True)
        enough = (mine.top_k <= width) | ((mine.top_k == vocab) & (mass >= mine.top_p))
        here = enough.squeeze(1) | (width == vocab)
        tokens[left[here]] = _draw_ranked(values[here], ids[here], rows[here], mine.of(here))
        left = left[~here]
        if not len(left):
            break
    return tokens


def _draw_ranked(values: Tensor, ids: Tensor, scaled: Tensor, draws: Draws) -> Tensor:
    """`values` and `ids`: [rows, n], the likeliest tokens in order: all that the cuts leave."""
    ranks = torch.arange(values.shape[1], device=values.device)
    values = values.masked_fill(ranks >= draws.top_k, -torch.inf)
    total = torch.where(
        draws.top_k < scaled.shape[1],
        values.logsumexp(-1, keepdim=True),
        scaled.logsumexp(-1, keepdim=True),
    )
    probabilities = (values - total).exp()
    before = probabilities.cumsum(-1) - probabilities
    nucleus = probabilities.masked_fill(before >= draws.top_p, 0.0)
    return ids.gather(1, _invert(nucleus, draws.numbers).unsqueeze(1)).squeeze(1)


def _invert(weights: Tensor, numbers: Tensor) -> Tensor:
    """The index at which the cumulated weights pass `numbers` of their total: [rows] int64."""
    cumulative = weights.cumsum(-1)
    total = cumulative[:, -1:]
    # Rounding must not reach the total: there is no index above it, and weight 0 may lie below it.
    wanted = torch.minimum(numbers * total, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(cumulative, wanted, right=True).squeeze(1)


def _mix(word: int) -> int:
    """SplitMix64's finalizer (Steele, Lea & Flood 2014)."""
    word &= WORD
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 & WORD
    word = (word ^ (word >> 27)) * 0x94D049BB133111EB & WORD
    return word ^ (word >> 31)
