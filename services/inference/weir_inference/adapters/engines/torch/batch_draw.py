"""Drawing the tokens of many rows at once, on any device: what a GPU is fast at."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from weir_inference.core.sampling import Sampling

# How many of the likeliest tokens to look at for a cut, before all: sorting a vocabulary is dear.
WIDTHS = (256, 4096)


@dataclass(frozen=True)
class Draws:
    """How some rows are drawn: one value a row, [rows, 1] float32, but `top_k` int64.

    `top_k` is the vocabulary's size where all tokens count. `numbers` are uniform in [0, 1).
    """

    temperature: Tensor
    min_p: Tensor
    top_k: Tensor
    top_p: Tensor
    numbers: Tensor

    def of(self, rows: Tensor) -> "Draws":
        """Those of some rows, [n] int64 or [rows] bool."""
        return Draws(
            self.temperature[rows],
            self.min_p[rows],
            self.top_k[rows],
            self.top_p[rows],
            self.numbers[rows],
        )


def draw_batch(logits: Tensor, samplings: Sequence[Sampling], numbers: Sequence[float]) -> Tensor:
    """The token of each row of `logits`, [rows, vocab] fp32, none of them greedy: [rows] int64."""
    draws = _draws(logits, samplings, numbers)
    # The likeliest is 0 before it is divided: the coldest temperature then overflows only to -inf.
    scaled = (logits - logits.amax(-1, keepdim=True)) / draws.temperature
    scaled = scaled.masked_fill(scaled < draws.min_p.log(), -torch.inf)
    vocab = logits.shape[1]
    tokens = torch.empty(logits.shape[0], dtype=torch.int64, device=logits.device)
    cut = ((draws.top_k < vocab) | (draws.top_p < 1.0)).squeeze(1)
    uncut = ~cut
    if uncut.any():
        tokens[uncut] = _invert(scaled[uncut].softmax(-1), draws.numbers[uncut])
    if cut.any():
        tokens[cut] = _draw_cut(scaled[cut], draws.of(cut))
    return tokens


def _draws(logits: Tensor, samplings: Sequence[Sampling], numbers: Sequence[float]) -> Draws:
    vocab = logits.shape[1]

    def column(values: Sequence[float], dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.tensor(values, dtype=dtype, device=logits.device).unsqueeze(1)

    return Draws(
        temperature=column([sampling.temperature for sampling in samplings]),
        min_p=column([sampling.min_p for sampling in samplings]),
        top_k=column(
            [min(sampling.top_k or vocab, vocab) for sampling in samplings], dtype=torch.int64
        ),
        top_p=column([sampling.top_p for sampling in samplings]),
        numbers=column(numbers),
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
