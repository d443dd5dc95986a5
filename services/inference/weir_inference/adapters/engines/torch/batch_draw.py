"""Drawing the tokens of many rows at once, on any device: what a GPU is fast at."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from weir_inference.adapters.engines.torch.placing import fetching, placed
from weir_inference.core.sampling import Sampling

# How many of the likeliest tokens to look at for a cut, before all: sorting a vocabulary is dear.
WIDTHS = (256, 4096)
UNSETTLED = -1

DrawRows = Callable[[Tensor, Sequence[Sampling], Sequence[float]], Tensor]


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
        """Those of some rows, [n] int64."""
        return Draws(
            self.temperature[rows],
            self.min_p[rows],
            self.top_k[rows],
            self.top_p[rows],
            self.numbers[rows],
        )


class BatchDraw:
    """The token of each row of `logits`, [rows, vocab] fp32: the likeliest where it is greedy.

    `tokens`, [rows] int64, are there as soon as the device comes to it; `UNSETTLED` where the
    likeliest tokens settle too little: these are drawn when the host sees it, in `chosen`.
    """

    def __init__(
        self, logits: Tensor, samplings: Sequence[Sampling], numbers: Sequence[float]
    ) -> None:
        self._logits, self._samplings, self._numbers = logits, samplings, numbers
        self._drawn = [row for row, one in enumerate(samplings) if not one.greedy]
        self.tokens = self._put(logits.argmax(-1), self._drawn, draw_among_likeliest)
        self._fetch = fetching(self.tokens)

    def chosen(self) -> tuple[list[int], list[int]]:
        """The tokens, and the rows that `tokens` left unsettled. The host waits."""
        chosen = self._fetch()
        unsettled = [row for row in self._drawn if chosen[row] == UNSETTLED]
        if unsettled:
            chosen = self._put(self.tokens, unsettled, draw_batch).tolist()
        return chosen, unsettled

    def _put(self, tokens: Tensor, some: Sequence[int], draw: DrawRows) -> Tensor:
        if not some:
            return tokens
        return _put(tokens, some, draw, self._logits, self._samplings, self._numbers)


def draw_batch(logits: Tensor, samplings: Sequence[Sampling], numbers: Sequence[float]) -> Tensor:
    """The token of each row of `logits`, [rows, vocab] fp32, none of them greedy: [rows] int64."""
    tokens = draw_among_likeliest(logits, samplings, numbers)
    for width in (*WIDTHS[1:], logits.shape[1]):
        left = [row for row, token in enumerate(tokens.tolist()) if token == UNSETTLED]
        if not left:
            break
        draw = partial(draw_among_likeliest, width=width)
        tokens = _put(tokens, left, draw, logits, samplings, numbers)
    return tokens


def draw_among_likeliest(
    logits: Tensor,
    samplings: Sequence[Sampling],
    numbers: Sequence[float],
    width: int | None = None,
) -> Tensor:
    """As `draw_batch`, but `UNSETTLED` where a cut leaves more than `width` tokens; 256 if None.

    The host waits for nothing: which rows are cut it knows itself.
    """
    vocab = logits.shape[1]
    draws = _draws(logits, samplings, numbers)
    # The likeliest is 0 before it is divided: the coldest temperature then overflows only to -inf.
    scaled = (logits - logits.amax(-1, keepdim=True)) / draws.temperature
    scaled = scaled.masked_fill(scaled < draws.min_p.log(), -torch.inf)
    cut = [one.top_p < 1.0 or 0 < one.top_k < vocab for one in samplings]
    width = min(width or WIDTHS[0], vocab)
    if all(cut):
        return _draw_cut(scaled, draws, width)
    if not any(cut):
        return _invert(scaled.softmax(-1), draws.numbers)
    tokens = torch.empty(logits.shape[0], dtype=torch.int64, device=logits.device)
    rows = placed([row for row, one in enumerate(cut) if one], torch.int64, logits.device)
    tokens[rows] = _draw_cut(scaled[rows], draws.of(rows), width)
    rows = placed([row for row, one in enumerate(cut) if not one], torch.int64, logits.device)
    tokens[rows] = _invert(scaled[rows].softmax(-1), draws.numbers[rows])
    return tokens


def _put(
    tokens: Tensor,
    some: Sequence[int],
    draw: DrawRows,
    logits: Tensor,
    samplings: Sequence[Sampling],
    numbers: Sequence[float],
) -> Tensor:
    """`tokens`, those of some rows drawn."""
    if len(some) == len(tokens):
        return draw(logits, samplings, numbers)
    rows = placed(some, torch.int64, logits.device)
    drawn = draw(logits[rows], [samplings[row] for row in some], [numbers[row] for row in some])
    return tokens.index_copy(0, rows, drawn)


def _draws(logits: Tensor, samplings: Sequence[Sampling], numbers: Sequence[float]) -> Draws:
    """By one copy; fp32 holds every vocabulary's size."""
    vocab = logits.shape[1]
    table = [
        (one.temperature, one.min_p, min(one.top_k or vocab, vocab), one.top_p, number)
        for one, number in zip(samplings, numbers, strict=True)
    ]
    columns = placed(table, torch.float32, logits.device).t().unsqueeze(2)
    temperature, min_p, top_k, top_p, uniform = columns.unbind()
    return Draws(temperature, min_p, top_k.long(), top_p, uniform)


def _draw_cut(scaled: Tensor, draws: Draws, width: int) -> Tensor:
    """Top-k, then top-p of what is left, among the `width` likeliest tokens if these are enough."""
    vocab = scaled.shape[1]
    values, ids = scaled.topk(width, dim=-1)
    tokens = _draw_ranked(values, ids, scaled, draws)
    if width == vocab:
        return tokens
    mass = (values - scaled.logsumexp(-1, keepdim=True)).exp().sum(-1, keepdim=True)
    enough = (draws.top_k <= width) | ((draws.top_k == vocab) & (mass >= draws.top_p))
    return tokens.where(enough.squeeze(1), UNSETTLED)


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
