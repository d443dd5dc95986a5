"""Drawing tokens on the CPU, a row at a time.

Sorting a vocabulary is dear, and so is its softmax. The cuts keep the likeliest tokens, which are
few: they are among those at least a certain share as likely as the likeliest, a smaller share where
that was too few, and comparing is cheap. The whole softmax is computed only where its sum decides:
for top-p alone, and without cuts.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from weir_inference.core.sampling import Sampling

SHARES = (0.03, 1e-3, 1e-6, 0.0)
ROWS = 8  # whose softmaxes are computed at once: they stay in the cache
BLOCK = 512

# Of logits [rows, vocab] fp32: the first of each row's largest.
Likeliest = Callable[[Tensor], list[int]]


def likeliest_by_numpy(logits: Tensor) -> list[int]:
    """A `Likeliest` in a seventh of the time of torch's."""
    return [int(row.argmax()) for row in logits.numpy()]


def draw_rows(
    logits: Tensor,
    samplings: Sequence[Sampling],
    numbers: Sequence[float],
    likeliest: Likeliest = likeliest_by_numpy,
) -> list[int]:
    """The token of each row of `logits`, [rows, vocab] fp32: the likeliest where it is greedy.

    Else `numbers`, in [0, 1), draw it by inverting the cumulative distribution. Equally likely
    tokens rank by their ids, the lowest first: so that cuts between them are cuts by id.
    """
    vocab = logits.shape[1]
    greedy = [row for row, sampling in enumerate(samplings) if sampling.greedy]
    if len(greedy) == len(samplings):
        return likeliest(logits)
    of_greedy = iter(likeliest(logits[greedy]) if greedy else ())
    tokens = []
    for start in range(0, len(samplings), ROWS):
        rows = range(start, min(start + ROWS, len(samplings)))
        summed = [row for row in rows if _sums_all(samplings[row], vocab)]
        chosen = logits[rows.start : rows.stop] if len(summed) == len(rows) else logits[summed]
        weights = _weights(chosen, [samplings[row] for row in summed])
        for row in rows:
            sampling, number = samplings[row], numbers[row]
            if sampling.greedy:
                tokens.append(next(of_greedy))
            elif row in summed:
                whole = weights[summed.index(row)].numpy()
                tokens.append(_draw_of_all(whole, sampling.top_p, number))
            else:
                tokens.append(_draw_of_few(logits[row].numpy(), sampling, number))
    return tokens


def _sums_all(sampling: Sampling, vocab: int) -> bool:
    """Whether all tokens' probabilities count, however few may be drawn."""
    return not (sampling.greedy or sampling.min_p or 0 < sampling.top_k < vocab)


def _weights(logits: Tensor, samplings: Sequence[Sampling]) -> Tensor:
    """Softmax after temperature, up to a factor: the likeliest token's is 1."""
    if not samplings:
        return logits
    colds = torch.tensor([[1.0 / sampling.temperature] for sampling in samplings])
    return logits.sub(logits.amax(-1, keepdim=True)).mul_(colds).exp_()


def _draw_of_all(weights: NDArray[np.float32], top_p: float, number: float) -> int:
    if top_p == 1.0:
        return _invert_blocks(weights, number)
    wanted = top_p * float(weights.sum())
    for share in SHARES:
        ids = np.flatnonzero(weights >= share)
        likely = weights[ids].astype(np.float64)
        if likely.sum() >= wanted:
            break
    ids, likely = _nucleus(ids, likely, wanted)
    return int(ids[_invert(likely.cumsum(), number)])


def _draw_of_few(logits: NDArray[np.float32], sampling: Sampling, number: float) -> int:
    """Min-p, then top-k, then top-p of what they leave."""
    peak, top_k = float(logits.max()), sampling.top_k or len(logits)
    for share in SHARES:
        share = max(share, sampling.min_p)
        floor = peak + sampling.temperature * math.log(share) if share else -math.inf
        ids = np.flatnonzero(logits >= floor)
        if share == sampling.min_p or len(ids) >= top_k:
            break
    ids = ids[_largest(logits[ids], top_k)]
    weights = np.exp((logits[ids].astype(np.float64) - peak) / sampling.temperature)
    if sampling.top_p < 1.0:
        ids, weights = _nucleus(ids, weights, sampling.top_p * weights.sum())
    return int(ids[_invert(weights.cumsum(), number)])


def _largest(values: NDArray[np.float32], n: int) -> NDArray[np.intp]:
    """Where the `n` largest are, the first of equal ones."""
    if len(values) <= n:
        return np.arange(len(values))
    least = np.partition(values, -n)[-n]
    above, equal = np.flatnonzero(values > least), np.flatnonzero(values == least)
    return np.concatenate((above, equal[: n - len(above)]))


def _nucleus(
    ids: NDArray[np.intp], weights: NDArray[np.float64], wanted: float
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """The fewest, likeliest tokens whose weights, at most 1, sum to `wanted`, and their weights.

    Floats sort as their leading bits do: these tell which tokens are sure to be in it, and which
    few, equal in them, are at its edge and must be sorted.
    """
    bits = weights.astype(np.float32).view(np.uint32) >> 18
    sums = np.bincount(bits, weights)[::-1].cumsum()
    edge = len(sums) - 1 - min(int(np.searchsorted(sums, wanted)), len(sums) - 1)
    sure, near = np.flatnonzero(bits > edge), np.flatnonzero(bits == edge)
    near = near[np.argsort(-weights[near], kind="stable")]
    n_near = int(np.searchsorted(weights[sure].sum() + weights[near].cumsum(), wanted)) + 1
    kept = np.concatenate((sure, near[:n_near]))
    return ids[kept], weights[kept]


def _invert_blocks(weights: NDArray[np.float32], number: float) -> int:
    """As `_invert` of the cumulated weights, but cumulates only sums of blocks and one block."""
    cumulative = np.add.reduceat(weights, np.arange(0, len(weights), BLOCK)).cumsum(
        dtype=np.float64
    )
    block = _invert(cumulative, number)
    before = cumulative[block - 1] if block else 0.0
    start = block * BLOCK
    inside = weights[start : start + BLOCK].cumsum(dtype=np.float64)
    return start + _invert(inside, (number * cumulative[-1] - before) / inside[-1])


def _invert(cumulative: NDArray[np.float64], number: float) -> int:
    """The index at which cumulated weights pass `number` of their total."""
    total = cumulative[-1]
    # Rounding must not reach the total: there is no index above it, and weight 0 may lie below it.
    wanted = min(number * total, np.nextafter(total, 0.0))
    return int(np.searchsorted(cumulative, wanted, side="right"))
